// SPDX-License-Identifier: Apache-2.0
// What a shard does for its store by the clock: the scrub, and the line with statistics.
#pragma once

struct shard;

// 0, or -1 without memory. Lives as long as the shard's structure.
int background_create(struct shard *shard);
void background_destroy(struct shard *shard);

// On the shard's thread, when it serves. 0 or -ENOMEM.
int background_start(struct shard *shard);

// On the shard's thread, before its store closes.
void background_stop(struct shard *shard);

// Shard 0, when every shard has called background_stop: the line for what the last one left out.
void background_last_line(struct shard *shard);
