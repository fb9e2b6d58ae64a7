// SPDX-License-Identifier: Apache-2.0
// msgpack as JSON, for showing the broker's internal records, whatever fields they have.
#pragma once

#include <jansson.h>

#include "base/span.h"

// One msgpack value that fills `bytes` exactly; NULL when it is not that, nests deeper than 16, or
// without memory. Maps need keys that are text or numbers. 16 binary bytes become an id as clients
// see it (base64url), other binary bytes base64.
json_t *pack_json(struct span bytes);
