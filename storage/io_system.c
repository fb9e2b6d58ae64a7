// SPDX-License-Identifier: Apache-2.0
#include "storage/io_system.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/io.h"

// What waits to be accepted. The kernel lowers it to net.core.somaxconn.
enum { BACKLOG = 4096 };

static int port_of(int fd, uint16_t *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, &address.any, &size) < 0)
        return -errno;
    *port = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    return 0;
}

static int set_options(int fd, int family)
{
    int on = 1;
    int off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    // Accepted sockets inherit this: no system call per connection.
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return -errno;
    // "::" takes IPv4 connections as well, whatever the system's default is.
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return -errno;
    return 0;
}

static int listen_on(const struct addrinfo *address, uint16_t *bound_port)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    int result = set_options(fd, address->ai_family);
    if (result == 0 && bind(fd, address->ai_addr, address->ai_addrlen) < 0)
        result = -errno;
    if (result == 0 && listen(fd, BACKLOG) < 0)
        result = -errno;
    if (result == 0)
        result = port_of(fd, bound_port);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

static int resolve_error(int code)
{
    switch (code) {
    case EAI_SYSTEM:
        return -errno;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_AGAIN:
        return -EAGAIN;
    default:
        return -EADDRNOTAVAIL;
    }
}

int io_system_listen(struct io *io, const char *host, uint16_t port, uint16_t *bound_port)
{
    (void)io;
    if (host && (host[0] == '\0' || strcmp(host, "*") == 0))
        host = NULL;
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0)
        return resolve_error(code);
    // Without a host both families are offered; the IPv6 one serves both, where there is IPv6.
    int result = -EADDRNOTAVAIL;
    for (int pass = 0; pass < 2 && result < 0; pass++) {
        for (struct addrinfo *at = found; at && result < 0; at = at->ai_next) {
            bool preferred = host || at->ai_family == AF_INET6;
            if (preferred == (pass == 0))
                result = listen_on(at, bound_port);
        }
    }
    freeaddrinfo(found);
    return result;
}

int io_system_list_directory(struct io *io, const char *path,
                             int (*each)(void *context, const char *name), void *context)
{
    (void)io;
    DIR *directory = opendir(path);
    if (!directory)
        return -errno;
    int result = 0;
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry) {
            result = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = each(context, entry->d_name);
    }
    closedir(directory);
    return result;
}

int64_t io_system_file_size(struct io *io, int fd)
{
    (void)io;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    return status.st_size;
}

int io_system_stamp_of(struct io *io, const char *path, struct io_stamp *out)
{
    (void)io;
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    out->size = (uint64_t)status.st_size;
    out->changed_ns = (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
    return 0;
}

int io_system_sync_filesystem(struct io *io, const char *path)
{
    (void)io;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = syncfs(fd) < 0 ? -errno : 0;
    close(fd);
    return result;
}

int64_t io_system_next_data(struct io *io, int fd, uint64_t offset)
{
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
    if (data >= 0)
        return data;
    return errno == ENXIO ? io_system_file_size(io, fd) : (int64_t)offset;
}
