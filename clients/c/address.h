// SPDX-License-Identifier: Apache-2.0
// Host and port as users write them, and what the system makes of them.
#pragma once

#include <netdb.h>
#include <stddef.h>

enum { ADDRESS_HOST_SIZE = 256, ADDRESS_DEFAULT_PORT = 9092, ADDRESS_LIST_MAX = 64 };

struct address {
    char host[ADDRESS_HOST_SIZE]; // without brackets
    int port;
};

// Parses "host:port,[v6]:port,host". Returns the number of addresses written to `list`, or -1 when
// the text is malformed, empty, or names more than ADDRESS_LIST_MAX.
int address_parse_list(const char *text, struct address list[ADDRESS_LIST_MAX]);

// Looks the address up; may block. *out is to be freed with freeaddrinfo. Returns 0 or an EAI_
// code.
int address_resolve(const struct address *address, struct addrinfo **out);
