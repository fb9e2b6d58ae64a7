// SPDX-License-Identifier: Apache-2.0
// Requests over a plain blocking socket, for benchmarks that do without a client library. What goes
// wrong ends the program with a sentence.
#pragma once

#include "protocol/frame.h"

_Noreturn void wire_give_up(const char *what, const char *why);

// A socket, connected to HOST:PORT; the caller's.
int wire_connect(const char *address);

// A request begun in the arena's memory; the body is for the caller to write.
struct kp_writer wire_begin(struct arena *arena, const struct kp_request_header *header);

// Ends the request and sends it whole.
void wire_send(int fd, struct kp_writer *writer);

void wire_receive(int fd, void *to, size_t size);
