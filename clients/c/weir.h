// SPDX-License-Identifier: Apache-2.0
//
// libweir: produce to, consume from and administer Weir, Apache Kafka, or any broker that speaks
// Kafka's protocol.
//
//     struct weir_client *client = weir_client_new("localhost:9092", NULL);
//     struct weir_producer *producer = weir_producer_new(client, NULL);
//     struct weir_message message = {.value = weir_text("hello")};
//     int error = weir_produce(producer, "greetings", WEIR_ANY_PARTITION, &message);
//     if (!error)
//         error = weir_flush(producer, 10000);
//     if (error)
//         fprintf(stderr, "%s\n", weir_last_error(client));
//     weir_producer_free(producer);
//     weir_client_free(client);
//
// Build with: cc program.c $(pkg-config --cflags --libs weir). What every program needs comes
// first: errors, settings, the client. Then producers, consumers, members of groups (with most of a
// whole program), administration.
//
// THREADS. The library has none. A client, with every producer and consumer made from it, is used
// by one thread at a time; different clients share nothing and may run in different threads.
// Connecting, sending, receiving, retrying and time-outs happen inside weir_poll and inside the
// functions marked "waits", which drive the whole client until their own work is done. Call
// weir_poll regularly, or hand weir_fd to your own event loop. Nothing else ever blocks, with one
// exception: looking up a host name, which happens once per connection attempt, may.
// weir_wake is the one function on a client that any thread may call.
//
// OWNERSHIP. What you pass in is copied before the function returns, unless its description says
// otherwise. What you get back belongs to the library, and is valid for as long as the description
// says; result lists (struct weir_topic_list and the like) are yours until you free them.
//
// CALLBACKS are only called from weir_poll and from functions marked "waits", in the thread that
// called them. A callback may call weir_produce and any function that does not wait. It must not
// call one that waits and must not free a handle.
//
// TIME-OUTS are in milliseconds; WEIR_FOREVER never gives up, 0 does not wait. Functions that
// retry do so, with a growing pause, for as long as the time-out allows.
//
// ERRORS. Functions that can fail return 0 (WEIR_OK), a negative code of this library, or a
// positive code: the broker's own answer, numbered as in Kafka's protocol. weir_last_error tells
// the whole story in one sentence, naming host, topic and partition.

#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEIR_API __attribute__((visibility("default")))
#else
#define WEIR_API
#endif

#define WEIR_FOREVER (-1)

// ---------------------------------------------------------------------------------------- errors

enum weir_error {
    WEIR_OK = 0,

    WEIR_ERR_TIMED_OUT = -1,     // no answer, or no connection, within the time-out
    WEIR_ERR_QUEUE_FULL = -2,    // buffer.memory is used up: poll, then try again
    WEIR_ERR_TRANSPORT = -3,     // the connection was lost or could not be made
    WEIR_ERR_REFUSED = -4,       // nobody listens at that address
    WEIR_ERR_RESOLVE = -5,       // the host name is unknown
    WEIR_ERR_BAD_ARGUMENT = -6,  // a value that makes no sense
    WEIR_ERR_NO_MEMORY = -7,     // out of memory
    WEIR_ERR_CORRUPT = -8,       // bytes that fail their checksum or cannot be decoded
    WEIR_ERR_UNSUPPORTED = -9,   // the broker does not offer what is needed
    WEIR_ERR_TOO_LARGE = -10,    // a record above message.max.bytes
    WEIR_ERR_NOT_ASSIGNED = -11, // the consumer does not read that partition
    WEIR_ERR_NO_GROUP = -12,     // committing or WEIR_STORED without group.id
    WEIR_ERR_NO_OFFSET = -13,    // nothing committed, or none at that time
    WEIR_ERR_ABANDONED = -14,    // the handle was freed before the message was delivered
    WEIR_ERR_BUSY = -15,         // a waiting function was called from inside a callback
    WEIR_ERR_SYSTEM = -16,       // the operating system refused (weir_last_error says what)
    WEIR_ERR_INTERRUPTED = -17,  // weir_wake ended the wait
    WEIR_ERR_PURGED = -18,       // weir_purge dropped the message

    // The broker's answers that programs most often tell apart. The full list is Kafka's.
    WEIR_ERR_UNKNOWN_SERVER_ERROR = -100, // Kafka's -1
    WEIR_ERR_OFFSET_OUT_OF_RANGE = 1,
    WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION = 3,
    WEIR_ERR_LEADER_NOT_AVAILABLE = 5,
    WEIR_ERR_NOT_LEADER = 6,
    WEIR_ERR_REQUEST_TIMED_OUT = 7,
    WEIR_ERR_MESSAGE_TOO_LARGE = 10,
    WEIR_ERR_INVALID_TOPIC = 17,
    WEIR_ERR_INCONSISTENT_GROUP_PROTOCOL = 23,
    WEIR_ERR_INVALID_GROUP_ID = 24,
    WEIR_ERR_UNKNOWN_MEMBER_ID = 25,
    WEIR_ERR_TOPIC_AUTHORIZATION_FAILED = 29,
    WEIR_ERR_TOPIC_ALREADY_EXISTS = 36,
    WEIR_ERR_INVALID_PARTITIONS = 37,
    WEIR_ERR_INVALID_CONFIG = 40,
    WEIR_ERR_POLICY_VIOLATION = 44,
    WEIR_ERR_STORAGE = 56,
    WEIR_ERR_NON_EMPTY_GROUP = 68,
    WEIR_ERR_GROUP_ID_NOT_FOUND = 69,
    WEIR_ERR_GROUP_MAX_SIZE_REACHED = 81,
    WEIR_ERR_FENCED_INSTANCE_ID = 82,
    WEIR_ERR_GROUP_SUBSCRIBED_TO_TOPIC = 86,
    WEIR_ERR_INVALID_REGULAR_EXPRESSION = 128
};

// The code's name, "TIMED_OUT" or "UNKNOWN_TOPIC_OR_PARTITION". Never NULL. Any thread.
WEIR_API const char *weir_error_name(int error);

// What the code means, as a sentence without a full stop. Never NULL. Any thread.
WEIR_API const char *weir_error_text(int error);

// Whether the same call may well succeed later without anybody changing anything. Any thread.
WEIR_API bool weir_error_retriable(int error);

// --------------------------------------------------------------------------------------- settings
//
// Settings carry Kafka's names. All have defaults; NULL may be passed wherever a configuration is
// expected. Sizes are in bytes and take the suffixes k, m, g (powers of 1,024). One configuration
// may serve for a client, its producers and its consumers: each takes what concerns it.
//
// client
//   client.id                      weir      how the broker's log names this program
//   request.timeout.ms             30000     an unanswered request closes its connection
//   socket.connection.setup.timeout.ms 10000
//   socket.send.buffer.bytes       0         0 leaves it to the system
//   socket.receive.buffer.bytes    0         0 leaves it to the system
//   reconnect.backoff.ms           50        doubles with each failure, with jitter, ...
//   reconnect.backoff.max.ms       2000      ... up to this
//   retry.backoff.ms               50        pause before a failed request is repeated; doubles ...
//   retry.backoff.max.ms           1000      ... up to this
//   metadata.max.age.ms            300000    leaders and partition counts are asked for this often
//   topic.metadata.propagation.max.ms 30000  how long a topic may be unknown before that is an
//                                            error; a thirtieth of it where it may not be created.
//                                            For messages to one that was there before, only
//                                            delivery.timeout.ms counts
//   max.in.flight.requests.per.connection 5  produce requests sent ahead of their answers
//   receive.message.max.bytes      256m      a longer response closes the connection
//
// producer
//   acks                           all       all (-1), 1 or 0. With 0 there is no answer at all: a
//                                            message counts as delivered once it is sent
//   compression.type               none      none, gzip, snappy, lz4, zstd
//   compression.level              0         0 is the codec's own default
//   batch.size                     1m        a batch this large is sent without waiting; one that
//                                            the broker finds too large is sent again in parts
//   linger.ms                      0         how long to wait for a batch to fill. Even with 0,
//                                            messages gather while their partition awaits an answer
//                                            and, in batches that are not full, while 1/32 of
//                                            buffer.memory is on its way to their broker in such
//   message.max.bytes              1m        a larger record is refused at once
//   max.request.size               8m        several partitions' batches share a request up to this
//   buffer.memory                  64m       messages not yet reported; beyond it QUEUE_FULL
//   retries                        2147483647 per batch, within delivery.timeout.ms
//   delivery.timeout.ms            120000    from weir_produce to the final word
//   enable.idempotence             auto      true: the broker stores each message once and in
//                                            order, whatever is sent again; needs acks=all. auto:
//                                            with acks=all, where the broker offers it
//   max.in.flight.per.partition    0         batches sent ahead of their answers. 0: 5 with
//                                            idempotence, else 1, and a batch that is not full
//                                            waits for those before it. A number: partly filled
//                                            ones go ahead too; above 1, and without idempotence,
//                                            the order may change
//   allow.auto.create.topics       true      let the broker create a topic on first use
//
// consumer
//   group.id                       (none)    under whose name offsets are committed
//   auto.offset.reset              latest    earliest, latest, or none (an error): where to start
//                                            when nothing is committed, or the offset is gone
//   fetch.min.bytes                1         the broker waits for this much ...
//   fetch.max.wait.ms              500       ... at most this long
//   fetch.max.bytes                32m       per answer
//   max.partition.fetch.bytes      2m        per partition and answer; about what a CPU caches
//   check.crcs                     true      verify every batch's CRC-32C
//   isolation.level                read_uncommitted  or read_committed: without the records of
//                                            aborted transactions, and up to the first one that is
//                                            open
//   enable.auto.commit             false     commit what was handed out before the last
//                                            weir_consumer_poll: in intervals, before partitions
//                                            are given up, and in weir_consumer_close
//   auto.commit.interval.ms        5000
//
// consumer that subscribes (a member of the group that group.id names)
//   group.instance.id              (none)    a static member: its partitions wait for it for a
//                                            session when it stops; unique within the group
//   group.protocol                 auto      consumer (the newer one, KIP-848), classic, or auto:
//                                            consumer where the broker serves it, and classic if
//                                            not or if partition.assignment.strategy is set
//   max.poll.interval.ms           300000    longest time between two calls of
//                                            weir_consumer_poll, and for giving partitions up
//   session.timeout.ms             45000     classic: unheard of for so long, a member is put out
//   heartbeat.interval.ms          3000      classic; the newer protocol's brokers decide it
//   partition.assignment.strategy  (none)    classic: some of range, roundrobin, sticky and
//                                            cooperative-sticky, the most wanted first; none is
//                                            range,cooperative-sticky. Partitions stay while
//                                            others move only if cooperative-sticky is all there is
//   group.remote.assignor          (none)    consumer: uniform or range; none leaves it to the
//                                            broker

struct weir_config;

// An empty configuration: every setting at its default. NULL when memory is short.
WEIR_API struct weir_config *weir_config_new(void);

// The configuration may be freed once the handles made with it exist. NULL is allowed.
WEIR_API void weir_config_free(struct weir_config *config);

// Sets one value, overwriting an earlier one. Returns WEIR_OK, or WEIR_ERR_BAD_ARGUMENT when there
// is no such setting or the value is impossible: weir_config_error then says why. Nothing changes.
WEIR_API int weir_config_set(struct weir_config *config, const char *name, const char *value);

// Why the last weir_config_set on this configuration failed. Valid until the next one.
WEIR_API const char *weir_config_error(const struct weir_config *config);

// ----------------------------------------------------------------------------------------- client

struct weir_client;

// A client for the cluster that `brokers` leads to: "host:port", several separated by commas, the
// port 9092 when left out, IPv6 addresses in brackets. Does not touch the network: the first use
// connects. NULL with errno set: EINVAL for a malformed list, ENOMEM, or what epoll refused.
WEIR_API struct weir_client *weir_client_new(const char *brokers, const struct weir_config *config);

// Closes all connections. The client's producers and consumers must have been freed before.
// NULL is allowed.
WEIR_API void weir_client_free(struct weir_client *client);

// Waits up to `timeout_ms` for something to do, does it, and calls the callbacks that are due:
// sends what producers have queued, receives, reconnects, retries, keeps memberships of groups
// alive. Returns WEIR_OK, whether anything happened or not, WEIR_ERR_INTERRUPTED (weir_wake) or
// WEIR_ERR_BUSY.
WEIR_API int weir_poll(struct weir_client *client, int timeout_ms);

// For programs with an event loop of their own: when this descriptor is readable, or after
// weir_timeout_ms, call weir_poll(client, 0). Valid as long as the client. Never read from it.
WEIR_API int weir_fd(const struct weir_client *client);

// Milliseconds until weir_poll has to be called even if weir_fd is quiet; 0 for now, -1 for never.
// Ask anew after every other call on the client, its producers and its consumers.
WEIR_API int weir_timeout_ms(const struct weir_client *client);

// Ends the weir_poll or weir_consumer_poll that is waiting, or else the next one, with
// WEIR_ERR_INTERRUPTED; several calls before it count as one. Other functions finish their work.
// Any thread, and also a signal handler; the client must exist. Returns WEIR_OK or WEIR_ERR_SYSTEM.
WEIR_API int weir_wake(struct weir_client *client);

// The sentence for the last call that failed on this client, its producers or its consumers.
// Never NULL; empty when nothing failed yet. Valid until the next call on any of them.
WEIR_API const char *weir_last_error(const struct weir_client *client);

// What keeps the client from reaching a broker, or a consumer from reading on, at the moment, as a
// sentence ("cannot connect to ..."), or NULL when nothing does. It keeps trying all the while.
// Valid until the next call.
WEIR_API const char *weir_trouble(const struct weir_client *client);

// What happens inside, as it happens. Levels are syslog's.
enum weir_log_level { WEIR_LOG_WARNING = 4, WEIR_LOG_INFO = 6, WEIR_LOG_DEBUG = 7 };

// Has `log` called with a sentence without newline for events of up to `level`: connections made
// and lost, what a broker refuses, producers that had to be numbered anew. It may be called from
// within any function that takes a handle, and must itself call nothing of the library but
// weir_error_name and weir_error_text. NULL ends it.
WEIR_API void weir_client_on_log(struct weir_client *client, enum weir_log_level level,
                                 void (*log)(void *context, enum weir_log_level level,
                                             const char *sentence),
                                 void *context);

struct weir_client_statistics {
    uint64_t connects;         // connections that got ready
    uint64_t connection_fails; // attempts that failed, and connections lost
    uint64_t requests;         // sent
    uint64_t responses;        // received
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint32_t connections; // ready at the moment
    uint32_t in_flight;   // requests sent and not answered
};

// Since the client was made. Does not wait, costs next to nothing.
WEIR_API void weir_client_stats(const struct weir_client *client,
                                struct weir_client_statistics *stats);

// The library's version, "0.1.0". Any thread.
WEIR_API const char *weir_version(void);

// --------------------------------------------------------------------------------------- messages

// Bytes somebody else owns. `data` NULL means absent (a record without key, a deletion), which is
// not the same as empty.
struct weir_bytes {
    const void *data;
    size_t size;
};

static inline struct weir_bytes weir_bytes_of(const void *data, size_t size)
{
    struct weir_bytes bytes = {data, size};
    return bytes;
}

// The text without its terminator; absent for NULL.
static inline struct weir_bytes weir_text(const char *text)
{
    return weir_bytes_of(text, text ? strlen(text) : 0);
}

struct weir_header {
    struct weir_bytes name;
    struct weir_bytes value;
};

// --------------------------------------------------------------------------------------- producer
//
// Messages gather in one batch per partition and are sent when weir_poll, weir_flush or a full
// batch gives the occasion. Order within a partition is kept, also across retries. A batch whose
// answer was lost with the connection is sent again; the broker recognises it, so that each message
// is stored once (see enable.idempotence; without it, it may be stored twice). None is lost without
// a report.

struct weir_producer;

#define WEIR_ANY_PARTITION (-1)

struct weir_message {
    struct weir_bytes key;   // absent: partitions take turns, batch by batch
    struct weir_bytes value; // absent: on a compacted topic, deletes the key
    const struct weir_header *headers;
    size_t header_count;
    int64_t timestamp; // milliseconds since 1970; 0 = now, or up to 10 ms ago under load
    void *opaque;      // comes back in the delivery report; the library does not look at it
};

// What became of one message.
struct weir_delivery {
    int error;          // WEIR_OK: stored as acks demands. Otherwise not known to be stored
    const char *reason; // a sentence when `error` is set, else NULL
    const char *topic;
    int32_t partition; // WEIR_ANY_PARTITION when it never got one
    int64_t offset;    // -1 with acks=0 or an error
    int64_t timestamp; // the broker's, on topics that use it; otherwise -1
    void *opaque;
};

// NULL when memory is short, or when enable.idempotence=true meets settings that exclude it
// (weir_last_error says which).
WEIR_API struct weir_producer *weir_producer_new(struct weir_client *client,
                                                 const struct weir_config *config);

// Frees at once. Messages not yet delivered are reported with WEIR_ERR_ABANDONED before this
// returns (call weir_flush first to have them delivered). NULL is allowed.
WEIR_API void weir_producer_free(struct weir_producer *producer);

// Has `delivered` called once for every message that weir_produce accepted, in order per
// partition. The report is valid during the call. Set it before the first weir_produce.
WEIR_API void weir_producer_on_delivery(struct weir_producer *producer,
                                        void (*delivered)(void *context,
                                                          const struct weir_delivery *delivery),
                                        void *context);

// What became of a batch: `count` messages of one partition, in order, at consecutive offsets.
struct weir_batch_delivery {
    int error; // for all of them, as in weir_delivery
    const char *reason;
    const char *topic;
    int32_t partition;
    int64_t offset; // of the first; -1 as in weir_delivery
    int64_t timestamp;
    size_t count;
    void *const *opaques; // one for each
};

// The same once per batch, which is cheaper for many small messages. Both may be set: this one is
// called first.
WEIR_API void weir_producer_on_batch(struct weir_producer *producer,
                                     void (*delivered)(void *context,
                                                       const struct weir_batch_delivery *delivery),
                                     void *context);

// Has `choose` asked for the partition of messages produced with WEIR_ANY_PARTITION: it returns one
// of 0 to count - 1, or WEIR_ANY_PARTITION to leave the choice to the library; anything else fails
// the message with WEIR_ERR_BAD_ARGUMENT. It is called from weir_produce, or from where the topic's
// partitions become known, and must call nothing of the library.
WEIR_API void weir_producer_on_partition(struct weir_producer *producer,
                                         int32_t (*choose)(void *context, const char *topic,
                                                           const struct weir_message *message,
                                                           int32_t count),
                                         void *context);

// Queues a copy of the message; does not wait and reports nothing. `partition` may be
// WEIR_ANY_PARTITION: messages with the same key then go to the same partition (the one Java's
// clients would choose), others to one partition per batch, in turns.
// Returns WEIR_OK: a report will follow. Otherwise none will: WEIR_ERR_QUEUE_FULL (poll, try
// again), WEIR_ERR_TOO_LARGE, WEIR_ERR_BAD_ARGUMENT, WEIR_ERR_NO_MEMORY, or
// WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION when the topic is known not to have that partition.
WEIR_API int weir_produce(struct weir_producer *producer, const char *topic, int32_t partition,
                          const struct weir_message *message);

// Waits until every message has been reported, ignoring linger.ms. Returns WEIR_OK when all since
// the last weir_flush were delivered, WEIR_ERR_TIMED_OUT with messages still queued, or the first
// failed message's error.
WEIR_API int weir_flush(struct weir_producer *producer, int timeout_ms);

// Drops what waits to be sent: reported with WEIR_ERR_PURGED the next time reports are due. What is
// on its way is not touched, and reported after that. Does not wait. Returns how many.
WEIR_API size_t weir_purge(struct weir_producer *producer);

struct weir_producer_statistics {
    uint64_t messages; // accepted
    uint64_t delivered;
    uint64_t failed;
    uint64_t batches;      // sent, each counted once
    uint64_t batch_bytes;  // their size as sent, compressed
    uint64_t repeats;      // batches sent again
    uint64_t renumberings; // of partitions, see enable.idempotence
    size_t queued;         // messages not yet reported
    size_t buffered_bytes; // of buffer.memory
    int64_t producer_id;   // -1 while not idempotent
};

// Since the producer was made. Does not wait, costs next to nothing.
WEIR_API void weir_producer_stats(const struct weir_producer *producer,
                                  struct weir_producer_statistics *stats);

// Messages accepted and not yet reported.
WEIR_API size_t weir_producer_queued(const struct weir_producer *producer);

// --------------------------------------------------------------------------------------- consumer
//
//     weir_consumer_assign(consumer, "greetings", 0, WEIR_BEGINNING);
//     while (weir_consumer_poll(consumer, 1000) == WEIR_OK) {
//         struct weir_record record;
//         while (weir_consumer_next(consumer, &record))
//             printf("%.*s\n", (int)record.value.size, (const char *)record.value.data);
//     }

// A consumer either reads the partitions it is told (weir_consumer_assign, as above), or it
// subscribes to topics as a member of a group (see below, "consumer groups") and reads those that
// the group gives it. Everything else is the same for both.

struct weir_consumer;

// Places to start from, beside offsets from 0.
#define WEIR_END (-1)       // only what is produced from now on
#define WEIR_BEGINNING (-2) // the oldest record there is
#define WEIR_STORED (-1000) // the group's committed offset, or auto.offset.reset if there is none

struct weir_record {
    const char *topic;
    int32_t partition;
    int32_t header_count;
    int64_t offset;
    int64_t timestamp;     // milliseconds since 1970; -1 when the record has none
    struct weir_bytes key; // bytes, not a C string: no zero follows
    struct weir_bytes value;
    struct weir_bytes headers; // encoded: read them with weir_record_header
};

// NULL when memory is short.
WEIR_API struct weir_consumer *weir_consumer_new(struct weir_client *client,
                                                 const struct weir_config *config);

// Frees at once: commits nothing, and leaves no group, which waits for a session to end before it
// gives the partitions to others (see weir_consumer_close). Commits under way are reported with
// WEIR_ERR_ABANDONED. All records become invalid. NULL is allowed.
WEIR_API void weir_consumer_free(struct weir_consumer *consumer);

// Adds a partition, to be read from `offset` (or WEIR_BEGINNING, WEIR_END, WEIR_STORED); one
// already assigned is moved there. Does not wait: a topic that does not exist shows in
// weir_consumer_poll. Returns WEIR_OK, WEIR_ERR_BAD_ARGUMENT (also while subscribed),
// WEIR_ERR_NO_GROUP (WEIR_STORED without group.id) or WEIR_ERR_NO_MEMORY.
WEIR_API int weir_consumer_assign(struct weir_consumer *consumer, const char *topic,
                                  int32_t partition, int64_t offset);

// Stops reading a partition. Records of it that were already handed out stay valid until the next
// weir_consumer_poll. Returns WEIR_OK, WEIR_ERR_NOT_ASSIGNED, or WEIR_ERR_BAD_ARGUMENT while
// subscribed.
WEIR_API int weir_consumer_unassign(struct weir_consumer *consumer, const char *topic,
                                    int32_t partition);

// As weir_consumer_assign, for a partition that is assigned already: WEIR_ERR_NOT_ASSIGNED if not.
// Also clears the partition's error.
WEIR_API int weir_consumer_seek(struct weir_consumer *consumer, const char *topic,
                                int32_t partition, int64_t offset);

// While paused, a partition stays assigned and hands out nothing; what was fetched of it ahead is
// kept for later. WEIR_OK or WEIR_ERR_NOT_ASSIGNED.
WEIR_API int weir_consumer_pause(struct weir_consumer *consumer, const char *topic,
                                 int32_t partition);
WEIR_API int weir_consumer_resume(struct weir_consumer *consumer, const char *topic,
                                  int32_t partition);

// Waits up to `timeout_ms` for records, then lets weir_consumer_next hand them out. Invalidates
// the records handed out before; those not yet taken are kept. While you work on them, the next
// ones are already being fetched, whenever the client is driven.
// Returns WEIR_OK (also when there is nothing yet), WEIR_ERR_INTERRUPTED (weir_wake),
// WEIR_ERR_BUSY, or an error that one partition cannot recover from by itself (the sentence names
// it): reported once, and that partition rests until it is assigned or sought anew, while the
// others go on. An error that keeps a subscribed consumer out of its group for good (another member
// has the same group.instance.id, the group is full, no common strategy) is returned by every call,
// until weir_subscribe or weir_unsubscribe.
WEIR_API int weir_consumer_poll(struct weir_consumer *consumer, int timeout_ms);

// The next record, without copying: its pointers lead into the received bytes, valid until the
// next weir_consumer_poll, seek or assign. Does not wait. False when there are none left; poll
// then. Taking a record moves the partition's position behind it.
WEIR_API bool weir_consumer_next(struct weir_consumer *consumer, struct weir_record *record);

// Walks a record's headers, `*at` from 0. False at the end. Valid as long as the record.
WEIR_API bool weir_record_header(const struct weir_record *record, size_t *at,
                                 struct weir_header *header);

// The offset of the next record weir_consumer_next would hand out, or the place the partition is
// to start from (a negative constant) when that has not been looked up yet.
// WEIR_OK or WEIR_ERR_NOT_ASSIGNED.
WEIR_API int weir_consumer_position(const struct weir_consumer *consumer, const char *topic,
                                    int32_t partition, int64_t *position);

// The first offset stored and the offset the next record will get, as the last answer of the
// partition's leader said; -1 before the first one. Does not wait.
// WEIR_OK or WEIR_ERR_NOT_ASSIGNED.
WEIR_API int weir_consumer_watermarks(const struct weir_consumer *consumer, const char *topic,
                                      int32_t partition, int64_t *low, int64_t *high);

// How many records there are from the position to the partition's end, as of its leader's last
// answer; -1 before the first one. (With read_committed: up to the first open transaction.) Does
// not wait. WEIR_OK or WEIR_ERR_NOT_ASSIGNED. To find offsets by time: weir_list_offsets.
WEIR_API int weir_consumer_lag(const struct weir_consumer *consumer, const char *topic,
                               int32_t partition, int64_t *lag);

struct weir_topic_partition {
    const char *topic;
    int32_t partition;
};

// The partitions assigned now, by hand or by the group, those being given up included; by topic and
// number. *partitions is valid until the next call on the client or the consumer; NULL for none.
// Does not wait. WEIR_OK or WEIR_ERR_NO_MEMORY.
WEIR_API int weir_consumer_assignment(struct weir_consumer *consumer,
                                      const struct weir_topic_partition **partitions,
                                      size_t *count);

struct weir_consumer_statistics {
    uint64_t records;        // handed out
    uint64_t fetches;        // answers received
    uint64_t fetched_bytes;  // in them, as sent, compressed
    uint64_t commits;        // that have succeeded, automatic ones included
    uint64_t commits_failed; // or whose end is unknown
    uint64_t rebalances;     // times that partitions were assigned, revoked or lost
    size_t assigned;         // partitions at the moment
    size_t paused;           // of those
    size_t buffered_bytes;   // fetched, and not read to the end
    uint64_t lag;            // sum over the partitions whose end is known
};

// Since the consumer was made. Does not wait, costs little.
WEIR_API void weir_consumer_stats(const struct weir_consumer *consumer,
                                  struct weir_consumer_statistics *stats);

// ------------------------------------------------------------------------------------ committing
//
// A committed offset is that of the next record to read: the last one that is done, plus 1. Commits
// of one consumer reach the broker one after the other, in the order of their calls, so none ever
// undoes a later one. While subscribed, only partitions that the group has given to this consumer
// can be committed; others fail with WEIR_ERR_NOT_ASSIGNED, and so do those that are lost while the
// commit is under way: their new owner's commits are safe. What the broker refuses only for the
// moment, a rebalance under way for one, is repeated.

// One partition's offset, in calls that take several.
struct weir_offset {
    const char *topic;
    int32_t partition;
    int64_t offset;       // in: to commit; out: committed, -1 if nothing is
    const char *metadata; // in: to be stored along, or NULL; not filled on return
    int error;            // out: WEIR_OK or what the broker said about this partition
};

// Commits the positions of all assigned partitions under group.id. Waits. Returns WEIR_OK when all
// are stored, else the first error. After WEIR_ERR_TIMED_OUT nobody knows whether they are.
WEIR_API int weir_commit(struct weir_consumer *consumer, int timeout_ms);

// Commits the given offsets. The partitions need not be assigned unless the consumer is subscribed.
// Waits. Sets each `error`; returns WEIR_OK when all are stored, else the first error.
WEIR_API int weir_commit_offsets(struct weir_consumer *consumer, struct weir_offset *offsets,
                                 size_t count, int timeout_ms);

// The same without waiting: copies the offsets, commits as the client is driven, and calls `done`
// once (NULL: nobody) with the first error and, until it returns, all offsets with theirs. With
// `count` 0: the positions of all assigned partitions as of now. It repeats for as long as
// max.poll.interval.ms. Returns WEIR_OK: `done` will be called. Otherwise it will not:
// WEIR_ERR_NO_GROUP, WEIR_ERR_BAD_ARGUMENT, WEIR_ERR_NO_MEMORY.
WEIR_API int weir_commit_async(struct weir_consumer *consumer, const struct weir_offset *offsets,
                               size_t count,
                               void (*done)(void *context, int error,
                                            const struct weir_offset *offsets, size_t count),
                               void *context);

// Fills in what is committed under group.id. Waits. Sets each `offset` and `error`; returns
// WEIR_OK or the first error.
WEIR_API int weir_committed(struct weir_consumer *consumer, struct weir_offset *offsets,
                            size_t count, int timeout_ms);

// -------------------------------------------------------------------------------- consumer groups
//
//     struct weir_config *config = weir_config_new();
//     weir_config_set(config, "group.id", "billing");
//     weir_config_set(config, "auto.offset.reset", "earliest"); // else only what comes from now on
//     struct weir_client *client = weir_client_new("localhost:9092", config);
//     struct weir_consumer *consumer = weir_consumer_new(client, config);
//     const char *topics[] = {"orders", "payments"};
//     int error = weir_subscribe(consumer, topics, 2);
//     while (!error && running) { // a signal handler clears it, and calls weir_wake(client)
//         struct weir_record record;
//         error = weir_consumer_poll(consumer, 1000);
//         while (!error && weir_consumer_next(consumer, &record))
//             bill(record.value.data, record.value.size);
//         if (!error)
//             error = weir_commit(consumer, 10000); // what was handed out is done
//     }
//     if (error && error != WEIR_ERR_INTERRUPTED)
//         fprintf(stderr, "%s\n", weir_last_error(client));
//     weir_consumer_close(consumer, 10000);
//     weir_client_free(client);
//     weir_config_free(config);
//
// To have several partitions read in parallel, start the program several times.
//
// The members of a group share the partitions of the topics they subscribe to: each is read by one
// member. When members come and go, partitions move (a rebalance). A partition starts at the
// group's committed offset, or where auto.offset.reset says if there is none.
//
// STAYING A MEMBER. Nothing but the calls of this thread keeps a membership alive: heartbeats are
// sent whenever the client is driven, by weir_poll or any function that waits. A program that does
// not drive it for longer than the session (session.timeout.ms, or what the broker has set for the
// newer protocol) is put out of the group, and learns so when it comes back: its partitions are
// LOST, and it joins again. One that drives the client, but does not call weir_consumer_poll for
// max.poll.interval.ms, leaves the group until it does. Work that takes longer than that: pause the
// partitions, and keep calling.
//
// GIVING PARTITIONS UP. From the moment a partition is to be REVOKED, nothing more of it is handed
// out, but it still belongs to this member: until the callback has returned, every commit begun by
// then has ended, and a hold (below) is over. With enable.auto.commit, a commit of its own is one
// of those.

enum weir_rebalance_kind {
    WEIR_PARTITIONS_ASSIGNED, // new: you may seek or pause them, nothing was fetched yet
    WEIR_PARTITIONS_REVOKED,  // to be given up: commit what is done (weir_commit_async), or hold
    WEIR_PARTITIONS_LOST      // gone, somebody else may be at work on them: drop what is not done
};

struct weir_rebalance {
    enum weir_rebalance_kind kind;
    const struct weir_topic_partition *partitions; // by topic and number
    size_t count; // 0 only in the first ASSIGNED after joining: there is nothing for this member
};

// Subscribes to topics, by name; replaces an earlier subscription, and joins the group in the
// background. Topics that do not exist yet are read from when they appear (weir_trouble tells).
// Without any (`count` 0) it is weir_unsubscribe. Does not wait. Returns WEIR_OK,
// WEIR_ERR_NO_GROUP, WEIR_ERR_BAD_ARGUMENT (a name that cannot be one, or partitions were assigned
// by hand) or WEIR_ERR_NO_MEMORY.
WEIR_API int weir_subscribe(struct weir_consumer *consumer, const char *const *topics,
                            size_t count);

// Subscribes to all topics, present and future, whose whole name matches a regular expression
// ("orders-.*"; Perl's syntax as far as RE2 has it: no back references, no look-around). New topics
// are noticed within metadata.max.age.ms. Internal topics never match. Otherwise as weir_subscribe;
// WEIR_ERR_INVALID_REGULAR_EXPRESSION, with a sentence, for a pattern that is none.
WEIR_API int weir_subscribe_pattern(struct weir_consumer *consumer, const char *pattern);

// Gives all partitions up, as above, and leaves the group; both in the background. WEIR_OK.
WEIR_API int weir_unsubscribe(struct weir_consumer *consumer);

// Has `changed` called when the group gives partitions or takes them; the structure is valid during
// the call. A callback, as described at the top of this file: it may commit with weir_commit_async,
// but not with weir_commit. NULL: nobody.
WEIR_API void weir_consumer_on_rebalance(struct weir_consumer *consumer,
                                         void (*changed)(void *context,
                                                         const struct weir_rebalance *rebalance),
                                         void *context);

// For work that is still under way when its partition is REVOKED: called in the callback, it keeps
// those partitions until weir_rebalance_release, which is to follow when that work is done and its
// commit begun (weir_commit_async; it is waited for). The client has to be driven meanwhile. A hold
// lasts max.poll.interval.ms at most: then the partitions are LOST. Outside of such a callback, or
// without a hold: WEIR_ERR_BAD_ARGUMENT, and nothing happens.
WEIR_API int weir_rebalance_hold(struct weir_consumer *consumer);
WEIR_API int weir_rebalance_release(struct weir_consumer *consumer);

// Ends in good order, then frees: gives all partitions up (REVOKED, hold and commits included),
// leaves the group (a static member does not, its partitions wait for it), and does what
// weir_consumer_free does. Waits. The consumer is gone in any case but WEIR_ERR_BUSY. Returns
// WEIR_OK, WEIR_ERR_TIMED_OUT, or the error of a commit that enable.auto.commit asked for.
WEIR_API int weir_consumer_close(struct weir_consumer *consumer, int timeout_ms);

// Who this consumer is in its group: the member's id and its generation (the newer protocol: its
// epoch). "" and -1 while it is no member. The id is valid until the next call on the client or the
// consumer.
WEIR_API const char *weir_consumer_member_id(const struct weir_consumer *consumer);
WEIR_API int32_t weir_consumer_generation(const struct weir_consumer *consumer);

// -------------------------------------------------------------------------------- administration
//
// All of these wait. Result lists are complete and owned by the caller.

// What weir_alter_settings does with a setting. The numbers are those of Kafka's protocol.
enum weir_setting_change {
    WEIR_SETTING_SET = 0,      // to the value; NULL: back to the default
    WEIR_SETTING_APPEND = 2,   // lists ("a,b"): the value's words are added, unless they are there
    WEIR_SETTING_SUBTRACT = 3, // lists: they are taken away
};

struct weir_setting {
    const char *name;
    const char *value;
    enum weir_setting_change change; // new topics: WEIR_SETTING_SET
};

struct weir_new_topic {
    const char *name;
    int32_t partitions;         // 0 or -1: the broker's default
    int16_t replication_factor; // 0 or -1: the broker's default
    const struct weir_setting *settings;
    size_t setting_count;
    bool validate_only; // check, but do not create; in one call for all topics or for none
};

// What became of one of several topics.
struct weir_outcome {
    int error;     // WEIR_OK: done
    char why[768]; // with an error: the sentence for it, as weir_last_error has it
};

// Creates topics with one request; each is created, or refused, by itself. `outcomes`, unless NULL,
// has room for `count` and is filled in unless WEIR_ERR_BUSY or WEIR_ERR_BAD_ARGUMENT is returned.
// Returns WEIR_OK when all are created, else the first topic's error:
// WEIR_ERR_TOPIC_ALREADY_EXISTS, WEIR_ERR_INVALID_TOPIC, ...; when time was up before a topic's
// answer came, nobody knows whether it exists. A name that is there twice: WEIR_ERR_BAD_ARGUMENT.
WEIR_API int weir_create_topics(struct weir_client *client, const struct weir_new_topic *topics,
                                size_t count, struct weir_outcome *outcomes, int timeout_ms);

// Deletes topics with one request, with everything in them. Otherwise as weir_create_topics.
WEIR_API int weir_delete_topics(struct weir_client *client, const char *const *names, size_t count,
                                struct weir_outcome *outcomes, int timeout_ms);

// The same for one topic.
WEIR_API int weir_create_topic(struct weir_client *client, const struct weir_new_topic *topic,
                               int timeout_ms);
WEIR_API int weir_delete_topic(struct weir_client *client, const char *topic, int timeout_ms);

// Grows a topic to `total` partitions; with `validate_only` the broker only checks if it would.
WEIR_API int weir_create_partitions(struct weir_client *client, const char *topic, int32_t total,
                                    bool validate_only, int timeout_ms);

// Deletes all records of a partition before `offset` (WEIR_END: all there are). The first offset
// that remains is stored to *low unless `low` is NULL.
WEIR_API int weir_delete_records(struct weir_client *client, const char *topic, int32_t partition,
                                 int64_t offset, int64_t *low, int timeout_ms);

struct weir_partition {
    int32_t partition;
    int32_t leader; // broker id, -1 for none at the moment
    int32_t leader_epoch;
    int error;
    const int32_t *replicas;
    size_t replica_count;
    const int32_t *in_sync;
    size_t in_sync_count;
};

struct weir_topic {
    const char *name;
    char id[40]; // 8-4-4-4-12 hexadecimal; empty when the broker has no topic ids
    bool internal;
    int error; // for topics asked for by name: UNKNOWN_TOPIC_OR_PARTITION and the like
    const struct weir_partition *partitions; // in order of their number
    size_t partition_count;
};

struct weir_topic_list {
    const struct weir_topic *topics; // in order of their names
    size_t count;
};

// Describes the named topics; with `count` 0 all topics there are. Never creates one. A topic that
// cannot be described has its own `error`; the call itself then still returns WEIR_OK.
WEIR_API int weir_describe_topics(struct weir_client *client, const char *const *names,
                                  size_t count, struct weir_topic_list **list, int timeout_ms);
WEIR_API void weir_topic_list_free(struct weir_topic_list *list);

enum weir_resource { WEIR_RESOURCE_TOPIC = 2, WEIR_RESOURCE_BROKER = 4 };

// One of the places where a setting's value can be given.
struct weir_setting_synonym {
    const char *name;  // there: a topic's retention.ms is the broker's log.retention.ms
    const char *value; // NULL: not to be shown
    const char *source;
};

struct weir_setting_info {
    const char *name;
    const char *value;  // NULL: not set, or not to be shown
    const char *source; // "topic", "broker", "default", ...
    bool is_default;
    bool read_only;
    bool sensitive;
    const char *type;          // "boolean", "string", "int", "list", ...; "unknown" when not told
    const char *documentation; // empty when the broker has none, or is older than Kafka 2.6
    const struct weir_setting_synonym *synonyms; // where it is given, the one in force first
    size_t synonym_count;
};

struct weir_setting_list {
    const struct weir_setting_info *settings; // in order of their names
    size_t count;
};

// The settings of a topic, or of a broker (`name` is its id as text).
WEIR_API int weir_describe_settings(struct weir_client *client, enum weir_resource resource,
                                    const char *name, struct weir_setting_list **list,
                                    int timeout_ms);
WEIR_API void weir_setting_list_free(struct weir_setting_list *list);

// Changes the given settings, all of them or none, and leaves all others alone; with
// `validate_only` the broker only checks if it would.
WEIR_API int weir_alter_settings(struct weir_client *client, enum weir_resource resource,
                                 const char *name, const struct weir_setting *settings,
                                 size_t count, bool validate_only, int timeout_ms);

struct weir_broker {
    int32_t id;
    const char *host;
    int32_t port;
    const char *rack; // NULL for none
};

struct weir_cluster {
    const char *id;                    // NULL when the broker does not tell
    int32_t controller;                // broker id, -1 if unknown
    const struct weir_broker *brokers; // in order of their ids
    size_t broker_count;
};

WEIR_API int weir_describe_cluster(struct weir_client *client, struct weir_cluster **cluster,
                                   int timeout_ms);
WEIR_API void weir_cluster_free(struct weir_cluster *cluster);

// In offset queries, beside WEIR_BEGINNING and WEIR_END: the record with the largest timestamp.
#define WEIR_MAX_TIMESTAMP (-3)

// Where in a partition: one of the places above, or the first record with at least a timestamp.
struct weir_offset_query {
    const char *topic;
    int32_t partition;
    int64_t at;        // in: a place, or milliseconds since 1970
    int64_t offset;    // out: -1 when no record is that young
    int64_t timestamp; // out: of the record found by time; otherwise -1
    int error;         // out
};

// Answers all queries. Returns WEIR_OK or the first error; each query has its own.
WEIR_API int weir_list_offsets(struct weir_client *client, struct weir_offset_query *queries,
                               size_t count, int timeout_ms);

// ------------------------------------------------------------------------- administration: groups
//
// Calls about groups; they wait, like the ones above. States and types carry Kafka's names:
// "Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling", "Stable",
// "Dead"; "classic", "consumer".

// Which groups to list; NULL or zeros for all. Brokers that cannot choose by state (before Kafka
// 2.6) or type (before 3.8) make that WEIR_ERR_UNSUPPORTED.
struct weir_group_filter {
    const char *const *states; // in any of these
    size_t state_count;
    const char *const *types; // of any of these
    size_t type_count;
};

struct weir_group_entry {
    const char *name;
    const char *protocol_type; // "consumer", "connect", ...; empty when only offsets are stored
    const char *state;         // empty when the broker does not tell
    const char *type;          // likewise
    int32_t coordinator;       // broker id
};

struct weir_group_list {
    const struct weir_group_entry *groups; // in order of their names
    size_t count;
};

// The groups of all brokers.
WEIR_API int weir_list_groups(struct weir_client *client, const struct weir_group_filter *filter,
                              struct weir_group_list **list, int timeout_ms);
WEIR_API void weir_group_list_free(struct weir_group_list *list);

struct weir_member {
    const char *id;
    const char *instance_id; // NULL unless a static member
    const char *client_id;
    const char *host;
    const char *rack;          // NULL when not told
    int32_t epoch;             // -1 in classic groups
    const char *const *topics; // subscribed to
    size_t topic_count;
    const char *pattern; // subscribed to, or NULL
    const struct weir_topic_partition *assigned;
    size_t assigned_count;
    const struct weir_topic_partition *target; // what it is to have; in classic groups as assigned
    size_t target_count;
    struct weir_bytes metadata;   // classic groups: what the member sent when it joined, ...
    struct weir_bytes assignment; // ... and what it was given, for protocols other than "consumer"
};

struct weir_group {
    const char *name;
    int error; // GROUP_ID_NOT_FOUND and the like; the rest is then empty
    const char *state;
    const char *type;
    const char *protocol_type;
    const char *assignor;     // "range", "uniform", ...; empty while there is none
    int32_t epoch;            // -1 in classic groups
    int32_t assignment_epoch; // -1 in classic groups
    int32_t coordinator;      // broker id
    const struct weir_member *members;
    size_t member_count;
};

struct weir_group_descriptions {
    const struct weir_group *groups; // in the order of the names given
    size_t count;
};

// Describes groups of both protocols. A group that the broker cannot describe has its own `error`;
// the call itself then still returns WEIR_OK.
WEIR_API int weir_describe_groups(struct weir_client *client, const char *const *names,
                                  size_t count, struct weir_group_descriptions **descriptions,
                                  int timeout_ms);
WEIR_API void weir_group_descriptions_free(struct weir_group_descriptions *descriptions);

// Deletes groups without members, with their offsets. `errors`, unless NULL, gets one code for each
// name. Returns WEIR_OK or the first error: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, ...
WEIR_API int weir_delete_groups(struct weir_client *client, const char *const *names, size_t count,
                                int *errors, int timeout_ms);

// A member to be removed: a static one by its instance id, any one by its member id (weir_member),
// the other being NULL. With both, they have to belong together.
struct weir_removal {
    const char *member_id;
    const char *instance_id;
    int error; // out
};

// Removes members from a group, whose partitions then go to the others at once; a program that is
// still at work joins anew. Sets each `error`; returns WEIR_OK or the first one:
// WEIR_ERR_UNKNOWN_MEMBER_ID (old brokers also for members of the newer protocol),
// WEIR_ERR_FENCED_INSTANCE_ID, ... Before Kafka 2.4: WEIR_ERR_UNSUPPORTED.
WEIR_API int weir_remove_members(struct weir_client *client, const char *group,
                                 struct weir_removal *members, size_t count, int timeout_ms);

// Removes all members that a group has at the moment; that it has none is no error.
WEIR_API int weir_remove_all_members(struct weir_client *client, const char *group, int timeout_ms);

struct weir_offset_list {
    const struct weir_offset *offsets; // by topic and partition; `metadata` is filled in here
    size_t count;
};

// Everything committed under a group's name; an unknown group has nothing.
WEIR_API int weir_group_offsets(struct weir_client *client, const char *group,
                                struct weir_offset_list **list, int timeout_ms);
WEIR_API void weir_offset_list_free(struct weir_offset_list *list);

// Sets offsets of a group that has no members at the moment (UNKNOWN_MEMBER_ID or the like if it
// has). Creates the group if there is none. Sets each `error`; returns WEIR_OK or the first one.
WEIR_API int weir_alter_group_offsets(struct weir_client *client, const char *group,
                                      struct weir_offset *offsets, size_t count, int timeout_ms);

// Deletes what is committed for these partitions; `offset` and `metadata` do not count. Topics that
// a member subscribes to are refused (GROUP_SUBSCRIBED_TO_TOPIC). Sets each `error`; returns
// WEIR_OK or the first one.
WEIR_API int weir_delete_group_offsets(struct weir_client *client, const char *group,
                                       struct weir_offset *offsets, size_t count, int timeout_ms);

// ---------------------------------------------------------------------- administration: abilities

struct weir_api {
    int16_t key;
    const char *name; // "Produce"; empty when this library does not know it
    int16_t min;      // versions the broker serves
    int16_t max;
};

struct weir_feature {
    const char *name;
    int16_t min; // levels the broker supports
    int16_t max;
    int16_t level; // in force in the cluster, 0 for none
};

struct weir_abilities {
    const struct weir_api *apis; // in order of their keys
    size_t api_count;
    const struct weir_feature *features; // in order of their names
    size_t feature_count;
};

// What a broker (its id, or -1 for any) can do.
WEIR_API int weir_describe_abilities(struct weir_client *client, int32_t broker,
                                     struct weir_abilities **abilities, int timeout_ms);
WEIR_API void weir_abilities_free(struct weir_abilities *abilities);

#ifdef __cplusplus
}
#endif

#endif
