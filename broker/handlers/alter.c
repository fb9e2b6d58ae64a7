// SPDX-License-Identifier: Apache-2.0
// Resources whose settings a client wants to change: topics can be changed, brokers cannot.
#include "broker/handlers/alter.h"

#include <stdio.h>

#include "protocol/error.h"

bool alter_take_resource(struct request *request, int8_t type, struct span name,
                         int32_t setting_count, struct controller_change *change)
{
    change->name = name;
    change->settings =
        arena_array(&request->arena, (size_t)setting_count, sizeof(*change->settings));
    change->setting_count = (uint32_t)setting_count;
    if (!change->settings)
        return false;
    if (type == RESOURCE_TOPIC)
        return true;
    change->error = KP_ERROR_INVALID_REQUEST;
    if (type == RESOURCE_BROKER)
        snprintf(change->why, sizeof(change->why),
                 "settings of the broker are read when it starts: change its configuration file or "
                 "its command line");
    else
        snprintf(change->why, sizeof(change->why), "resources of type %d have no settings here",
                 type);
    return true;
}
