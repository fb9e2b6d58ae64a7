// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// CRC-32C (Castagnoli), as Kafka's record batches carry it. Start with crc = 0; feeding the bytes
// in pieces, passing the last result on, gives the same value. Uses the CPU's instruction where
// there is one.
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
