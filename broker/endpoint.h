// SPDX-License-Identifier: Apache-2.0
// The address under which this broker tells a client to find it: advertised.listeners, else the
// host of `listeners`, else, when listening on all addresses, the one this very client reached us
// at, which is always an address that works for it.
#pragma once

#include "broker/request.h"

enum { ENDPOINT_HOST_SIZE = 256 };

struct endpoint {
    char host[ENDPOINT_HOST_SIZE];
    uint16_t port;
};

struct endpoint endpoint_for(const struct request *request);

// What the client has connected from, the host in digits.
struct endpoint endpoint_of_client(const struct connection *connection);
