// SPDX-License-Identifier: Apache-2.0
// The error codes of the wire, from error.def. Handlers translate internal errors to these once.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum kp_error {
#define K(code, name, retriable, text) KP_ERROR_##name = (code),
#include "protocol/error.def"
#undef K
};

// Kafka's name for a code, "UNKNOWN" for one we do not know. Never NULL.
const char *kp_error_name(int16_t code);

// A sentence for a person, without a capital and a full stop. Never NULL.
const char *kp_error_text(int16_t code);

// Whether the same request may succeed later, perhaps at another broker. False for unknown codes.
bool kp_error_retriable(int16_t code);
