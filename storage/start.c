// SPDX-License-Identifier: Apache-2.0
// The end of a start: between the last log_open and the first request.
#include "storage/store.h"

int log_store_settle(struct log_store *store)
{
    (void)store;
    return 0;
}

int log_store_begin(struct log_store *store, bool all_opened)
{
    (void)all_opened;
    return log_store_settle(store);
}
