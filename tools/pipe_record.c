// SPDX-License-Identifier: Apache-2.0
// The record, its headers' table and all their bytes lie in one block.
#include "tools/pipe_record.h"

#include <stdlib.h>
#include <string.h>

static const char our_prefix[] = "weir.";

bool pipe_header_is_ours(const struct weir_header *header)
{
    size_t size = sizeof(our_prefix) - 1;

    return header->name.size > size && memcmp(header->name.data, our_prefix, size) == 0;
}

// The headers that go on with the record: those of an earlier refusal do not.
static bool next_header(const struct weir_record *record, size_t *at, struct weir_header *header)
{
    while (weir_record_header(record, at, header)) {
        if (!pipe_header_is_ours(header))
            return true;
    }
    return false;
}

static struct weir_bytes copy(char **to, struct weir_bytes bytes)
{
    if (bytes.data == NULL)
        return bytes;
    if (bytes.size > 0)
        memcpy(*to, bytes.data, bytes.size);
    struct weir_bytes copied = weir_bytes_of(*to, bytes.size);
    *to += bytes.size;
    return copied;
}

struct pipe_record *pipe_record_new(const struct weir_record *record)
{
    struct weir_header header;
    size_t size = sizeof(struct pipe_record) + record->key.size + record->value.size + 1;
    size_t count = 0;

    for (size_t at = 0; next_header(record, &at, &header); count++)
        size += sizeof(header) + header.name.size + header.value.size;
    struct pipe_record *made = malloc(size);
    if (made == NULL)
        return NULL;
    *made = (struct pipe_record){
        .partition = record->partition,
        .timestamp = record->timestamp,
        .headers = (struct weir_header *)(made + 1),
    };
    list_init(&made->refused_node);
    char *to = (char *)(made->headers + count);
    made->key = copy(&to, record->key);
    made->value = copy(&to, record->value);
    for (size_t at = 0; next_header(record, &at, &header);) {
        struct weir_header *copied = &made->headers[made->header_count++];
        copied->name = copy(&to, header.name);
        copied->value = copy(&to, header.value);
    }
    return made;
}

void pipe_record_free(struct pipe_record *record)
{
    list_remove(&record->refused_node);
    free(record->refused);
    free(record);
}

size_t pipe_record_bytes(const struct pipe_record *record)
{
    size_t size = sizeof(*record) + record->key.size + record->value.size;

    for (size_t i = 0; i < record->header_count; i++)
        size += sizeof(record->headers[i]) + record->headers[i].name.size +
                record->headers[i].value.size;
    return size;
}
