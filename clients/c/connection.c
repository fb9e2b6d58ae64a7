// SPDX-License-Identifier: Apache-2.0
// The life of a connection: when it connects, what it agrees on first, how it ends.
//
//     IDLE --needed--> CONNECTING --TCP--> SECURING --transport--> NEGOTIATING --versions--> READY
//      ^                   |                   |                       |                      |
//      |                   +-------------------+-- connection_close ---+----------------------+
//      |                                                 v
//      +------------ nobody needs it ------------ PAUSED (back-off) ---- needed ----> CONNECTING
//
// What a broker asks for before it serves (SASL) are requests like ApiVersions: they go between the
// versions and READY.
//
// Invariants
//  1. A descriptor is open, and in the client's epoll set, exactly from CONNECTING to READY; the
//  exception is a doomed connection, which is closed in the same turn of the loop.
//  2. connection_close is the only way out of these states. Whatever was with the connection is
//     done with its error before it returns, and nothing is sent twice on its behalf: repeating is
//     the decision of those who submitted.
//  3. After a failure, however early, the next attempt waits for the back-off; only READY ends the
//     row of failures.
#include "clients/c/connection.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "clients/c/connection_exchange.h"
#include "clients/c/error.h"
#include "gen/kp_api_versions.h"
#include "protocol/error.h"

static void timer_expired(struct timer *timer);
static void negotiation_start(struct connection *connection, int16_t version);

struct connection *connection_new(struct weir_client *client, struct node *node,
                                  const void *channel)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->node = node;
    connection->client = client;
    connection->channel = channel;
    connection->fd = -1;
    connection->timer.expired = timer_expired;
    list_init(&connection->sending);
    list_init(&connection->queue);
    list_init(&connection->outgoing);
    list_init(&connection->spare);
    receive_init(&connection->receive, client->pool,
                 (size_t)client->config.receive_message_max_bytes);
    list_append(&node->connections, &connection->link);
    return connection;
}

// Back to having no socket; requests are not touched.
static void socket_close(struct connection *connection)
{
    transport_close(&connection->transport);
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->writable = connection->hung_up = false;
    connection->doomed = false;
    receive_reset(&connection->receive);
    if (connection->addresses)
        freeaddrinfo(connection->addresses);
    connection->addresses = connection->address = NULL;
}

void connection_free(struct connection *connection)
{
    struct list requests;
    list_init(&requests);
    exchange_take_all(connection, &requests);
    socket_close(connection);
    connection->state = CONNECTION_PAUSED;
    for (struct list *node; (node = list_pop(&requests));)
        request_finish(list_entry(node, struct request, node), WEIR_ERR_ABANDONED);
    timer_cancel(&connection->client->timers, &connection->timer);
    exchange_free(connection);
    list_remove(&connection->sending);
    list_remove(&connection->link);
    free(connection);
}

static void pause_start(struct connection *connection)
{
    struct weir_client *client = connection->client;
    connection->state = CONNECTION_PAUSED;
    uint64_t pause_ns =
        client_backoff_ns(client, client->config.reconnect_backoff_ms,
                          client->config.reconnect_backoff_max_ms, connection->failures);
    connection->failures++;
    // Without memory for the timer the pause ends at once rather than never.
    if (timer_set(&client->timers, &connection->timer, client->now_ns + pause_ns) != 0)
        connection->state = CONNECTION_IDLE;
}

void connection_close(struct connection *connection, int error, const char *format, ...)
{
    struct weir_client *client = connection->client;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(connection->error_text, sizeof(connection->error_text), format, arguments);
    va_end(arguments);
    connection->error = error;
    client->stats.connection_fails++;
    client_log(client, WEIR_LOG_WARNING, "%s", connection->error_text);
    struct list requests;
    list_init(&requests);
    exchange_take_all(connection, &requests);
    socket_close(connection);
    pause_start(connection);
    if (connection->node->id >= 0)
        metadata_refresh(&client->metadata);
    for (struct list *node; (node = list_pop(&requests));) {
        struct request *request = list_entry(node, struct request, node);
        if (request != &connection->negotiation)
            request_finish(request, error);
    }
    client_rouse(client);
}

static void socket_set_options(const struct connection *connection, int fd)
{
    const struct config *config = &connection->client->config;
    int one = 1;
    int send_buffer = (int)config->send_buffer_bytes;
    int receive_buffer = (int)config->receive_buffer_bytes;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (send_buffer > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    if (receive_buffer > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
}

// Starts the handshake with connection->address. Returns 0, with connection->fd open, or -errno.
static int socket_open(struct connection *connection)
{
    const struct addrinfo *to = connection->address;
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, to->ai_protocol);
    if (fd < 0)
        return -errno;
    socket_set_options(connection, fd);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    if ((connect(fd, to->ai_addr, to->ai_addrlen) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(connection->client->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    connection->fd = fd;
    return 0;
}

// Tries the remaining addresses in turn; when none is left, `error` (positive errno) is the reason
// why the last one failed.
static void connect_next(struct connection *connection, int error)
{
    for (; connection->address; connection->address = connection->address->ai_next) {
        int result = socket_open(connection);
        if (result == 0)
            return;
        error = -result;
    }
    connection_close(connection, error_from_errno(error), "cannot connect to %s: %s",
                     connection->node->name, strerror(error));
}

static void connection_open(struct connection *connection)
{
    struct weir_client *client = connection->client;
    int failure = address_resolve(&connection->node->address, &connection->addresses);
    if (failure) {
        connection->addresses = NULL;
        connection_close(connection, WEIR_ERR_RESOLVE, "cannot look up %s: %s",
                         connection->node->address.host, gai_strerror(failure));
        return;
    }
    connection->state = CONNECTION_CONNECTING;
    uint64_t limit_ns = (uint64_t)client->config.connection_setup_timeout_ms * MS;
    if (timer_set(&client->timers, &connection->timer, client->now_ns + limit_ns) != 0) {
        connection_close(connection, WEIR_ERR_NO_MEMORY, "cannot connect to %s: out of memory",
                         connection->node->name);
        return;
    }
    connection->address = connection->addresses;
    connect_next(connection, EADDRNOTAVAIL);
}

static bool connection_needed(const struct connection *connection)
{
    return connection->wanted || !list_empty(&connection->queue);
}

static void timer_expired(struct timer *timer)
{
    struct connection *connection = list_entry(timer, struct connection, timer);
    if (connection->state == CONNECTION_PAUSED) {
        connection->state = CONNECTION_IDLE;
        if (connection_needed(connection))
            exchange_schedule(connection);
        return;
    }
    connection_close(connection, WEIR_ERR_TIMED_OUT, "connecting to %s took longer than %lld ms",
                     connection->node->name,
                     (long long)connection->client->config.connection_setup_timeout_ms);
}

// Ends with versions being asked for, waits for the next event, or closes.
static void handshake_go_on(struct connection *connection)
{
    int result = connection->transport.kind->handshake(&connection->transport);
    if (result < 0) {
        connection_close(connection, error_from_errno(-result), "%s and this client disagree: %s",
                         connection->node->name, strerror(-result));
        return;
    }
    if (result == 0)
        return;
    connection->state = CONNECTION_NEGOTIATING;
    connection->writable = true;
    negotiation_start(connection, KP_API_VERSIONS_MAX);
}

// TCP's handshake has ended, well or not.
static void connect_done(struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        close(connection->fd);
        connection->fd = -1;
        connection->address = connection->address->ai_next;
        connect_next(connection, error);
        return;
    }
    freeaddrinfo(connection->addresses);
    connection->addresses = connection->address = NULL;
    connection->state = CONNECTION_SECURING;
    transport_open(&connection->transport, &transport_plain, connection->fd);
    handshake_go_on(connection);
}

static void negotiation_encode(struct request *request, struct kp_writer *writer)
{
    struct kp_api_versions_request message;
    kp_api_versions_request_init(&message);
    message.client_software_name = span_text("libweir");
    message.client_software_version = span_text(weir_version());
    kp_api_versions_request_encode(writer, request->version, &message);
}

static void ready_enter(struct connection *connection)
{
    timer_cancel(&connection->client->timers, &connection->timer);
    connection->state = CONNECTION_READY;
    connection->failures = 0;
    connection->error_text[0] = '\0';
    connection->wanted = false;
    connection->client->stats.connects++;
    client_log(connection->client, WEIR_LOG_INFO, "connected to %s", connection->node->name);
    exchange_schedule(connection);
    client_rouse(connection->client);
}

static void ranges_store(struct connection *connection,
                         const struct kp_api_versions_response *message)
{
    for (int i = 0; i < CONNECTION_APIS; i++)
        connection->apis[i] = (struct api_range){0, -1};
    for (int32_t i = 0; i < message->api_keys_count; i++) {
        const struct kp_api_versions_response_api_key *row = &message->api_keys[i];
        if (row->api_key >= 0 && row->api_key < CONNECTION_APIS)
            connection->apis[row->api_key] = (struct api_range){row->min_version, row->max_version};
    }
}

// A broker that does not know our version of ApiVersions answers in version 0 and names the ones
// it knows; then it is asked again.
static bool negotiation_again(struct connection *connection,
                              const struct kp_api_versions_response *message, int16_t used)
{
    int16_t version = 0;
    for (int32_t i = 0; i < message->api_keys_count; i++) {
        if (message->api_keys[i].api_key == KP_API_VERSIONS_KEY)
            version = message->api_keys[i].max_version;
    }
    if (version < 0 || version >= used)
        version = 0;
    if (used == 0)
        return false;
    negotiation_start(connection, version);
    return true;
}

static bool negotiation_done(struct request *request, int error, struct reply *reply)
{
    struct connection *connection = list_entry(request, struct connection, negotiation);
    if (error)
        return true; // connection_close is under way, or its timer will follow
    struct kp_api_versions_response message;
    const uint8_t *body = reply->reader.at;
    bool unsupported = kp_reader_left(&reply->reader) >= 2 && body[0] == 0 &&
                       body[1] == KP_ERROR_UNSUPPORTED_VERSION;
    int16_t format = unsupported ? 0 : reply->version;
    if (kp_api_versions_response_decode(&reply->reader, format, reply->arena, &message) != 0)
        return false;
    if (unsupported && negotiation_again(connection, &message, reply->version))
        return true;
    if (message.error_code) {
        connection_close(connection, error_from_wire(message.error_code),
                         "%s refuses to name its versions: %s", connection->node->name,
                         kp_error_text(message.error_code));
        return true;
    }
    ranges_store(connection, &message);
    ready_enter(connection);
    return true;
}

// Goes ahead of everything that is queued already.
static void negotiation_start(struct connection *connection, int16_t version)
{
    struct request *request = &connection->negotiation;
    *request = (struct request){
        .api_key = KP_API_VERSIONS_KEY,
        .version_max = version,
        .version = version,
        .encode = negotiation_encode,
        .done = negotiation_done,
        .connection = connection,
        .last = connection,
        .client = connection->client,
    };
    list_append(connection->queue.next, &request->node);
    exchange_schedule(connection);
}

bool connection_ready(struct connection *connection)
{
    if (connection->state == CONNECTION_READY && !connection->doomed)
        return true;
    connection->wanted = true;
    exchange_schedule(connection);
    return false;
}

void connection_event(struct connection *connection, uint32_t events)
{
    if (connection->state == CONNECTION_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            connect_done(connection);
        return;
    }
    if (connection->state == CONNECTION_SECURING) {
        handshake_go_on(connection);
        return;
    }
    if (connection->state < CONNECTION_NEGOTIATING || connection->doomed)
        return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->hung_up = true;
    if (events & EPOLLOUT) {
        connection->writable = true;
        if (!list_empty(&connection->outgoing))
            exchange_schedule(connection);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        exchange_receive(connection);
}

void connection_send(struct connection *connection)
{
    if (connection->doomed) {
        connection_close(connection, WEIR_ERR_TRANSPORT, "a request to %s was taken back half sent",
                         connection->node->name);
        return;
    }
    if (connection->state == CONNECTION_IDLE && connection_needed(connection)) {
        connection_open(connection);
        return;
    }
    if (connection->state < CONNECTION_NEGOTIATING)
        return;
    int error = exchange_send(connection);
    if (error)
        connection_close(connection, error_from_errno(-error), "the connection to %s was lost: %s",
                         connection->node->name, strerror(-error));
}
