// SPDX-License-Identifier: Apache-2.0
// Prints how far a group is behind, per partition, and with --reset has it begin anew.
//
//     lag GROUP [BROKERS] [--reset]        (or the environment's WEIR_BROKERS)
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir.h>

enum { WAIT_MS = 10000 };

// The lag of every partition the group has committed an offset of.
static int show(struct weir_client *client, const struct weir_offset_list *committed)
{
    struct weir_offset_query *ends = calloc(committed->count + 1, sizeof(*ends));
    if (!ends)
        return WEIR_ERR_NO_MEMORY;
    for (size_t i = 0; i < committed->count; i++) {
        ends[i].topic = committed->offsets[i].topic;
        ends[i].partition = committed->offsets[i].partition;
        ends[i].at = WEIR_END;
    }
    int error = weir_list_offsets(client, ends, committed->count, WAIT_MS);
    for (size_t i = 0; i < committed->count && !error; i++)
        printf("%s %d %" PRId64 "\n", ends[i].topic, (int)ends[i].partition,
               ends[i].offset - committed->offsets[i].offset);
    free(ends);
    return error;
}

// Sets the group's offsets to where its partitions begin. It must have no members.
static int reset(struct weir_client *client, const char *group,
                 const struct weir_offset_list *committed)
{
    size_t count = committed->count;
    struct weir_offset_query *starts = calloc(count + 1, sizeof(*starts));
    struct weir_offset *offsets = calloc(count + 1, sizeof(*offsets));
    int error = starts && offsets ? WEIR_OK : WEIR_ERR_NO_MEMORY;
    for (size_t i = 0; i < count && !error; i++) {
        starts[i].topic = offsets[i].topic = committed->offsets[i].topic;
        starts[i].partition = offsets[i].partition = committed->offsets[i].partition;
        starts[i].at = WEIR_BEGINNING;
    }
    if (!error)
        error = weir_list_offsets(client, starts, count, WAIT_MS);
    for (size_t i = 0; i < count && !error; i++)
        offsets[i].offset = starts[i].offset;
    if (!error)
        error = weir_alter_group_offsets(client, group, offsets, count, WAIT_MS);
    free(starts);
    free(offsets);
    return error;
}

int main(int argc, char **argv)
{
    int resets = argc > 2 && strcmp(argv[argc - 1], "--reset") == 0;
    argc -= resets;
    const char *brokers = argc > 2 ? argv[2] : getenv("WEIR_BROKERS");
    if (argc < 2 || !brokers) {
        fprintf(stderr, "usage: lag GROUP BROKERS [--reset]\n");
        return 2;
    }
    struct weir_client *client = weir_client_new(brokers, NULL);
    if (!client) {
        fprintf(stderr, "%s: %s\n", brokers, strerror(errno));
        return 1;
    }
    struct weir_offset_list *committed;
    int error = weir_group_offsets(client, argv[1], &committed, WAIT_MS);
    if (!error) {
        error = resets ? reset(client, argv[1], committed) : show(client, committed);
        weir_offset_list_free(committed);
    }
    if (error)
        fprintf(stderr, "%s\n", weir_last_error(client));
    weir_client_free(client);
    return error ? 1 : 0;
}
