// SPDX-License-Identifier: Apache-2.0
// Reading and checking record batches. They are built in record_batch_builder.c.
//
// Invariants:
// 1. No byte is read outside the span given, whatever the bytes say: the header's length is held
//    against the span, each record's length against the batch, each field's against the record.
// 2. Counts are held against the bytes that remain before anything loops over them.
// 3. Arithmetic on values of peers cannot overflow: offsets are checked, timestamps wrap around as
//    they do in other implementations.
// 4. An error of the reader stays: the next call gives it again.
#include "protocol/record_batch.h"

#include "protocol/compress.h"
#include "protocol/record_batch_layout.h"

enum {
    RECORD_MIN = 7,        // a byte each: length, attributes, deltas, key, value, header count
    RECORD_HEADER_MIN = 2, // a byte for each length
};

const char *batch_error_text(enum batch_error error)
{
    switch (error) {
    case BATCH_OK:
        return "the batch is sound";
    case BATCH_TRUNCATED:
        return "the batch is cut short";
    case BATCH_BAD_MAGIC:
        return "the batch is of a format other than 2";
    case BATCH_BAD_LENGTH:
        return "the length of the batch is impossible";
    case BATCH_BAD_CRC:
        return "the checksum of the batch does not match its bytes";
    case BATCH_BAD_COUNT:
        return "the record count of the batch does not fit its offsets or its size";
    case BATCH_BAD_RECORD:
        return "a record of the batch is malformed";
    case BATCH_BAD_CODEC:
        return "the compression type of the batch is unknown";
    case BATCH_BAD_COMPRESSION:
        return "the compressed records of the batch do not decompress";
    case BATCH_TOO_LARGE:
        return "the records are larger than the limit allows";
    case BATCH_NO_MEMORY:
        return "there is not enough memory for the records";
    case BATCH_BAD_OFFSET:
        return "the base offset of the batch is impossible";
    case BATCH_NO_KEY:
        return "a record has no key where every record must have one";
    }
    return "unknown error";
}

// ---- Header --------------------------------------------------------------------------------

enum batch_error batch_header_read(struct span bytes, struct batch_header *out)
{
    if (bytes.size < BATCH_HEADER_SIZE)
        return BATCH_TRUNCATED;
    const uint8_t *at = bytes.data;
    *out = (struct batch_header){
        .base_offset = (int64_t)load_be64(at + AT_BASE_OFFSET),
        .length = (int32_t)load_be32(at + AT_LENGTH),
        .leader_epoch = (int32_t)load_be32(at + AT_LEADER_EPOCH),
        .magic = (int8_t)at[AT_MAGIC],
        .crc = load_be32(at + AT_CRC),
        .attributes = (int16_t)load_be16(at + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)load_be32(at + AT_LAST_OFFSET_DELTA),
        .base_timestamp = (int64_t)load_be64(at + AT_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)load_be64(at + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)load_be64(at + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)load_be16(at + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)load_be32(at + AT_BASE_SEQUENCE),
        .record_count = (int32_t)load_be32(at + AT_RECORD_COUNT),
    };
    if (out->magic != BATCH_MAGIC)
        return BATCH_BAD_MAGIC;
    if (out->length < BATCH_HEADER_SIZE - BATCH_LENGTH_OVERHEAD)
        return BATCH_BAD_LENGTH;
    if (out->base_offset < 0 || out->base_offset > INT64_MAX - INT32_MAX)
        return BATCH_BAD_OFFSET;
    return BATCH_OK;
}

static enum batch_codec header_codec(const struct batch_header *header)
{
    return (enum batch_codec)(header->attributes & BATCH_CODEC_MASK);
}

// Reads the header of a batch that must be there in full.
static enum batch_error read_whole(struct span bytes, struct batch_header *out)
{
    enum batch_error error = batch_header_read(bytes, out);
    if (error)
        return error;
    return batch_total_size(out) > bytes.size ? BATCH_TRUNCATED : BATCH_OK;
}

// What can be said without looking at the records.
static enum batch_error check_meaning(const struct batch_header *header)
{
    enum batch_codec codec = header_codec(header);
    if (codec > CODEC_ZSTD)
        return BATCH_BAD_CODEC;
    if (header->last_offset_delta < 0 || header->record_count < 0 ||
        header->record_count - 1 > header->last_offset_delta)
        return BATCH_BAD_COUNT;
    size_t room = batch_total_size(header) - BATCH_HEADER_SIZE;
    if (codec == CODEC_NONE && (size_t)header->record_count > room / RECORD_MIN)
        return BATCH_BAD_COUNT;
    return BATCH_OK;
}

// The CRC comes first: of a damaged batch, the damage is what matters.
enum batch_error batch_check_stored(struct span bytes, struct batch_header *out)
{
    enum batch_error error = read_whole(bytes, out);
    if (error)
        return error;
    size_t covered = batch_total_size(out) - AT_ATTRIBUTES;
    if (crc32c(0, bytes.data + AT_ATTRIBUTES, covered) != out->crc)
        return BATCH_BAD_CRC;
    return check_meaning(out);
}

enum batch_error batch_check(struct span bytes, struct batch_header *out)
{
    enum batch_error error = batch_check_stored(bytes, out);
    if (error)
        return error;
    return out->record_count - 1 == out->last_offset_delta ? BATCH_OK : BATCH_BAD_COUNT;
}

void batch_assign(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    store_be64(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    store_be32(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_set_append_time(uint8_t *batch, size_t size, int64_t now_ms)
{
    uint16_t attributes = load_be16(batch + AT_ATTRIBUTES) | BATCH_LOG_APPEND_TIME;
    store_be16(batch + AT_ATTRIBUTES, attributes);
    store_be64(batch + AT_MAX_TIMESTAMP, (uint64_t)now_ms);
    batch_write_crc(batch, size);
}

void batch_set_producer(uint8_t *batch, size_t size, struct batch_producer producer)
{
    store_be64(batch + AT_PRODUCER_ID, (uint64_t)producer.id);
    store_be16(batch + AT_PRODUCER_EPOCH, (uint16_t)producer.epoch);
    store_be32(batch + AT_BASE_SEQUENCE, (uint32_t)producer.base_sequence);
    batch_write_crc(batch, size);
}

// ---- Varints -------------------------------------------------------------------------------

// Zig-zag: small numbers of either sign have few bits.
static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

// Near the end of the bytes, where eight cannot be loaded at once, and for the longest numbers.
static bool varint_read_bytewise(const uint8_t **at, const uint8_t *end, size_t longest,
                                 uint64_t *out)
{
    const uint8_t *from = *at;
    size_t left = (size_t)(end - from);
    if (longest > left)
        longest = left;
    uint64_t value = 0;
    for (size_t i = 0; i < longest; i++) {
        uint64_t byte = from[i];
        if (i == VARLONG_MAX - 1 && byte > 1)
            return false; // bit 64 and beyond
        value |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *at = from + i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

// Reads an unsigned varint of at most `longest` bytes and moves *at behind it; false when it does
// not end in time. One byte is the usual case. Up to eight are taken at once, without a branch on
// their number, which in real data changes from field to field.
static inline bool varint_read(const uint8_t **at, const uint8_t *end, size_t longest,
                               uint64_t *out)
{
    const uint8_t *from = *at;
    if (__builtin_expect(from < end && *from < 0x80, 1)) {
        *out = *from;
        *at = from + 1;
        return true;
    }
    if (end - from < 8)
        return varint_read_bytewise(at, end, longest, out);
    uint64_t value = load_le64(from);
    uint64_t last = ~value & 0x8080808080808080u; // the lowest bit marks the last byte
    if (last == 0)
        return varint_read_bytewise(at, end, longest, out);
    size_t size = (size_t)__builtin_ctzll(last) / 8 + 1;
    value &= last ^ (last - 1);
    // Closes the gaps of one bit between bytes, then of two between pairs, then of four.
    value = (value & 0x007f007f007f007fu) | (value & 0x7f007f007f007f00u) >> 1;
    value = (value & 0x00003fff00003fffu) | (value & 0x3fff00003fff0000u) >> 2;
    value = (value & 0x000000000fffffffu) | (value & 0x0fffffff00000000u) >> 4;
    *out = value;
    *at = from + size;
    return size <= longest;
}

static inline bool read_i32(const uint8_t **at, const uint8_t *end, int32_t *out)
{
    uint64_t raw;
    if (!varint_read(at, end, VARINT_MAX, &raw) || raw > UINT32_MAX)
        return false;
    *out = (int32_t)unzigzag(raw);
    return true;
}

static inline bool read_i64(const uint8_t **at, const uint8_t *end, int64_t *out)
{
    uint64_t raw;
    if (!varint_read(at, end, VARLONG_MAX, &raw))
        return false;
    *out = unzigzag(raw);
    return true;
}

// A length and so many bytes; -1 is null, which `nullable` may forbid.
static inline bool read_bytes(const uint8_t **at, const uint8_t *end, bool nullable,
                              struct span *out)
{
    int32_t size;
    if (!read_i32(at, end, &size))
        return false;
    *out = (struct span){0};
    if (size < 0)
        return nullable && size == -1;
    if (size > end - *at)
        return false;
    *out = span_of(*at, (size_t)size);
    *at += size;
    return true;
}

// ---- Reader --------------------------------------------------------------------------------

enum batch_error batch_reader_init(struct batch_reader *reader, struct span batch,
                                   struct arena *arena, size_t inflate_limit)
{
    return batch_reader_init_with(reader, batch, arena, inflate_limit, NULL);
}

enum batch_error batch_reader_init_with(struct batch_reader *reader, struct span batch,
                                        struct arena *arena, size_t inflate_limit,
                                        struct batch_contexts *contexts)
{
    *reader = (struct batch_reader){0};
    enum batch_error error = read_whole(batch, &reader->header);
    if (!error)
        error = check_meaning(&reader->header);
    if (error)
        return error;
    size_t size = batch_total_size(&reader->header) - BATCH_HEADER_SIZE;
    struct span records = span_of(batch.data + BATCH_HEADER_SIZE, size);
    enum batch_codec codec = header_codec(&reader->header);
    // A batch that lost all its records to compaction has nothing to inflate either.
    if (codec != CODEC_NONE && records.size > 0)
        error = compress_inflate(codec, records, arena, inflate_limit, contexts, &records);
    if (error)
        return error;
    if ((size_t)reader->header.record_count > records.size / RECORD_MIN)
        return BATCH_BAD_COUNT;
    reader->at = records.data;
    reader->end = records.data + records.size;
    reader->left = reader->header.record_count;
    return BATCH_OK;
}

int record_header_next(const struct record *record, size_t *at, struct record_header *out)
{
    if (*at >= record->headers.size)
        return 0;
    const uint8_t *from = record->headers.data + *at;
    const uint8_t *end = record->headers.data + record->headers.size;
    if (!read_bytes(&from, end, false, &out->key) || !read_bytes(&from, end, true, &out->value))
        return BATCH_BAD_RECORD;
    *at = (size_t)(from - record->headers.data);
    return 1;
}

// Whether the bytes of the headers hold as many as announced, and nothing else.
static bool headers_sound(const struct record *record)
{
    if (record->header_count < 0 ||
        (size_t)record->header_count > record->headers.size / RECORD_HEADER_MIN)
        return false;
    struct record_header header;
    size_t at = 0;
    for (int32_t i = 0; i < record->header_count; i++) {
        if (record_header_next(record, &at, &header) != 1)
            return false;
    }
    return at == record->headers.size;
}

// Parses the record between `at` and `end`, all of it.
static inline bool record_read(const struct batch_header *header, const uint8_t *at,
                               const uint8_t *end, struct record *out)
{
    if (at == end)
        return false;
    at++; // attributes: none are defined
    int64_t timestamp_delta;
    int32_t offset_delta;
    if (!read_i64(&at, end, &timestamp_delta) || !read_i32(&at, end, &offset_delta) ||
        !read_bytes(&at, end, true, &out->key) || !read_bytes(&at, end, true, &out->value) ||
        !read_i32(&at, end, &out->header_count))
        return false;
    if (offset_delta < 0 || offset_delta > header->last_offset_delta)
        return false;
    out->offset = header->base_offset + offset_delta;
    out->timestamp = header->attributes & BATCH_LOG_APPEND_TIME
                         ? header->max_timestamp
                         : (int64_t)((uint64_t)header->base_timestamp + (uint64_t)timestamp_delta);
    out->headers = span_of(at, (size_t)(end - at));
    if (out->header_count == 0)
        return at == end;
    return headers_sound(out);
}

int batch_reader_next(struct batch_reader *reader, struct record *out)
{
    if (reader->left == 0)
        return reader->at == reader->end ? 0 : BATCH_BAD_RECORD;
    const uint8_t *at = reader->at;
    int32_t size;
    if (!read_i32(&at, reader->end, &size) || size < 0 || size > reader->end - at ||
        !record_read(&reader->header, at, at + size, out))
        return BATCH_BAD_RECORD;
    reader->at = at + size;
    reader->left--;
    return 1;
}

static void facts_add(struct batch_facts *facts, const struct record *record, int32_t delta)
{
    if (facts->record_count == 0 || record->timestamp > facts->max_timestamp) {
        facts->max_timestamp = record->timestamp;
        facts->max_timestamp_delta = delta;
    }
    if (facts->record_count == 0 || record->timestamp < facts->min_timestamp)
        facts->min_timestamp = record->timestamp;
    if (!record->key.data && facts->first_null_key < 0)
        facts->first_null_key = facts->record_count;
    if (delta != facts->record_count)
        facts->dense = false;
    facts->record_count++;
}

enum batch_error batch_validate_records(struct span batch, struct arena *arena,
                                        size_t inflate_limit, bool keys_required,
                                        struct batch_facts *out)
{
    *out = (struct batch_facts){.min_timestamp = -1,
                                .max_timestamp = -1,
                                .max_timestamp_delta = -1,
                                .first_null_key = -1,
                                .dense = true};
    struct batch_reader reader;
    enum batch_error error = batch_reader_init(&reader, batch, arena, inflate_limit);
    if (error)
        return error;
    struct record record;
    int got;
    while ((got = batch_reader_next(&reader, &record)) == 1) {
        facts_add(out, &record, (int32_t)(record.offset - reader.header.base_offset));
        if (keys_required && !record.key.data)
            return BATCH_NO_KEY;
    }
    if (out->record_count - 1 != reader.header.last_offset_delta)
        out->dense = false;
    return (enum batch_error)got;
}
