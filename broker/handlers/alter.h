// SPDX-License-Identifier: Apache-2.0
// What AlterConfigs and IncrementalAlterConfigs have in common: resources with settings become
// changes for the controller.
#pragma once

#include "broker/controller.h"
#include "broker/request.h"

// The protocol's kinds of resources that have settings here.
enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

// The change for one resource, with room for `setting_count` settings to be filled in. What cannot
// be altered gets its error here. False when memory is short.
bool alter_take_resource(struct request *request, int8_t type, struct span name,
                         int32_t setting_count, struct controller_change *change);
