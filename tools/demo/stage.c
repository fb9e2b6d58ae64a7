// SPDX-License-Identifier: Apache-2.0
// Invariants:
//  1. queued == reported when the broker has acknowledged (or refused) all that was sent.
//  2. saved[p] <= next[p], and saved[p] is moved only after stage_flush: what is committed has led
//     to acknowledged outputs. A stage that dies in between repeats some records and loses none.
//  3. next[p] never moves behind an end mark, so that a stage started anew meets the mark again.
//
// When the broker dies nothing here has to be done about it: libweir connects again and repeats
// what was not acknowledged. The stage only tells the audience.
#include "tools/demo/stage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char stage_raw[] = "packages.raw";
const char stage_clean[] = "packages.clean";
const char stage_rejected[] = "packages.rejected";
const char stage_sections[] = "packages.sections";

enum {
    PATIENCE_MS = 60 * 1000, // for anything to do with the broker, its restart included
    DRIVE_MS = 50,
    COMMIT_MS = 700, // after this long the audience wants to know why nothing moves
};

static const uint64_t silence_ns = UINT64_C(900) * 1000 * 1000;
static const uint64_t second_ns = UINT64_C(1000) * 1000 * 1000;

void stage_say(const struct stage *stage, const char *format, ...)
{
    char sentence[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);

    int64_t elapsed_ms = clock_wall_ms() - stage->clock_start_ms;
    printf("%5.1f s  %-8s %s\n", (double)elapsed_ms / 1000, stage->name, sentence);
    fflush(stdout);
}

bool stage_may_speak(struct stage *stage)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (now_ns - stage->spoken_ns < second_ns)
        return false;
    stage->spoken_ns = now_ns;
    return true;
}

int stage_fail(const struct stage *stage, const char *what, int error)
{
    const char *sentence = stage->client != NULL ? weir_last_error(stage->client) : "";

    stage_say(stage, "FAILED to %s: %s", what,
              *sentence != '\0' ? sentence : weir_error_text(error));
    return -1;
}

static void delivery_done(void *context, const struct weir_delivery *delivery)
{
    struct stage *stage = context;

    stage->reported++;
    stage->progress_ns = clock_monotonic_ns();
    if (delivery->error == WEIR_OK) {
        bool *acknowledged = delivery->opaque;
        if (acknowledged != NULL)
            *acknowledged = true;
        stage->delivered++;
    } else if (stage->delivery_error == WEIR_OK) {
        stage->delivery_error = delivery->error;
        snprintf(stage->delivery_reason, sizeof(stage->delivery_reason), "%s", delivery->reason);
    }
}

static struct weir_config *configure(const char *group)
{
    static const char *const settings[][2] = {
        {"acks", "all"},
        {"auto.offset.reset", "earliest"},
        {"fetch.max.wait.ms", "200"},
        {"reconnect.backoff.max.ms", "250"},
        {"linger.ms", "5"},
    };
    struct weir_config *config = weir_config_new();
    int error = config == NULL ? WEIR_ERR_NO_MEMORY : weir_config_set(config, "group.id", group);

    for (size_t i = 0; error == WEIR_OK && i < sizeof(settings) / sizeof(settings[0]); i++)
        error = weir_config_set(config, settings[i][0], settings[i][1]);
    if (error != WEIR_OK) {
        weir_config_free(config);
        return NULL;
    }
    return config;
}

int stage_open(struct stage *stage, const char *name, const char *brokers, const char *group,
               int64_t clock_start_ms)
{
    struct weir_config *config = configure(group);

    stage->name = name;
    stage->clock_start_ms = clock_start_ms;
    stage->progress_ns = clock_monotonic_ns();
    stage->spoken_ns = stage->progress_ns;
    if (config != NULL)
        stage->client = weir_client_new(brokers, config);
    if (stage->client != NULL) {
        stage->producer = weir_producer_new(stage->client, config);
        stage->consumer = weir_consumer_new(stage->client, config);
    }
    weir_config_free(config);
    if (stage->producer == NULL || stage->consumer == NULL) {
        stage_close(stage);
        return stage_fail(stage, "make a client", WEIR_ERR_NO_MEMORY);
    }
    weir_producer_on_delivery(stage->producer, delivery_done, stage);
    return 0;
}

void stage_close(struct stage *stage)
{
    weir_producer_free(stage->producer);
    weir_consumer_free(stage->consumer);
    weir_client_free(stage->client);
    stage->producer = NULL;
    stage->consumer = NULL;
    stage->client = NULL;
}

// Tells the audience when the broker falls silent, and when it answers again.
static void notice(struct stage *stage, bool silent)
{
    if (silent && !stage->waiting && stage->queued > stage->reported)
        stage_say(stage, "the broker does not answer; I keep what it has not confirmed and wait");
    else if (silent && !stage->waiting)
        stage_say(stage, "the broker does not answer; I wait for it");
    else if (!silent && stage->waiting)
        stage_say(stage, "the broker is back, I go on where I was");
    stage->waiting = silent;
}

static void watch(struct stage *stage)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (stage->queued == stage->reported)
        return;
    notice(stage, now_ns - stage->progress_ns > silence_ns);
}

void stage_drive(struct stage *stage, int timeout_ms)
{
    weir_poll(stage->client, timeout_ms);
    watch(stage);
}

int stage_send(struct stage *stage, const char *topic, int32_t partition,
               const struct weir_message *message)
{
    int error;

    while ((error = weir_produce(stage->producer, topic, partition, message)) ==
           WEIR_ERR_QUEUE_FULL)
        stage_drive(stage, DRIVE_MS);
    if (error != WEIR_OK)
        return stage_fail(stage, "send a record", error);
    if (stage->queued == stage->reported)
        stage->progress_ns = clock_monotonic_ns();
    stage->queued++;
    return 0;
}

int stage_flush(struct stage *stage)
{
    while (stage->queued > stage->reported) {
        weir_flush(stage->producer, DRIVE_MS);
        watch(stage);
    }
    if (stage->delivery_error == WEIR_OK)
        return 0;
    stage_say(stage, "FAILED to have a record stored: %s", stage->delivery_reason);
    return -1;
}

// The topics may not be there yet when a stage starts, and the broker may be away.
static int find_partitions(struct stage *stage, const char *topic, size_t *count)
{
    uint64_t give_up_ns = clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000 * 1000;
    int error;

    do {
        struct weir_topic_list *list = NULL;
        error = weir_describe_topics(stage->client, &topic, 1, &list, PATIENCE_MS);
        if (error == WEIR_OK) {
            error = list->count == 1 ? list->topics[0].error : WEIR_ERR_UNKNOWN_TOPIC_OR_PARTITION;
            *count = list->count == 1 ? list->topics[0].partition_count : 0;
            weir_topic_list_free(list);
        }
        if (error != WEIR_OK)
            stage_drive(stage, DRIVE_MS);
    } while (error != WEIR_OK && clock_monotonic_ns() < give_up_ns);
    if (error != WEIR_OK)
        return stage_fail(stage, "find the topic", error);
    return *count <= STAGE_PARTITIONS_MAX
               ? 0
               : stage_fail(stage, "read so many partitions", WEIR_ERR_BAD_ARGUMENT);
}

static void fill_offsets(const struct stage_input *input, struct weir_offset *offsets)
{
    for (size_t i = 0; i < input->partition_count; i++)
        offsets[i] = (struct weir_offset){
            .topic = input->topic,
            .partition = (int32_t)i,
            .offset = input->next[i],
        };
}

int stage_input_open(struct stage *stage, struct stage_input *input, const char *topic)
{
    struct weir_offset offsets[STAGE_PARTITIONS_MAX];

    *input = (struct stage_input){.topic = topic};
    if (find_partitions(stage, topic, &input->partition_count) != 0)
        return -1;
    fill_offsets(input, offsets);
    int error = weir_committed(stage->consumer, offsets, input->partition_count, PATIENCE_MS);
    if (error != WEIR_OK)
        return stage_fail(stage, "ask for the committed place", error);
    for (size_t i = 0; i < input->partition_count; i++) {
        input->next[i] = offsets[i].offset > 0 ? offsets[i].offset : 0;
        input->saved[i] = input->next[i];
    }
    return 0;
}

int stage_input_start(struct stage *stage, const struct stage_input *input, const int64_t *offsets)
{
    for (size_t i = 0; i < input->partition_count; i++) {
        int error = weir_consumer_assign(stage->consumer, input->topic, (int32_t)i, offsets[i]);
        if (error != WEIR_OK)
            return stage_fail(stage, "read the topic", error);
    }
    return 0;
}

int stage_input_save(struct stage *stage, struct stage_input *input)
{
    uint64_t give_up_ns = clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000 * 1000;
    struct weir_offset offsets[STAGE_PARTITIONS_MAX];
    int error;

    if (memcmp(input->next, input->saved, sizeof(input->next)) == 0)
        return 0;
    fill_offsets(input, offsets);
    do {
        error = weir_commit_offsets(stage->consumer, offsets, input->partition_count, COMMIT_MS);
        notice(stage, error != WEIR_OK);
    } while (weir_error_retriable(error) && clock_monotonic_ns() < give_up_ns);
    if (error != WEIR_OK)
        return stage_fail(stage, "commit the place reached", error);
    memcpy(input->saved, input->next, sizeof(input->saved));
    return 0;
}

bool stage_input_ended(const struct stage_input *input)
{
    for (size_t i = 0; i < input->partition_count; i++) {
        if (!input->ended[i])
            return false;
    }
    return true;
}

bool stage_is_end(const struct weir_record *record)
{
    char text[8];

    return record->key.data == NULL && record->value.data == NULL &&
           stage_header(record, "end", text, sizeof(text));
}

bool stage_header(const struct weir_record *record, const char *name, char *to, size_t size)
{
    struct weir_header header;
    size_t at = 0;

    while (weir_record_header(record, &at, &header)) {
        if (header.name.size != strlen(name) || memcmp(header.name.data, name, strlen(name)) != 0)
            continue;
        if (header.value.data == NULL || header.value.size >= size)
            return false;
        memcpy(to, header.value.data, header.value.size);
        to[header.value.size] = '\0';
        return true;
    }
    return false;
}

int64_t stage_input_number(const struct weir_record *record)
{
    char text[24];

    if (!stage_header(record, "input", text, sizeof(text)))
        return -1;
    char *end;
    long long number = strtoll(text, &end, 10);
    return *text != '\0' && *end == '\0' && number >= 0 ? number : -1;
}
