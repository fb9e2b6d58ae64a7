// SPDX-License-Identifier: Apache-2.0
// A bit that flips in a frame of many batches costs those around it, and only those: in contain.c,
// in its second reading (inspect_broken.c), and in logs.
#include "storage/contain.h"

#include "base/crc32c.h"
#include "base/endian.h"
#include "storage/inspect_parts.h"
#include "tests/unit/storage_fixture.h"

enum {
    SALT = 4711,
    BATCHES = 24,
    RECORDS = 2, // of a batch
    END = BATCHES * RECORDS,
    VALUE = 900,  // of a batch: several of them in a page, many across two
    LARGE = 9000, // some batches are larger than a page
};

// --- one frame in memory

struct sheet {
    uint8_t *payload;
    struct frame_header frame;
    uint64_t starts[BATCHES + 1];
};

static void batch_put(uint8_t *to, size_t *size, int number)
{
    struct batch_builder builder;
    struct batch_scratch scratch = {0};
    struct span batch;
    static uint8_t value[LARGE];
    size_t each = (size_t)(number % 7 == 6 ? LARGE : VALUE) / RECORDS;
    memset(value, number, sizeof(value));
    batch_builder_init(&builder, MIB);
    for (int i = 0; i < RECORDS; i++)
        cr_assert_eq(
            batch_builder_add(&builder, 1000, span_of(NULL, 0), span_of(value, each), NULL, 0),
            BATCH_OK);
    struct batch_producer none = {.id = -1, .epoch = -1, .base_sequence = -1};
    cr_assert_eq(batch_builder_finish(&builder, CODEC_NONE, 0, none, &scratch, &batch), BATCH_OK);
    memcpy(to, batch.data, batch.size);
    batch_assign(to, (int64_t)number * RECORDS, 0);
    *size = batch.size;
    batch_builder_free(&builder);
    free(scratch.data);
}

static void sheet_make(struct sheet *sheet)
{
    size_t size = 0;
    sheet->payload = calloc(1, MIB);
    sheet->starts[0] = 0;
    for (int i = 0; i < BATCHES; i++) {
        batch_put(sheet->payload + sheet->starts[i], &size, i);
        sheet->starts[i + 1] = sheet->starts[i] + size;
    }
    size = sheet->starts[BATCHES];
    sheet->frame = (struct frame_header){
        .kind = FRAME_DATA,
        .payload_size = (uint32_t)size,
        .stored_size = (uint32_t)format_stored_size(size, FORMAT_ALIGNMENT),
        .batch_count = BATCHES,
        .next_offset = END,
        .payload_checksum = format_payload_seal(sheet->payload, size, SALT),
    };
}

// Whether the batch lies in a page in which one of the bytes is.
static bool touches(const struct sheet *sheet, int batch, uint64_t byte)
{
    return sheet->starts[batch] / FRAME_PAGE <= byte / FRAME_PAGE &&
           (sheet->starts[batch + 1] - 1) / FRAME_PAGE >= byte / FRAME_PAGE;
}

static void part_compare(struct contain *contain, const struct inspect_part *part)
{
    struct contain_part own;
    cr_assert(contain_next(contain, &own));
    cr_assert_eq(own.sound, part->sound);
    cr_assert_eq(own.at, (uint64_t)(part->bytes.data - contain->payload));
    cr_assert_eq(own.size, part->bytes.size);
    cr_assert_eq(own.base_offset, part->first);
    cr_assert_eq(own.next_offset, part->next);
}

// What is served with these bytes damaged, as one bit for each batch; both readings agree.
static uint32_t served(const struct sheet *sheet)
{
    struct contain contain;
    struct inspect_part *parts = NULL;
    size_t count = 0;
    uint32_t found = 0;
    int64_t expected = 0;
    cr_assert_eq(inspect_broken_take(0, &sheet->frame, sheet->payload, SALT, &parts, &count), 0);
    contain_begin(&contain, sheet->payload, &sheet->frame, SALT);
    if (contain.state == PAYLOAD_TABLE_BAD) {
        count--;
        cr_assert_eq(parts[count].first, parts[count].next, "the table has no records");
    }
    for (size_t i = 0; i < count; i++) {
        part_compare(&contain, &parts[i]);
        cr_assert_eq(parts[i].first, expected, "parts follow each other");
        expected = parts[i].next;
        for (int64_t offset = parts[i].first; parts[i].sound && offset < expected; offset++)
            found |= UINT32_C(1) << offset / RECORDS;
    }
    struct contain_part none;
    cr_assert_not(contain_next(&contain, &none));
    cr_assert_eq(expected, END);
    free(parts);
    return found;
}

Test(storage, of_a_damaged_payload_all_is_sound_but_the_pages_that_were_hit)
{
    struct sheet sheet;
    sheet_make(&sheet);
    cr_assert_eq(served(&sheet), (UINT32_C(1) << BATCHES) - 1);
    for (uint64_t byte = 0; byte < sheet.frame.payload_size; byte += 61) {
        uint64_t other = byte * 7919 % sheet.frame.payload_size;
        sheet.payload[byte] ^= (uint8_t)(1 << byte % 8);
        uint32_t one = served(&sheet);
        sheet.payload[other] ^= 0x55;
        uint32_t two = served(&sheet);
        for (int i = 0; i < BATCHES; i++) {
            bool hit = touches(&sheet, i, byte);
            cr_assert_eq(one >> i & 1, !hit, "byte %" PRIu64 ", batch %d", byte, i);
            hit |= touches(&sheet, i, other);
            cr_assert_eq(two >> i & 1, !hit, "bytes %" PRIu64 " %" PRIu64, byte, other);
        }
        sheet.payload[other] ^= 0x55;
        sheet.payload[byte] ^= (uint8_t)(1 << byte % 8);
    }
    free(sheet.payload);
}

Test(storage, a_damaged_table_costs_nothing_unless_records_are_damaged_too)
{
    struct sheet sheet;
    sheet_make(&sheet);
    uint64_t table = format_table_size(sheet.frame.payload_size);
    for (uint64_t byte = 0; byte < table; byte++) {
        uint8_t *at = sheet.payload + sheet.frame.payload_size + byte;
        *at ^= (uint8_t)(1 << byte % 8);
        cr_assert_eq(format_payload_check(sheet.payload, &sheet.frame, SALT), PAYLOAD_TABLE_BAD);
        cr_assert_eq(served(&sheet), (UINT32_C(1) << BATCHES) - 1);
        sheet.payload[5000] ^= 1;
        cr_assert_eq(served(&sheet), 0);
        sheet.payload[5000] ^= 1;
        *at ^= (uint8_t)(1 << byte % 8);
    }
    free(sheet.payload);
}

// So many pages at a time.
static enum format_payload check_in_steps(const struct sheet *sheet, uint64_t pages)
{
    uint64_t page = 0;
    for (uint64_t steps = 0; steps <= sheet->frame.payload_size / FRAME_PAGE; steps++) {
        uint64_t before = page;
        uint64_t most = pages;
        enum format_payload state =
            format_payload_check_some(sheet->payload, &sheet->frame, SALT, &page, &most);
        cr_assert_leq(page - before, pages);
        if (state != PAYLOAD_UNKNOWN)
            return state;
        cr_assert_eq(most, 0, "it stops only where it has to");
    }
    return PAYLOAD_UNKNOWN;
}

Test(storage, a_payload_that_is_checked_in_steps_is_judged_as_in_one)
{
    struct sheet sheet;
    sheet_make(&sheet);
    uint64_t size = sheet.frame.payload_size + format_table_size(sheet.frame.payload_size);
    for (uint64_t pages = 1; pages < 20; pages++) {
        cr_assert_eq(check_in_steps(&sheet, pages), PAYLOAD_SOUND);
        for (uint64_t byte = 0; byte < size; byte += 509) {
            sheet.payload[byte] ^= 4;
            enum format_payload whole = format_payload_check(sheet.payload, &sheet.frame, SALT);
            cr_assert_neq(whole, PAYLOAD_SOUND);
            cr_assert_eq(check_in_steps(&sheet, pages), whole, "byte %" PRIu64, byte);
            sheet.payload[byte] ^= 4;
        }
    }
    uint64_t page = 0;
    uint64_t most = 0;
    cr_assert_eq(format_payload_check_some(sheet.payload, &sheet.frame, SALT, &page, &most),
                 PAYLOAD_UNKNOWN);
    free(sheet.payload);
}

// Kafka's checksum, length and offsets are all right there.
Test(storage, the_page_of_another_file_is_not_taken_for_this_ones)
{
    struct sheet sheet;
    struct sheet other;
    sheet_make(&sheet);
    sheet_make(&other);
    for (int i = 0; i < BATCHES; i++) {
        uint8_t *batch = other.payload + other.starts[i];
        store_be64(batch + 27, 4242); // the first timestamp
        size_t size = (size_t)(other.starts[i + 1] - other.starts[i]);
        store_be32(batch + 17, crc32c(0, batch + 21, size - 21));
    }
    memcpy(sheet.payload + FRAME_PAGE, other.payload + FRAME_PAGE, FRAME_PAGE);
    uint32_t found = served(&sheet);
    for (int i = 0; i < BATCHES; i++)
        cr_assert_eq(found >> i & 1, !touches(&sheet, i, FRAME_PAGE));
    free(sheet.payload);
    free(other.payload);
}

// --- a log

// One frame with all batches, and one behind it.
static void begin(struct world *world, bool clean)
{
    world_begin(world, 42);
    world->tail_cache_bytes = 0;
    cr_assert_eq(world_open(world), 0);
    for (int i = 0; i < BATCHES; i++)
        world_append_at(world, RECORDS, VALUE, CODEC_NONE, 1000 + i * RECORDS, 1);
    world_settle(world);
    world_append_at(world, RECORDS, VALUE, CODEC_NONE, 1000 + END, 1);
    world_settle(world);
    if (clean)
        cr_assert_eq(log_store_close(world->store), 0);
    else
        world_crash(world);
}

static void assert_refused(struct world *world, int64_t offset)
{
    struct reading reading;
    world_read(world, &reading, offset, MIB);
    cr_assert_eq(reading.op.error, -EIO, "offset %" PRId64, offset);
    cr_assert_eq(reading.op.size, 0);
    log_read_release(&reading.op);
}

// Everything but these offsets is there, in one piece up to them and from them on.
static void assert_hole(struct world *world, int64_t from, int64_t to)
{
    world_verify_range(world, 0, from, MIB);
    for (int64_t offset = from; offset < to; offset++)
        assert_refused(world, offset);
    world_verify_range(world, to, END + RECORDS, MIB);
}

// The offsets that go with a byte of the first frame's payload.
static void lost_with(const struct world *world, uint64_t byte, int64_t *from, int64_t *to)
{
    uint64_t at = 0;
    *from = *to = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        const struct expected *batch = &world->model.batches[i];
        if ((at + batch->size - 1) / FRAME_PAGE < byte / FRAME_PAGE)
            *from = batch->last_offset + 1;
        if (at / FRAME_PAGE <= byte / FRAME_PAGE)
            *to = batch->last_offset + 1;
        at += batch->size;
    }
}

static void flip_payload(struct world *world, uint64_t byte)
{
    world_flip(world, 0, ".log", (FORMAT_BLOCK + FRAME_HEADER_SIZE + byte) * 8 + byte % 8);
}

Test(storage, a_flipped_bit_in_a_large_frame_costs_what_is_around_it)
{
    for (uint64_t byte = 0; byte < BATCHES * VALUE; byte += 1009) {
        struct world world;
        int64_t from;
        int64_t to;
        begin(&world, byte % 2 == 0);
        lost_with(&world, byte, &from, &to);
        flip_payload(&world, byte);
        cr_assert_eq(world_open(&world), 0);
        cr_assert_eq(log_offsets(world.log).end, END + RECORDS);
        cr_assert_lt(to - from, END / 2);
        assert_hole(&world, from, to);
        cr_assert_eq(log_store_stats(world.store).damaged_frames, 1, "named and counted once");
        cr_assert_eq(log_store_close(world.store), 0);
        cr_assert_eq(world_open(&world), 0);
        assert_hole(&world, from, to);
        world_append(&world, RECORDS, VALUE);
        world_settle(&world);
        cr_assert_eq(log_offsets(world.log).committed, END + 2 * RECORDS);
        cr_assert_eq(log_store_close(world.store), 0);
        world_end(&world);
    }
}

Test(storage, a_large_last_frame_that_is_torn_is_cut_as_a_whole)
{
    struct world world;
    world_begin(&world, 42);
    cr_assert_eq(world_open(&world), 0);
    for (int i = 0; i < BATCHES; i++)
        world_append(&world, RECORDS, VALUE);
    world_settle(&world);
    world_crash(&world);
    flip_payload(&world, 3 * FRAME_PAGE);
    cr_assert_eq(world_open(&world), 0);
    cr_assert_eq(log_offsets(world.log).committed, 0);
    cr_assert_eq(world.recovery.damaged_ranges, 0);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}

Test(storage, a_time_lookup_passes_over_the_hole_in_a_frame)
{
    struct world world;
    int64_t from;
    int64_t to;
    begin(&world, false);
    lost_with(&world, 2 * FRAME_PAGE, &from, &to);
    flip_payload(&world, 2 * FRAME_PAGE);
    cr_assert_eq(world_open(&world), 0);
    struct looking looking = world_find_time(&world, 1000 + from);
    cr_assert_eq(looking.op.error, 0);
    cr_assert_eq(looking.op.offset, to);
    cr_assert_eq(world_find_time(&world, 1000 + from - 1).op.offset, from - 1);
    cr_assert_eq(log_store_close(world.store), 0);
    world_end(&world);
}
