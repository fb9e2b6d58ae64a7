// SPDX-License-Identifier: Apache-2.0
// Prints batches that our builder made and what is in them, for check_record_batches.py to read
// with another implementation. The format is described in golden/make_record_batches.py.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/record_batch.h"

static const char *const codec_names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

struct entry {
    int64_t timestamp;
    struct span key;
    struct span value;
    struct record_header headers[2];
    int32_t header_count;
};

static void print_value(struct span value)
{
    if (!value.data)
        printf(" -");
    else if (value.size == 0)
        printf(" .");
    else
        putchar(' ');
    for (size_t i = 0; i < value.size; i++)
        printf("%02x", value.data[i]);
}

static void print_entry(const struct entry *entry)
{
    printf("record %" PRId64, entry->timestamp);
    print_value(entry->key);
    print_value(entry->value);
    for (int32_t i = 0; i < entry->header_count; i++) {
        print_value(entry->headers[i].key);
        print_value(entry->headers[i].value);
    }
    putchar('\n');
}

static enum batch_error print_batch(const char *set, enum batch_codec codec,
                                    const struct entry *entries, int count)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct batch_producer producer = {.id = 4000, .epoch = 7, .base_sequence = 100};
    struct span out = {0};
    enum batch_error error = BATCH_OK;
    batch_builder_init(&builder, 1 << 24);
    for (int i = 0; i < count && !error; i++)
        error = batch_builder_add(&builder, entries[i].timestamp, entries[i].key, entries[i].value,
                                  entries[i].headers, entries[i].header_count);
    if (!error)
        error = batch_builder_finish(&builder, codec, 0, producer, &scratch, &out);
    if (!error) {
        printf("batch %s-%s\nhex", set, codec_names[codec]);
        print_value(out);
        putchar('\n');
        for (int i = 0; i < count; i++)
            print_entry(&entries[i]);
    }
    free(scratch.data);
    batch_builder_free(&builder);
    return error;
}

static uint8_t large[100000]; // more than one block of snappy and of LZ4

static const struct entry few[] = {
    {.timestamp = 1700000000000, .key = {(const uint8_t *)"key", 3}},
    {.timestamp = 1699999999000, .value = {(const uint8_t *)"earlier", 7}},
    {.timestamp = 1700000000000,
     .key = {(const uint8_t *)"", 0},
     .value = {(const uint8_t *)"", 0},
     .headers = {{.key = {(const uint8_t *)"null", 4}},
                 {.key = {(const uint8_t *)"\xc3\xa4", 2},
                  .value = {(const uint8_t *)"\0\xff", 2}}},
     .header_count = 2},
    {.timestamp = 0, .value = {large, sizeof(large)}},
};

int main(void)
{
    enum { MANY = 1000 };
    static struct entry many[MANY];
    static char texts[MANY][32];
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (uint8_t)(i % 251);
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof(texts[i]), "record number %d", i);
        many[i] = (struct entry){.timestamp = 1600000000000 + i * i, .value = span_text(texts[i])};
    }
    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        if (print_batch("few", (enum batch_codec)codec, few, 4) != BATCH_OK ||
            print_batch("many", (enum batch_codec)codec, many, MANY) != BATCH_OK)
            return 1;
    }
    return 0;
}
