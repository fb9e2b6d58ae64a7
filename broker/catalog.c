// SPDX-License-Identifier: Apache-2.0
// What every shard may ask of a snapshot of the catalog. Nothing here changes one.
#include "broker/catalog.h"

#include <string.h>

#include "protocol/error.h"

enum { NAME_MAX_SIZE = 249 }; // Kafka's limit: leaves room for a partition's number in 255

const struct catalog_topic *catalog_find(const struct catalog *catalog, struct span name)
{
    return name.data ? map_get(&catalog->by_name, name) : NULL;
}

const struct catalog_topic *catalog_find_id(const struct catalog *catalog, struct kp_uuid id)
{
    return map_get(&catalog->by_id, span_of(id.bytes, sizeof(id.bytes)));
}

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

int16_t catalog_check_name(struct span name, const char **why)
{
    *why = NULL;
    if (name.size == 0)
        *why = "a topic's name cannot be empty";
    else if (name.size > NAME_MAX_SIZE)
        *why = "a topic's name has at most 249 characters";
    else if (span_equal(name, span_text(".")) || span_equal(name, span_text("..")))
        *why = "a topic cannot be called . or ..";
    for (size_t i = 0; !*why && i < name.size; i++)
        if (!is_name_byte(name.data[i]))
            *why = "a topic's name consists of letters, digits, '.', '_' and '-'";
    return *why ? KP_ERROR_INVALID_TOPIC_EXCEPTION : 0;
}

void catalog_id_text(struct kp_uuid id, char out[24])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;
    size_t at = 0;
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        bits = bits << 8 | id.bytes[i];
        for (held += 8; held >= 6; held -= 6)
            out[at++] = digits[bits >> (held - 6) & 63];
    }
    out[at++] = digits[bits << (6 - held) & 63];
    out[at] = '\0';
}

void catalog_keep_state(struct log_config *config)
{
    config->retention_bytes = -1;
    config->retention_ms = -1;
    config->compact = true;
    config->delete_retention_ms = 0;
    config->reserve_bytes = CATALOG_RESERVE_BYTES;
}
