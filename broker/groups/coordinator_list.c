// SPDX-License-Identifier: Apache-2.0
// The groups of one shard, as ListGroups shows them. Reads only.
#include <string.h>

#include "broker/groups/coordinator_internal.h"
#include "protocol/error.h"

// Names of states and types are compared as Kafka compares them: in any case.
static bool is_wanted(const char *name, const struct span *wanted, int32_t count)
{
    size_t size = strlen(name);
    for (int32_t i = 0; i < count; i++)
        if (wanted[i].size == size && strncasecmp((const char *)wanted[i].data, name, size) == 0)
            return true;
    return count <= 0;
}

static struct span copy(struct coordinator_op *op, struct span text)
{
    return span_of(arena_text(op->arena, text.data, text.size), text.size);
}

// False without memory.
static bool list_one(const struct coordinated *group, struct coordinator_op *op)
{
    struct span protocol_type = group->live ? group_protocol_type(group->live) : span_text("");
    const char *state = group->live ? group_state_name(group->live) : "Empty";
    const char *type = group->live ? group_type_name(group->live) : "classic";
    if (!is_wanted(state, op->states, op->state_count) ||
        !is_wanted(type, op->types, op->type_count))
        return true;
    struct coordinator_listed *listed = &op->listed[op->listed_count++];
    *listed = (struct coordinator_listed){
        .name = copy(op, span_of(group->name, group->name_size)),
        .protocol_type = copy(op, protocol_type.data ? protocol_type : span_text("")),
        .state = state,
        .type = type,
    };
    return listed->name.data && listed->protocol_type.data;
}

void coordinator_list(struct coordinator *coordinator, struct coordinator_op *op)
{
    bool ok = true;
    int16_t error = 0;
    op->listed_count = 0;
    op->listed = arena_array(op->arena, coordinator->groups.count, sizeof(*op->listed));
    ok = op->listed != NULL;
    list_each(node, &coordinator->order) {
        const struct coordinated *group = list_entry(node, struct coordinated, order);
        coordinator->budget--;
        if (ok && coordinated_is_known(group))
            ok = list_one(group, op);
    }
    // What is missing must not look like nothing.
    for (int32_t i = 0; i < coordinator->partition_count; i++)
        if (coordinator->unreadable[i])
            error = KP_ERROR_COORDINATOR_NOT_AVAILABLE;
    coordinator_finish(op, ok ? error : KP_ERROR_UNKNOWN_SERVER_ERROR);
}
