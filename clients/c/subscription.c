// SPDX-License-Identifier: Apache-2.0
// Owns a subscription's names, and the call that lists all topics for a pattern.
//
// Invariant: `names` is in order without doubles, so that equal subscriptions look the same.
#include "clients/c/subscription.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clients/c/error.h"
#include "gen/kp_metadata.h"

enum { TOPIC_NAME_MAX = 249, TOPICS_MAX = 100000 };

void subscription_init(struct subscription *subscription, struct weir_client *client,
                       struct worker *worker)
{
    *subscription = (struct subscription){.client = client, .worker = worker};
}

static void names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

// Drops what there was; the new content is the caller's to set.
static void subscription_renew(struct subscription *subscription)
{
    if (subscription->listing)
        call_cancel(&subscription->list);
    client_forget_refusal(subscription->client, subscription);
    names_free(subscription->names, subscription->count);
    free(subscription->text);
    pattern_free(subscription->pattern);
    *subscription = (struct subscription){
        .client = subscription->client,
        .worker = subscription->worker,
        .version = subscription->version + 1,
    };
}

void subscription_free(struct subscription *subscription)
{
    subscription_renew(subscription);
}

void subscription_clear(struct subscription *subscription)
{
    if (!subscription_is_empty(subscription))
        subscription_renew(subscription);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Sorts and drops doubles.
static size_t names_settle(char **names, size_t count)
{
    size_t kept = 0;
    if (count > 0)
        qsort(names, count, sizeof(*names), name_order);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(names[kept - 1], names[i]) == 0)
            free(names[i]);
        else
            names[kept++] = names[i];
    }
    return kept;
}

bool subscription_has(const struct subscription *subscription, const char *name)
{
    return subscription->count > 0 && bsearch(&name, subscription->names, subscription->count,
                                              sizeof(*subscription->names), name_order);
}

static bool name_valid(const char *name)
{
    size_t size = name ? strlen(name) : 0;
    return size > 0 && size <= TOPIC_NAME_MAX;
}

int subscription_set_names(struct subscription *subscription, const char *const *names,
                           size_t count)
{
    struct weir_client *client = subscription->client;
    bool sound = count <= TOPICS_MAX;
    for (size_t i = 0; i < count && sound; i++)
        sound = name_valid(names[i]);
    if (!sound)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT,
                           "a subscription names topics, up to %d, of 1 to %d characters each",
                           TOPICS_MAX, TOPIC_NAME_MAX);
    char **copies = calloc(count + 1, sizeof(*copies));
    size_t copied = 0;
    while (copies && copied < count && (copies[copied] = strdup(names[copied])))
        copied++;
    if (!copies || copied < count) {
        names_free(copies, copied);
        return client_fail(client, WEIR_ERR_NO_MEMORY, "cannot subscribe: out of memory");
    }
    subscription_renew(subscription);
    subscription->names = copies;
    subscription->count = names_settle(copies, count);
    subscription->listed = true;
    return WEIR_OK;
}

int subscription_set_pattern(struct subscription *subscription, const char *text)
{
    struct weir_client *client = subscription->client;
    if (!text || !*text)
        return client_fail(client, WEIR_ERR_BAD_ARGUMENT, "a subscription needs a pattern");
    struct pattern *pattern = NULL;
    int result = pattern_compile(span_text(text), &pattern);
    char *copy = result == 0 ? strdup(text) : NULL;
    if (result == -EINVAL)
        return client_fail(client, WEIR_ERR_INVALID_REGULAR_EXPRESSION,
                           "'%.200s' is no regular expression, or too large a one", text);
    if (!copy) {
        pattern_free(pattern);
        return client_fail(client, WEIR_ERR_NO_MEMORY, "cannot subscribe: out of memory");
    }
    subscription_renew(subscription);
    subscription->pattern = pattern;
    subscription->text = copy;
    return WEIR_OK;
}

// ------------------------------------------------------------------------------------- missing

// The first topic that there is no hope for at present; *known: all exist.
static const struct metadata_topic *first_missing(const struct subscription *subscription,
                                                  bool *known)
{
    struct metadata *metadata = &subscription->client->metadata;
    const struct metadata_topic *missing = NULL;
    *known = true;
    for (size_t i = 0; i < subscription->count; i++) {
        const struct metadata_topic *topic =
            metadata_topic(metadata, subscription->names[i], false);
        *known &= topic && topic->partition_count > 0;
        if (topic && !missing && metadata_topic_error(metadata, topic))
            missing = topic;
    }
    return missing;
}

uint64_t subscription_watch(struct subscription *subscription)
{
    enum { PAUSE_MS = 500 };
    struct weir_client *client = subscription->client;
    if (subscription->pattern || subscription->count == 0 ||
        subscription->known_version == subscription->version)
        return UINT64_MAX;
    if (subscription->watch_due_ns > client->now_ns)
        return subscription->watch_due_ns;
    bool known;
    const struct metadata_topic *missing = first_missing(subscription, &known);
    if (!missing)
        client_forget_refusal(client, subscription);
    else if (missing != subscription->missing)
        client_note_refusal(client, subscription, "subscribed to topic '%s': %s", missing->name,
                            weir_error_text(metadata_topic_error(&client->metadata, missing)));
    subscription->missing = missing;
    if (known)
        subscription->known_version = subscription->version;
    subscription->watch_due_ns = client->now_ns + (uint64_t)PAUSE_MS * MS;
    return known ? UINT64_MAX : subscription->watch_due_ns;
}

// ------------------------------------------------------------------------------------- patterns

static void list_encode(struct call *call, struct kp_writer *writer)
{
    struct kp_metadata_request message;
    kp_metadata_request_init(&message);
    // All topics; the oldest version says so with an empty list.
    message.topics_count = call->request.version == 0 ? 0 : -1;
    kp_metadata_request_encode(writer, call->request.version, &message);
}

static bool picks(struct subscription *subscription, const struct kp_metadata_response_topic *topic)
{
    uint32_t cost = 0;
    return topic->error_code == 0 && !topic->is_internal && topic->name.size > 0 &&
           topic->name.size <= TOPIC_NAME_MAX &&
           pattern_match(subscription->pattern, topic->name, &cost) == 1;
}

static bool names_equal(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (strcmp(a[i], b[i]) != 0)
            return false;
    }
    return true;
}

static int list_decode(struct call *call, struct reply *reply)
{
    struct subscription *subscription = list_entry(call, struct subscription, list);
    struct kp_metadata_response message;
    if (kp_metadata_response_decode(&reply->reader, reply->version, reply->arena, &message) != 0)
        return WEIR_ERR_CORRUPT;
    int32_t topics = message.topics_count > 0 ? message.topics_count : 0;
    char **names = calloc((size_t)topics + 1, sizeof(*names));
    size_t count = 0;
    for (int32_t i = 0; i < topics && names && count < TOPICS_MAX; i++) {
        const struct kp_metadata_response_topic *topic = &message.topics[i];
        if (!picks(subscription, topic))
            continue;
        names[count] = strndup((const char *)topic->name.data, topic->name.size);
        count += names[count] != NULL;
    }
    if (!names)
        return WEIR_ERR_NO_MEMORY;
    count = names_settle(names, count);
    if (names_equal(names, count, subscription->names, subscription->count)) {
        names_free(names, count);
    } else {
        names_free(subscription->names, subscription->count);
        subscription->names = names;
        subscription->count = count;
        subscription->version++;
    }
    subscription->listed = true;
    return WEIR_OK;
}

static void list_done(struct call *call)
{
    struct subscription *subscription = list_entry(call, struct subscription, list);
    subscription->listing = false;
    subscription->worker->due = true;
}

uint64_t subscription_drive(struct subscription *subscription)
{
    struct weir_client *client = subscription->client;
    if (!subscription->pattern || subscription->listing)
        return UINT64_MAX;
    if (subscription->due_ns > client->now_ns)
        return subscription->due_ns;
    subscription->due_ns = client->now_ns + (uint64_t)client->config.metadata_max_age_ms * MS;
    subscription->listing = true;
    subscription->list = (struct call){
        .client = client,
        .target = CALL_ANY,
        .api_key = KP_METADATA_KEY,
        .deadline_ns = UINT64_MAX,
        .encode = list_encode,
        .decode = list_decode,
        .done = list_done,
    };
    call_start(&subscription->list);
    return UINT64_MAX;
}
