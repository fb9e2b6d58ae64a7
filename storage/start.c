// SPDX-License-Identifier: Apache-2.0
// The end of a start: between the last log_open and the first request.
//
// 1. What recovery found behind the index files may be in the page cache only, if the crash was the
//    process's alone. It is made durable, with one sync of the file system for all logs, before
//    anything is served and before anything is written behind it.
// 2. What only the journal had is written into segments, durably, before the journal begins anew.
#include <errno.h>
#include <string.h>

#include "base/log_line.h"
#include "storage/recover.h"
#include "storage/store.h"

void start_found(struct log_store *store)
{
    store->unsynced = true;
    store->settled = false;
}

int start_sync(struct log_store *store)
{
    if (!store->unsynced)
        return 0;
    int error = io_sync_filesystem_wait(store->io, store->topics);
    if (error) {
        log_line(LOG_ERROR, "syncing the file system of %s failed: %s", store->topics,
                 strerror(-error));
        return error;
    }
    store->unsynced = false;
    return 0;
}

int log_store_settle(struct log_store *store)
{
    if (store->settled)
        return 0;
    int error = start_sync(store);
    store->settled = error == 0;
    return error;
}

int log_store_begin(struct log_store *store, bool all_opened)
{
    (void)all_opened;
    return log_store_settle(store);
}
