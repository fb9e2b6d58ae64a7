// SPDX-License-Identifier: Apache-2.0
// Settings as clients see them: value, where it comes from, what it is called elsewhere. For
// DescribeConfigs and the answer of CreateTopics.
#pragma once

#include "broker/catalog.h"
#include "broker/request.h"
#include "broker/settings.h"

// The protocol's numbers.
enum describe_source {
    DESCRIBE_TOPIC = 1,
    DESCRIBE_BROKER = 4, // given at start
    DESCRIBE_DEFAULT = 5,
};

struct describe_entry {
    const struct setting *setting;
    const char *value; // valid until the present callback returns
    int8_t source;     // enum describe_source
};

struct describe_list {
    struct describe_entry *entries; // from the request's arena
    uint32_t count;
};

// Every topic setting as it is in force for the topic; every setting of the broker. False when
// memory is short.
bool describe_topic(struct request *request, const struct catalog_topic *topic,
                    struct describe_list *out);
bool describe_broker(struct request *request, struct describe_list *out);

// The other levels at which a setting may be given, the one in force first; at most `max`.
uint32_t describe_synonyms(const struct request *request, const struct describe_entry *entry,
                           struct describe_entry *out, uint32_t max);
