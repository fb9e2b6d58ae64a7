// SPDX-License-Identifier: Apache-2.0
// Which address to tell a client. Reads the configuration and the client's own connection.
#include "broker/endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "broker/config.h"
#include "broker/connection.h"
#include "broker/shard.h"

static bool is_every_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
    uint16_t port = 0;
    if (address->ss_family == AF_INET)
        memcpy(&port, (const char *)address + offsetof(struct sockaddr_in, sin_port), sizeof(port));
    if (address->ss_family == AF_INET6)
        memcpy(&port, (const char *)address + offsetof(struct sockaddr_in6, sin6_port),
               sizeof(port));
    return be16toh(port);
}

// The host in digits; an IPv4 address that came in through an IPv6 socket is shown as what it is.
static void host_of(const struct sockaddr_storage *address, char *host, size_t size)
{
    static const char mapped[] = "::ffff:";
    socklen_t length =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getnameinfo((const struct sockaddr *)address, length, host, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST) != 0)
        snprintf(host, size, "127.0.0.1");
    else if (strncmp(host, mapped, sizeof(mapped) - 1) == 0 && strchr(host, '.'))
        memmove(host, host + sizeof(mapped) - 1, strlen(host + sizeof(mapped) - 1) + 1);
}

struct endpoint endpoint_for(const struct request *request)
{
    const struct config *config = request->shard->config;
    struct endpoint endpoint = {.port = config->listen_port};
    struct sockaddr_storage local;
    bool known = connection_local_address(request->connection, &local) == 0;
    if (known)
        endpoint.port = port_of(&local);
    if (config->advertised_host && config->advertised_port)
        endpoint.port = config->advertised_port;
    if (config->advertised_host)
        snprintf(endpoint.host, sizeof(endpoint.host), "%s", config->advertised_host);
    else if (!is_every_address(config->listen_host) || !known)
        snprintf(endpoint.host, sizeof(endpoint.host), "%s", config->listen_host);
    else
        host_of(&local, endpoint.host, sizeof(endpoint.host));
    return endpoint;
}

struct endpoint endpoint_of_client(const struct connection *connection)
{
    struct sockaddr_storage remote = {.ss_family = AF_UNSPEC};
    (void)connection_remote_address(connection, &remote);
    struct endpoint endpoint = {.port = port_of(&remote)};
    host_of(&remote, endpoint.host, sizeof(endpoint.host));
    return endpoint;
}
