// SPDX-License-Identifier: Apache-2.0
// An answer names, for each aborted transaction that reaches into it, the producer and the offset
// of its first record. Where it ends, the log itself says: with a control batch of that producer.
//
// Invariant: `open` has the transactions that have begun, and not ended, before the batch that is
// asked about next: one for each producer at most, because a producer has one at a time.
#include "clients/c/aborted.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/map.h"
#include "gen/kp_fetch.h"

enum { MARKER_KEY_SIZE = 4, MARKER_ABORT = 0 }; // the key: a version and a type, 16 bits each

struct aborted {
    struct map open; // by the bytes of producer_id
    size_t count;
    size_t next; // the first that has not begun
    struct transaction {
        int64_t producer_id;
        int64_t first_offset;
    } transactions[]; // by first_offset
};

static int transaction_order(const void *a, const void *b)
{
    const struct transaction *left = a, *right = b;
    return (left->first_offset > right->first_offset) - (left->first_offset < right->first_offset);
}

struct aborted *aborted_new(const struct kp_fetch_response_partition *answer)
{
    size_t count = (size_t)answer->aborted_transactions_count;
    struct aborted *aborted = malloc(sizeof(*aborted) + count * sizeof(struct transaction));
    if (!aborted)
        return NULL;
    map_init(&aborted->open);
    aborted->count = count;
    aborted->next = 0;
    for (size_t i = 0; i < count; i++) {
        aborted->transactions[i] = (struct transaction){
            .producer_id = answer->aborted_transactions[i].producer_id,
            .first_offset = answer->aborted_transactions[i].first_offset,
        };
    }
    qsort(aborted->transactions, count, sizeof(struct transaction), transaction_order);
    return aborted;
}

void aborted_free(struct aborted *aborted)
{
    if (!aborted)
        return;
    map_free(&aborted->open);
    free(aborted);
}

static bool is_abort_marker(struct span batch)
{
    struct batch_reader reader;
    struct record record;
    return batch_reader_init(&reader, batch, NULL, 0) == BATCH_OK &&
           batch_reader_next(&reader, &record) == 1 && record.key.size >= MARKER_KEY_SIZE &&
           record.key.data[2] == 0 && record.key.data[3] == MARKER_ABORT;
}

int aborted_covers(struct aborted *aborted, const struct batch_header *header, struct span batch)
{
    struct span producer = span_of(&header->producer_id, sizeof(header->producer_id));
    for (; aborted->next < aborted->count; aborted->next++) {
        struct transaction *transaction = &aborted->transactions[aborted->next];
        if (transaction->first_offset > batch_last_offset(header))
            break;
        struct span id = span_of(&transaction->producer_id, sizeof(transaction->producer_id));
        if (map_put(&aborted->open, id, transaction) != 0)
            return BATCH_NO_MEMORY;
    }
    if (!(header->attributes & BATCH_TRANSACTIONAL))
        return 0;
    bool covered = map_get(&aborted->open, producer) != NULL;
    bool plain = !(header->attributes & BATCH_CODEC_MASK);
    if ((header->attributes & BATCH_CONTROL) && covered && plain && is_abort_marker(batch))
        map_remove(&aborted->open, producer);
    return covered;
}
