// SPDX-License-Identifier: Apache-2.0
// Record batches, format version 2 (magic 2): the unit that producers send, the log stores and
// consumers receive. Layout of the 61-byte header: Kafka protocol, "Record Batch".
// No I/O, no clock; memory only where the caller gives some.
#pragma once

#include "base/arena.h"
#include "protocol/types.h"

enum {
    BATCH_HEADER_SIZE = 61,
    BATCH_LENGTH_OVERHEAD = 12, // base offset and length: what the length field does not count
};

enum batch_codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD };

enum {
    BATCH_CODEC_MASK = 0x07,
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

struct batch_header {
    int64_t base_offset;
    int32_t length; // of everything after this field: total size - 12
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc; // CRC-32C of everything after this field
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

enum batch_error {
    BATCH_OK = 0,
    BATCH_TRUNCATED = -1,  // fewer bytes than the header or its length say
    BATCH_BAD_MAGIC = -2,  // a format other than 2
    BATCH_BAD_LENGTH = -3, // a length no batch can have
    BATCH_BAD_CRC = -4,
    BATCH_BAD_COUNT = -5,       // record count and last offset delta disagree, or none
    BATCH_BAD_RECORD = -6,      // a record that does not parse
    BATCH_BAD_CODEC = -7,       // codec number 5, 6 or 7
    BATCH_BAD_COMPRESSION = -8, // compressed bytes that do not decompress
    BATCH_TOO_LARGE = -9,       // decompressed size above the caller's limit
    BATCH_NO_MEMORY = -10,
    BATCH_BAD_OFFSET = -11, // a base offset below 0, or so high that the last one overflows
    BATCH_NO_KEY = -12,     // a record without a key where every record must have one
};

// A sentence for an error, without a full stop. Never NULL.
const char *batch_error_text(enum batch_error error);

// Parses a header. Checks that 61 bytes are there, magic, length and base offset; not the CRC, not
// that the whole batch is there. On BATCH_TRUNCATED nothing of *out is set, otherwise all.
enum batch_error batch_header_read(struct span bytes, struct batch_header *out);

static inline size_t batch_total_size(const struct batch_header *header)
{
    return (size_t)header->length + BATCH_LENGTH_OVERHEAD;
}

// The last offset in the batch.
static inline int64_t batch_last_offset(const struct batch_header *header)
{
    return header->base_offset + header->last_offset_delta;
}

// For a batch of a producer. Checks that it starts at bytes.data and is there in full (more may
// follow), magic, CRC, codec number, count = last delta + 1 > 0, and that so many records can be in
// there if they are not compressed. Does not look at the records. Fills *out as far as it got.
enum batch_error batch_check(struct span bytes, struct batch_header *out);

// For a batch of a log, which compaction may have thinned out: as batch_check, but records may be
// missing (count <= last delta + 1), even all of them.
enum batch_error batch_check_stored(struct span bytes, struct batch_header *out);

// What the broker rewrites in a batch it stores; neither is covered by the CRC.
void batch_assign(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);

// For topics with LogAppendTime: sets the timestamp type and max timestamp, recomputes the CRC.
void batch_set_append_time(uint8_t *batch, size_t size, int64_t now_ms);

// Working memory that zstd keeps between batches, for callers with many small ones: it saves some
// 15 us per batch of 16 KiB either way, and costs a few hundred kilobytes up to a few megabytes
// after large batches. Starts zeroed; used by one thread at a time.
struct batch_contexts {
    void *zstd_deflate;
    void *zstd_inflate;
};

// Leaves it zeroed.
void batch_contexts_free(struct batch_contexts *contexts);

struct record_header {
    struct span key;
    struct span value; // data NULL = null
};

struct record {
    int64_t offset;
    int64_t timestamp;   // effective: the batch's max timestamp under LogAppendTime
    struct span key;     // data NULL = null
    struct span value;   // data NULL = null
    struct span headers; // undecoded; walk with record_header_next
    int32_t header_count;
};

// Walks the records of one batch. Records point into the batch, or into `inflated` when it was
// compressed; they stay valid as long as that memory does.
struct batch_reader {
    struct batch_header header;
    const uint8_t *at;
    const uint8_t *end;
    int32_t left;
};

// Prepares to walk a batch whose bytes are all there: call batch_check or batch_check_stored first
// on bytes that came from a peer or a disk. Everything but the CRC is checked here and on the way,
// so bytes that nobody checked give errors or wrong records, never a read beyond them.
// Compressed records are inflated into `arena`, at most `inflate_limit` bytes; `arena` may be NULL
// for batches known to be uncompressed.
enum batch_error batch_reader_init(struct batch_reader *reader, struct span batch,
                                   struct arena *arena, size_t inflate_limit);

// The same with kept working memory; `contexts` may be NULL.
enum batch_error batch_reader_init_with(struct batch_reader *reader, struct span batch,
                                        struct arena *arena, size_t inflate_limit,
                                        struct batch_contexts *contexts);

// The next record: 1, at the end: 0, or BATCH_BAD_RECORD, which stays. A record given out is whole:
// its headers parse, its offset lies within the batch. Rubbish after the last record is an error.
int batch_reader_next(struct batch_reader *reader, struct record *out);

// Walks record->headers, `*at` from 0: 1, 0 at the end. For records that batch_reader_next gave
// out there are no errors; others may get BATCH_BAD_RECORD.
int record_header_next(const struct record *record, size_t *at, struct record_header *out);

// What is inside a batch, as opposed to what its header says.
struct batch_facts {
    int32_t record_count;
    int64_t min_timestamp; // timestamps: -1 when there is no record
    int64_t max_timestamp;
    int32_t max_timestamp_delta; // offset delta of the first record that has it; -1 for none
    int32_t first_null_key;      // its place among the records, from 0; -1 for none
    bool dense;                  // offset deltas are exactly 0, 1, 2, ...: nothing is missing
};

// Walks everything inside a batch that batch_check or batch_check_stored has passed, inflating it
// as batch_reader_init does. A producer's batch must be dense: that is the caller's to check. With
// `keys_required` the walk ends with BATCH_NO_KEY at the first record without a key. *out holds
// what was seen until the end or the error.
enum batch_error batch_validate_records(struct span batch, struct arena *arena,
                                        size_t inflate_limit, bool keys_required,
                                        struct batch_facts *out);

// A batch that batch_check has passed, compressed with `codec` instead of its own. At most `limit`
// bytes are inflated, into `inflated`, which may be freed afterwards; *out is in `arena`. Errors:
// those of the batch, BATCH_TOO_LARGE, BATCH_NO_MEMORY.
enum batch_error batch_recode(struct span batch, enum batch_codec codec, size_t limit,
                              struct arena *inflated, struct arena *arena, struct span *out);

// Builds one batch. Grows its buffer with malloc up to `limit` bytes of uncompressed records; the
// limit itself is at most what a batch can hold, some 2 GiB.
struct batch_builder {
    uint8_t *data; // header space, then uncompressed records
    size_t size;
    size_t capacity;
    size_t limit;
    int32_t count;
    int64_t base_timestamp;
    int64_t max_timestamp;
    struct batch_contexts *contexts; // set by the owner after init, if wanted; not owned
};

void batch_builder_init(struct batch_builder *builder, size_t limit);
void batch_builder_free(struct batch_builder *builder);

// Keeps the memory, drops the records.
void batch_builder_reset(struct batch_builder *builder);

// How many bytes a record would add, at most.
size_t batch_record_bound(struct span key, struct span value, const struct record_header *headers,
                          int32_t header_count);

// Appends a record. BATCH_TOO_LARGE when it would pass the limit, BATCH_NO_MEMORY when there is
// none; the builder is then unchanged. Header keys cannot be null: an absent one is written empty.
enum batch_error batch_builder_add(struct batch_builder *builder, int64_t timestamp,
                                   struct span key, struct span value,
                                   const struct record_header *headers, int32_t header_count);

struct batch_producer {
    int64_t id; // -1 for none
    int16_t epoch;
    int32_t base_sequence;
};

// Gives a finished batch another producer; recomputes the CRC.
void batch_set_producer(uint8_t *batch, size_t size, struct batch_producer producer);

// Finishes the batch: compresses with `codec` (level 0 = the codec's default; left uncompressed
// when that is smaller), fills the header, computes the CRC. Uncompressed: *out points into the
// builder. Compressed: into `scratch`, which starts zeroed, is grown with realloc and belongs to
// the caller, who frees scratch.data. An empty builder gives BATCH_BAD_COUNT. The builder keeps
// its records: it may be finished again, or reset.
struct batch_scratch {
    uint8_t *data;
    size_t capacity;
};
enum batch_error batch_builder_finish(struct batch_builder *builder, enum batch_codec codec,
                                      int level, struct batch_producer producer,
                                      struct batch_scratch *scratch, struct span *out);

// ---- Taking records out of a stored batch, as compaction does ---------------------------------

// Set up by the caller; `records` and `deflated` start zeroed, are grown as needed and freed by
// batch_thinner_free.
struct batch_thinner {
    // Whether a record stays. Called once for each, in order, before anything is written.
    bool (*keeps)(void *context, const struct batch_header *header, const struct record *record);
    void *context;
    // Until when tombstones stay that have no such date yet: then the batch's base timestamp holds
    // it, and BATCH_DELETE_HORIZON is set. -1: none is set.
    int64_t delete_horizon_ms;
    struct arena *arena;             // reset by each call
    size_t inflate_limit;            // of compressed records
    struct batch_contexts *contexts; // may be NULL
    struct batch_scratch records;
    struct batch_scratch deflated;
};

void batch_thinner_free(struct batch_thinner *thinner);

enum batch_thinned {
    BATCH_UNCHANGED, // *out is the batch itself
    BATCH_REWRITTEN, // *out has what stays: same offsets, producer, codec and timestamps
    BATCH_EMPTIED,   // nothing stays, *out is not set
};

// Applies thinner->keeps to a batch that batch_check_stored has passed (or whose bytes are known to
// be as they were then). BATCH_OK with *how and *out, which is valid until the next call; or an
// error of the batch, or BATCH_NO_MEMORY.
enum batch_error batch_thin(struct batch_thinner *thinner, struct span batch, struct span *out,
                            enum batch_thinned *how);

// The batch without its records: BATCH_HEADER_SIZE bytes that keep offsets and producer.
void batch_write_emptied(struct span batch, uint8_t to[BATCH_HEADER_SIZE]);
