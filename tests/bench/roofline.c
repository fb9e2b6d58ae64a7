// SPDX-License-Identifier: Apache-2.0
// The least work that a broker's job can be done with on this machine: one client thread, one
// server thread, loopback TCP, blocking system calls, no protocol. What the broker reaches is
// compared with this, in the same minute.
//
//   memory   the client sends chunks, the server sums them (CRC-32C) and replies
//   durable  as above, with one O_DIRECT + RWF_DSYNC write into a prewritten file before each reply
//   fetch    the client sends small requests, the server answers each with a chunk from memory
//   disk     nobody is asked or told: a prewritten file of --bytes is read once, from its begin to
//            its end, with O_DIRECT, --in-flight chunks at a time (a thread for each)
//
// Prints one line of JSON. MB are 10^6 bytes, GB 10^9.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"

enum {
    MESSAGE = 64, // a request without data, and a reply without
    BLOCK = 4096, // what O_DIRECT wants multiples of
    FILE_SIZE = 256 << 20,
    FILE_PIECE = 1 << 20,
    IN_FLIGHT_MAX = 1024,
    CHUNK_MAX = 64 << 20,
    WARM_UP = 16, // chunks that are not counted
};

enum mode { MEMORY, DURABLE, FETCH, DISK };

static const char *const mode_names[] = {"memory", "durable", "fetch", "disk"};

struct options {
    enum mode mode;
    size_t chunk;
    unsigned in_flight;
    double seconds;
    uint64_t bytes; // 0 = until the time is over
    const char *directory;
};

struct server {
    const struct options *options;
    int socket;
    int file;
    uint8_t *data;
    uint32_t crc;
    double cpu_s; // spent after the warm-up
};

struct latencies {
    uint32_t *us; // one per chunk
    size_t count;
    size_t room;
};

// A file that several threads read, each the next chunk that nobody has begun.
struct sequence {
    int file;
    size_t chunk;
    uint64_t size;
    _Atomic uint64_t next;
};

struct reader {
    struct sequence *sequence;
    pthread_t thread;
    double cpu_s;
    struct latencies latencies;
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "roofline: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void usage(void)
{
    fputs("usage: roofline [--mode memory|durable|fetch|disk] [--chunk BYTES] [--in-flight N]\n"
          "                [--seconds S] [--bytes N] [--dir DIRECTORY]\n"
          "Prints MB/s, the server's CPU seconds per GB, and latencies as one line of JSON.\n",
          stderr);
    exit(2);
}

static void *aligned(size_t size)
{
    void *data = aligned_alloc(BLOCK, (size + BLOCK - 1) / BLOCK * BLOCK);
    if (!data)
        give_up("memory");
    return data;
}

static double thread_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static bool receive_all(int fd, void *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = recv(fd, (char *)to + got, size - got, MSG_WAITALL);
        if (n == 0)
            return false;
        if (n < 0 && errno != EINTR)
            give_up("receiving");
        if (n > 0)
            got += (size_t)n;
    }
    return true;
}

static void send_all(int fd, const void *from, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        ssize_t n = send(fd, (const char *)from + sent, size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            give_up("sending");
        if (n > 0)
            sent += (size_t)n;
    }
}

// A file without a name, every block of it written.
static int prewritten_file(const char *directory, uint64_t size)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/roofline.XXXXXX", directory);
    int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        give_up(path);
    unlink(path);
    uint8_t *piece = aligned(FILE_PIECE);
    memset(piece, 0x77, FILE_PIECE);
    for (uint64_t at = 0; at < size; at += FILE_PIECE) {
        if (pwrite(fd, piece, FILE_PIECE, (off_t)at) != FILE_PIECE)
            give_up("filling the file");
    }
    if (fsync(fd) < 0)
        give_up("fsync");
    free(piece);
    return fd;
}

static void write_durable(struct server *server, uint64_t *position)
{
    size_t size = (server->options->chunk + BLOCK - 1) / BLOCK * BLOCK;
    if (*position + size > FILE_SIZE)
        *position = 0;
    struct iovec one = {server->data, size};
    if (pwritev2(server->file, &one, 1, (off_t)*position, RWF_DSYNC) != (ssize_t)size)
        give_up("writing");
    *position += size;
}

static void *serve(void *context)
{
    struct server *server = context;
    const struct options *options = server->options;
    bool fetch = options->mode == FETCH;
    uint8_t message[MESSAGE] = {0};
    uint64_t position = 0;
    double start = thread_cpu_s();
    for (uint64_t i = 0;; i++) {
        if (i == WARM_UP)
            start = thread_cpu_s();
        if (!receive_all(server->socket, fetch ? message : server->data,
                         fetch ? MESSAGE : options->chunk))
            break;
        if (fetch) {
            send_all(server->socket, server->data, options->chunk);
            continue;
        }
        server->crc = crc32c(server->crc, server->data, options->chunk);
        if (options->mode == DURABLE)
            write_durable(server, &position);
        send_all(server->socket, message, MESSAGE);
    }
    server->cpu_s = thread_cpu_s() - start;
    return NULL;
}

static void connect_both(int *client, int *server)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t size = sizeof(address);
    if (listener < 0 || bind(listener, any, size) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, any, &size) < 0)
        give_up("listening");
    *client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*client < 0 || connect(*client, any, size) < 0)
        give_up("connecting");
    *server = accept(listener, NULL, NULL);
    if (*server < 0)
        give_up("accepting");
    close(listener);
    int on = 1;
    setsockopt(*client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(*server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void note_latency(struct latencies *latencies, uint64_t ns)
{
    if (latencies->count == latencies->room) {
        latencies->room = latencies->room ? latencies->room * 2 : 1 << 16;
        latencies->us = realloc(latencies->us, latencies->room * sizeof(latencies->us[0]));
        if (!latencies->us)
            give_up("memory");
    }
    latencies->us[latencies->count++] = (uint32_t)(ns / 1000);
}

// Keeps the wanted number in flight until time or bytes are over, then takes in the rest. Returns
// the seconds from the end of the warm-up to the last reply.
static double drive(const struct options *options, int fd, struct latencies *latencies)
{
    bool fetch = options->mode == FETCH;
    size_t out_size = fetch ? MESSAGE : options->chunk;
    size_t in_size = fetch ? options->chunk : MESSAGE;
    uint8_t *out = aligned(out_size);
    uint8_t *in = aligned(in_size);
    memset(out, 0x5a, out_size);
    uint64_t sent_at[IN_FLIGHT_MAX];
    uint64_t limit = options->bytes ? WARM_UP + options->bytes / options->chunk : UINT64_MAX;
    uint64_t time_ns = (uint64_t)(options->seconds * 1e9);
    uint64_t sent = 0;
    uint64_t start = clock_monotonic_ns();
    uint64_t now = start;
    for (uint64_t received = 0;;) {
        bool over = sent >= limit || (!options->bytes && now - start >= time_ns && sent > WARM_UP);
        if (!over && sent - received < options->in_flight) {
            sent_at[sent++ % IN_FLIGHT_MAX] = clock_monotonic_ns();
            send_all(fd, out, out_size);
            continue;
        }
        if (received == sent)
            break;
        if (!receive_all(fd, in, in_size))
            give_up("the server has gone");
        now = clock_monotonic_ns();
        if (received >= WARM_UP)
            note_latency(latencies, now - sent_at[received % IN_FLIGHT_MAX]);
        else
            start = now;
        received++;
    }
    free(out);
    free(in);
    return (double)(now - start) / 1e9;
}

static void *read_chunks(void *context)
{
    struct reader *reader = context;
    struct sequence *sequence = reader->sequence;
    uint8_t *data = aligned(sequence->chunk);
    memset(data, 0, sequence->chunk);
    double start = thread_cpu_s();
    for (;;) {
        uint64_t at = atomic_fetch_add(&sequence->next, sequence->chunk);
        if (at + sequence->chunk > sequence->size)
            break;
        uint64_t begun = clock_monotonic_ns();
        if (pread(sequence->file, data, sequence->chunk, (off_t)at) != (ssize_t)sequence->chunk)
            give_up("reading");
        note_latency(&reader->latencies, clock_monotonic_ns() - begun);
    }
    reader->cpu_s = thread_cpu_s() - start;
    free(data);
    return NULL;
}

// Returns the seconds that it took.
static double read_disk(const struct options *options, struct latencies *latencies, double *cpu_s)
{
    uint64_t bytes = options->bytes ? options->bytes : FILE_SIZE;
    struct sequence sequence = {.chunk = (options->chunk + BLOCK - 1) / BLOCK * BLOCK};
    sequence.size = (bytes + sequence.chunk - 1) / sequence.chunk * sequence.chunk;
    sequence.file = prewritten_file(options->directory, sequence.size);
    struct reader *readers = calloc(options->in_flight, sizeof(readers[0]));
    if (!readers)
        give_up("memory");
    uint64_t start = clock_monotonic_ns();
    for (unsigned i = 0; i < options->in_flight; i++) {
        readers[i].sequence = &sequence;
        if (pthread_create(&readers[i].thread, NULL, read_chunks, &readers[i]) != 0)
            give_up("thread");
    }
    *cpu_s = 0;
    for (unsigned i = 0; i < options->in_flight; i++) {
        pthread_join(readers[i].thread, NULL);
        *cpu_s += readers[i].cpu_s;
        for (size_t k = 0; k < readers[i].latencies.count; k++)
            note_latency(latencies, readers[i].latencies.us[k] * 1000ULL);
        free(readers[i].latencies.us);
    }
    double seconds = (double)(clock_monotonic_ns() - start) / 1e9;
    free(readers);
    close(sequence.file);
    return seconds;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint32_t percentile(const struct latencies *latencies, unsigned per_cent)
{
    return latencies->us[(latencies->count - 1) * per_cent / 100];
}

static void report(const struct options *options, struct latencies *latencies, double seconds,
                   double cpu_s)
{
    if (latencies->count == 0)
        give_up("nothing was measured");
    qsort(latencies->us, latencies->count, sizeof(latencies->us[0]), compare);
    double bytes = (double)latencies->count * (double)options->chunk;
    printf("{\"mode\": \"%s\", \"chunk\": %zu, \"in_flight\": %u, \"chunks\": %zu, "
           "\"seconds\": %.3f, \"mb_per_s\": %.1f, \"chunks_per_s\": %.0f, "
           "\"cpu_s_per_gb\": %.3f, \"p50_us\": %u, \"p99_us\": %u}\n",
           mode_names[options->mode], options->chunk, options->in_flight, latencies->count, seconds,
           bytes / 1e6 / seconds, (double)latencies->count / seconds, cpu_s / (bytes / 1e9),
           percentile(latencies, 50), percentile(latencies, 99));
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || *end || value < least || value > most)
        usage();
    return value;
}

static enum mode mode_of(const char *name)
{
    for (int i = MEMORY; i <= DISK; i++) {
        if (strcmp(name, mode_names[i]) == 0)
            return (enum mode)i;
    }
    usage();
}

static struct options parse(int argc, char **argv)
{
    struct options options = {
        .mode = MEMORY, .chunk = 1 << 20, .in_flight = 4, .seconds = 3, .directory = "."};
    for (int i = 1; i < argc; i += 2) {
        const char *value = argv[i + 1];
        if (!value)
            usage();
        if (strcmp(argv[i], "--mode") == 0)
            options.mode = mode_of(value);
        else if (strcmp(argv[i], "--chunk") == 0)
            options.chunk = number(value, 1, CHUNK_MAX);
        else if (strcmp(argv[i], "--in-flight") == 0)
            options.in_flight = (unsigned)number(value, 1, IN_FLIGHT_MAX);
        else if (strcmp(argv[i], "--seconds") == 0)
            options.seconds = (double)number(value, 1, 3600);
        else if (strcmp(argv[i], "--bytes") == 0)
            options.bytes = number(value, 1, UINT64_MAX / 2);
        else if (strcmp(argv[i], "--dir") == 0)
            options.directory = value;
        else
            usage();
    }
    return options;
}

static double serve_and_drive(const struct options *options, struct latencies *latencies,
                              double *cpu_s)
{
    struct server server = {.options = options, .file = -1};
    int client;
    connect_both(&client, &server.socket);
    if (options->mode == DURABLE)
        server.file = prewritten_file(options->directory, FILE_SIZE);
    server.data = aligned(options->chunk);
    memset(server.data, 0xa5, (options->chunk + BLOCK - 1) / BLOCK * BLOCK);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, &server) != 0)
        give_up("thread");
    double seconds = drive(options, client, latencies);
    shutdown(client, SHUT_RDWR);
    pthread_join(thread, NULL);
    free(server.data);
    *cpu_s = server.cpu_s;
    return seconds;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct latencies latencies = {0};
    double cpu_s;
    double seconds = options.mode == DISK ? read_disk(&options, &latencies, &cpu_s)
                                          : serve_and_drive(&options, &latencies, &cpu_s);
    report(&options, &latencies, seconds, cpu_s);
    free(latencies.us);
    return 0;
}
