// SPDX-License-Identifier: Apache-2.0
// Bytes written as text: base64 and hexadecimal digits.
#pragma once

#include <stddef.h>

// Base64 with padding, from malloc; NULL without memory.
char *encoding_base64(const void *data, size_t size);

// Decodes `size` characters, with padding or without, into `out`, which has room for as many bytes.
// How many bytes there are, or -1 when it is no base64.
long encoding_from_base64(const char *text, size_t size, void *out);

// 0 to 15, or -1.
int encoding_hex_digit(char c);
