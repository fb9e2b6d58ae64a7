// SPDX-License-Identifier: Apache-2.0
// One client's connection. What other files than connection.c, receive.c, send.c and request.c may
// know of it.
#pragma once

#include <sys/socket.h>

struct connection;

// The address at which the client reached us. 0 or a negative errno.
int connection_local_address(const struct connection *connection, struct sockaddr_storage *out);
// The client's own. 0 or a negative errno.
int connection_remote_address(const struct connection *connection, struct sockaddr_storage *out);
