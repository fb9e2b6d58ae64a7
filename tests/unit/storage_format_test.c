// SPDX-License-Identifier: Apache-2.0
#include "storage/format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const uint64_t salt = 0x1122334455667788;

static struct frame_header a_frame(void)
{
    return (struct frame_header){
        .kind = FRAME_DATA,
        .payload_size = 5000,
        .stored_size = 8192,
        .batch_count = 3,
        .base_offset = 1000,
        .next_offset = 1010,
        .max_timestamp = -1,
        .sequence = 77,
        .payload_checksum = 0xabcdef,
    };
}

Test(storage, a_frame_header_comes_back)
{
    struct frame_header frame = a_frame();
    struct frame_header read;
    uint8_t bytes[FRAME_HEADER_SIZE];
    format_frame_write(&frame, salt, 4096, bytes);
    cr_assert(format_frame_read(bytes, salt, 4096, FORMAT_BLOCK, &read));
    cr_assert_eq(read.kind, FRAME_DATA);
    cr_assert_eq(read.payload_size, 5000);
    cr_assert_eq(read.stored_size, 8192);
    cr_assert_eq(read.batch_count, 3);
    cr_assert_eq(read.base_offset, 1000);
    cr_assert_eq(read.next_offset, 1010);
    cr_assert_eq(read.max_timestamp, -1);
    cr_assert_eq(read.sequence, 77);
    cr_assert_eq(read.payload_checksum, 0xabcdef);
}

Test(storage, a_frame_header_is_valid_in_its_place_only)
{
    struct frame_header frame = a_frame();
    struct frame_header read;
    uint8_t bytes[FRAME_HEADER_SIZE];
    format_frame_write(&frame, salt, 4096, bytes);
    cr_assert_not(format_frame_read(bytes, salt, 8192, FORMAT_BLOCK, &read));
    cr_assert_not(format_frame_read(bytes, salt + 1, 4096, FORMAT_BLOCK, &read));
    for (int bit = 0; bit < FRAME_HEADER_SIZE * 8; bit++) {
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
        cr_assert_not(format_frame_read(bytes, salt, 4096, FORMAT_BLOCK, &read), "bit %d", bit);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    cr_assert(format_frame_read(bytes, salt, 4096, FORMAT_BLOCK, &read));
    memset(bytes, 0, sizeof(bytes));
    cr_assert_not(format_frame_read(bytes, salt, 4096, FORMAT_BLOCK, &read));
}

Test(storage, impossible_frame_headers_are_refused_whatever_their_checksum)
{
    struct frame_header frames[] = {a_frame(), a_frame(), a_frame(), a_frame(),
                                    a_frame(), a_frame(), a_frame()};
    frames[0].stored_size = 4096; // shorter than what it holds
    frames[1].next_offset = 999;
    frames[2].base_offset = -1;
    frames[3].kind = (enum frame_kind)9;
    frames[4].kind = FRAME_LOG_START; // has eight bytes and no offsets
    frames[5].kind = FRAME_PRODUCERS; // has no offsets
    frames[6].batch_count = 0;        // of 5,000 bytes
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct frame_header read;
        uint8_t bytes[FRAME_HEADER_SIZE];
        format_frame_write(&frames[i], salt, 4096, bytes);
        cr_assert_not(format_frame_read(bytes, salt, 4096, FORMAT_BLOCK, &read), "%zu", i);
    }
}

static struct segment_header a_segment(void)
{
    return (struct segment_header){
        .topic_id = {{9, 8, 7}},
        .partition = 12,
        .base_offset = 1LL << 40,
        .salt = salt,
        .log_start = 5,
        .created_ms = 1700000000000,
        .alignment = FORMAT_BLOCK,
        .first_sequence = 3,
        .cleaned_to = (1LL << 40) + 7,
    };
}

Test(storage, a_segment_header_comes_back_and_covers_its_whole_block)
{
    struct segment_header header = a_segment();
    struct segment_header read;
    uint32_t version = 0;
    static uint8_t block[FORMAT_BLOCK];
    format_segment_write(&header, block);
    cr_assert_eq(format_segment_read(block, &read, &version), 0);
    cr_assert(kp_uuid_equal(read.topic_id, header.topic_id));
    cr_assert_eq(read.partition, 12);
    cr_assert_eq(read.base_offset, 1LL << 40);
    cr_assert_eq(read.salt, salt);
    cr_assert_eq(read.log_start, 5);
    cr_assert_eq(read.created_ms, 1700000000000);
    cr_assert_eq(read.alignment, FORMAT_BLOCK);
    cr_assert_eq(read.first_sequence, 3);
    cr_assert_eq(read.cleaned_to, (1LL << 40) + 7);
    for (int bit = 0; bit < FORMAT_BLOCK * 8; bit++) {
        block[bit / 8] = (uint8_t)(block[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(format_segment_read(block, &read, &version), -EBADMSG, "bit %d", bit);
        block[bit / 8] = (uint8_t)(block[bit / 8] ^ 1 << bit % 8);
    }
}

Test(storage, an_index_header_comes_back)
{
    struct index_header header = {
        .salt = salt,
        .base_offset = 7,
        .covered = 1 << 20,
        .next_offset = 99,
        .last_frame = 4096,
        .sequence = 12,
        .max_timestamp = 1234,
        .log_start = 7,
        .entry_count = 2,
        .producers_size = 31,
        .entries_checksum = 55,
    };
    struct index_header read;
    uint8_t bytes[INDEX_HEADER_SIZE];
    format_index_write(&header, bytes);
    cr_assert(format_index_read(bytes, &read));
    cr_assert_eq(read.salt, salt);
    cr_assert_eq(read.base_offset, 7);
    cr_assert_eq(read.covered, 1 << 20);
    cr_assert_eq(read.next_offset, 99);
    cr_assert_eq(read.last_frame, 4096);
    cr_assert_eq(read.sequence, 12);
    cr_assert_eq(read.max_timestamp, 1234);
    cr_assert_eq(read.log_start, 7);
    cr_assert_eq(read.entry_count, 2);
    cr_assert_eq(read.producers_size, 31);
    cr_assert_eq(read.entries_checksum, 55);
    for (int bit = 0; bit < INDEX_HEADER_SIZE * 8; bit++) {
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
        cr_assert_not(format_index_read(bytes, &read), "bit %d", bit);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
    }
}

Test(storage, stored_sizes_are_whole_blocks)
{
    cr_assert_eq(format_stored_size(0, 4096), 4096);
    cr_assert_eq(format_stored_size(4096 - FRAME_HEADER_SIZE, 4096), 4096);
    cr_assert_eq(format_stored_size(4096 - FRAME_HEADER_SIZE + 1, 4096), 8192);
    cr_assert_eq(format_stored_size(1, 64), 128);
}
