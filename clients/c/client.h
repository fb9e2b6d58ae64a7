// SPDX-License-Identifier: Apache-2.0
// What one client owns and how its parts meet: the event loop, the nodes with their connections,
// the metadata, and the workers (producers and consumers) that the loop drives.
#pragma once

#include <stdarg.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/timer.h"
#include "clients/c/address.h"
#include "clients/c/config.h"
#include "clients/c/metadata.h"
#include "clients/c/weir.h"

enum { CLIENT_TEXT_SIZE = 768, MS = 1000000 };

struct connection;

// A producer or a consumer, as the loop sees it. `drive` is called when `due` is set and clears it;
// it may submit requests, and neither waits nor calls the application. `report` calls the
// application's callbacks, as long as `reports` is set.
struct worker {
    struct list node;
    bool due;
    bool reports;
    void (*drive)(struct worker *worker);
    void (*report)(struct worker *worker);
};

// A broker, by its id, or one of the addresses the user gave (id < 0).
struct node {
    struct list link;
    int32_t id;
    struct address address;
    char name[ADDRESS_HOST_SIZE + 16]; // "host:port", for sentences
    struct list connections;           // struct connection, at most one per channel
};

struct weir_client {
    struct config config;
    int epoll_fd;
    int wake_fd;     // an eventfd that weir_wake writes to, from any thread; nothing else is shared
    bool woken;      // it did: the next wait ends, or the one under way
    uint64_t now_ns; // read once per turn of the loop
    struct timers timers;
    struct random random;
    struct list nodes;
    struct list sending; // connections with something to send
    struct list workers;
    struct metadata metadata;
    struct pool *pool;    // receive buffers
    struct arena decoded; // the response being handled
    bool in_callback;
    struct weir_client_statistics stats; // what is counted as it happens
    enum weir_log_level log_level;
    void (*log)(void *context, enum weir_log_level level, const char *sentence);
    void *log_context;
    char error_text[CLIENT_TEXT_SIZE];
    const void *refused; // on whose behalf a broker refuses, for now, what it is asked; or NULL
    char refusal_text[CLIENT_TEXT_SIZE];
};

// Records the sentence of a failing call, prefixed with the code's name, and returns `error`.
int client_fail(struct weir_client *client, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Tells the application, if it wants to know.
void client_log(struct weir_client *client, enum weir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// A broker refuses what it is asked for `who`, who will ask again: weir_trouble tells the sentence
// until it is forgotten. The last one counts.
void client_note_refusal(struct weir_client *client, const void *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void client_forget_refusal(struct weir_client *client, const void *who);

// One turn: drives the due workers, sends, waits for events until `deadline_ns` at most (less when
// something is due earlier), receives, runs timers, drives and sends again. Calls no application
// callbacks.
void client_turn(struct weir_client *client, uint64_t deadline_ns);

// Calls the application's callbacks that are due.
void client_report(struct weir_client *client);

// Turns and reports until `done` or the deadline. For functions that wait, after client_enter.
void client_wait(struct weir_client *client, bool (*done)(void *context), void *context,
                 uint64_t deadline_ns);

// Whether weir_wake was called; to be asked at the end of functions that it interrupts. Once.
bool client_woken(struct weir_client *client);

// To be called first in functions that wait: WEIR_OK with the clock read, or WEIR_ERR_BUSY.
int client_enter(struct weir_client *client);

// The moment `timeout_ms` from now; UINT64_MAX for WEIR_FOREVER.
uint64_t client_deadline(const struct weir_client *client, int timeout_ms);

// Has every worker driven in the next turn.
void client_rouse(struct weir_client *client);

// A pause before attempt number `attempt` + 1 (counted from 0): doubled each time, with jitter.
uint64_t client_backoff_ns(struct weir_client *client, int64_t first_ms, int64_t max_ms,
                           uint32_t attempt);

// The broker with that id; NULL when the metadata never named one.
struct node *client_node(struct weir_client *client, int32_t id);

// Adds the broker or corrects its address. NULL when memory is short.
struct node *client_node_set(struct weir_client *client, int32_t id, const struct address *address);

// The connection to a node for a channel: NULL for all general requests, or a consumer, whose
// fetches must not hold up anything else. Made when missing; NULL when memory is short.
struct connection *client_connection(struct weir_client *client, struct node *node,
                                     const void *channel);

// The best connection for a request that any broker can answer. NULL when memory is short.
struct connection *client_any_connection(struct weir_client *client);

// Closes and frees the connections of a channel.
void client_channel_free(struct weir_client *client, const void *channel);
