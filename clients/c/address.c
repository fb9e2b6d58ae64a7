// SPDX-License-Identifier: Apache-2.0
#include "clients/c/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// `size` bytes at `text` are a port from 1 to 65535. Returns it, or -1.
static int parse_port(const char *text, size_t size)
{
    int port = 0;
    if (size == 0 || size > 5)
        return -1;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        port = port * 10 + (text[i] - '0');
    }
    return port > 0 && port <= 65535 ? port : -1;
}

// Splits "host:port", "[v6]:port" or a bare host. A bare IPv6 address (two colons) needs brackets
// only when a port follows. Returns 0 or -1.
static int parse_address(const char *text, size_t size, struct address *out)
{
    const char *host = text;
    const char *end = text + size;
    const char *port;
    size_t host_size;
    if (size > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', size);
        if (!close)
            return -1;
        host = text + 1;
        host_size = (size_t)(close - host);
        port = close + 1;
        if (port < end && *port != ':')
            return -1;
    } else {
        const char *first = memchr(text, ':', size);
        port = first && !memchr(first + 1, ':', (size_t)(end - first - 1)) ? first : end;
        host_size = (size_t)(port - host);
    }
    out->port = port < end ? parse_port(port + 1, (size_t)(end - port - 1)) : ADDRESS_DEFAULT_PORT;
    if (host_size == 0 || host_size >= sizeof(out->host) || out->port < 0)
        return -1;
    memcpy(out->host, host, host_size);
    out->host[host_size] = '\0';
    return 0;
}

int address_parse_list(const char *text, struct address list[ADDRESS_LIST_MAX])
{
    int count = 0;
    for (;;) {
        text += strspn(text, " \t");
        size_t size = strcspn(text, ",");
        size_t used = size;
        while (used > 0 && strchr(" \t\r\n", text[used - 1]))
            used--;
        if (count == ADDRESS_LIST_MAX || parse_address(text, used, &list[count]) != 0)
            return -1;
        count++;
        if (!text[size])
            return count;
        text += size + 1;
    }
}

int address_resolve(const struct address *address, struct addrinfo **out)
{
    char port[8];
    snprintf(port, sizeof(port), "%d", address->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    return getaddrinfo(address->host, port, &hints, out);
}
