// SPDX-License-Identifier: Apache-2.0
// The assignment protocols that members of a group offer: which of them all have in common, and
// which one most prefer. Names are kept once per group, so that counting is cheap.
//
// 1. While members offer protocols, at least one is offered by all of them: who joins or changes is
//    let in only if group_offers_agree. In a group of the consumer protocol these are its classic
//    members; the others offer none.
// 2. A protocol lives as long as somebody holds it: each offer of it, and the group's choice.
#include <errno.h>
#include <stdlib.h>

#include "broker/groups/group_internal.h"
#include "gen/kp_join_group.h"

struct group_protocol *group_protocol_hold(struct group *group, struct span name)
{
    struct group_protocol *protocol = map_get(&group->protocols, name);
    if (!protocol) {
        protocol = malloc(sizeof(*protocol) + name.size);
        if (!protocol)
            return NULL;
        *protocol = (struct group_protocol){.name = span_of(protocol->text, name.size)};
        if (name.size)
            memcpy(protocol->text, name.data, name.size);
        if (map_put(&group->protocols, protocol->name, protocol)) {
            free(protocol);
            return NULL;
        }
    }
    protocol->holds++;
    return protocol;
}

void group_protocol_let_go(struct group *group, struct group_protocol *protocol)
{
    if (!protocol || --protocol->holds)
        return;
    map_remove(&group->protocols, protocol->name);
    free(protocol);
}

static bool is_first(const struct kp_join_group_request_protocol *protocols, int32_t at)
{
    for (int32_t i = 0; i < at; i++)
        if (span_equal(protocols[i].name, protocols[at].name))
            return false;
    return true;
}

int group_offers_new(struct group *group, const struct kp_join_group_request_protocol *protocols,
                     int32_t count, struct group_offers **out)
{
    size_t bytes = 0;
    if (count > GROUP_PROTOCOLS_MAX)
        return KP_ERROR_INVALID_REQUEST;
    for (int32_t i = 0; i < count; i++)
        bytes += protocols[i].metadata.size;
    size_t head = sizeof(struct group_offers) + (size_t)count * sizeof(struct group_offer);
    if (bytes > GROUP_BYTES_MAX)
        return KP_ERROR_GROUP_MAX_SIZE_REACHED;
    struct group_offers *offers = malloc(head + bytes);
    if (!offers)
        return -ENOMEM;
    uint8_t *at = (uint8_t *)offers + head;
    *offers = (struct group_offers){.bytes = head + bytes};
    for (int32_t i = 0; i < count; i++) {
        if (!is_first(protocols, i))
            continue;
        struct group_offer *offer = &offers->items[offers->count];
        offer->protocol = group_protocol_hold(group, protocols[i].name);
        if (!offer->protocol) {
            group_offers_free(group, offers);
            return -ENOMEM;
        }
        offer->metadata = span_of(at, protocols[i].metadata.size);
        if (offer->metadata.size)
            memcpy(at, protocols[i].metadata.data, offer->metadata.size);
        at += offer->metadata.size;
        offers->bytes += offer->protocol->name.size;
        offers->count++;
    }
    *out = offers;
    return 0;
}

void group_offers_free(struct group *group, struct group_offers *offers)
{
    if (!offers)
        return;
    for (uint32_t i = 0; i < offers->count; i++)
        group_protocol_let_go(group, offers->items[i].protocol);
    free(offers);
}

void group_offers_set(struct group *group, struct group_member *member, struct group_offers *offers)
{
    struct group_offers *old = member->offers;
    classic_topics_forget(group);
    for (uint32_t i = 0; old && i < old->count; i++)
        old->items[i].protocol->members--;
    for (uint32_t i = 0; offers && i < offers->count; i++)
        offers->items[i].protocol->members++;
    group->offering += offers != NULL;
    group->offering -= old != NULL;
    group->bytes += offers ? offers->bytes : 0;
    group->bytes -= old ? old->bytes : 0;
    member->offers = offers;
    group_offers_free(group, old);
}

bool group_offers_equal(const struct group_member *member,
                        const struct kp_join_group_request_protocol *protocols, int32_t count)
{
    if (member->offers->count != (uint32_t)count)
        return false;
    for (int32_t i = 0; i < count; i++) {
        const struct group_offer *offer = &member->offers->items[i];
        if (!span_equal(offer->protocol->name, protocols[i].name) ||
            !span_equal(offer->metadata, protocols[i].metadata))
            return false;
    }
    return true;
}

static bool offers_protocol(const struct group_member *member,
                            const struct group_protocol *protocol)
{
    for (uint32_t i = 0; i < member->offers->count; i++)
        if (member->offers->items[i].protocol == protocol)
            return true;
    return false;
}

bool group_offers_agree(const struct group *group,
                        const struct kp_join_group_request_protocol *protocols, int32_t count,
                        const struct group_member *except)
{
    if (except && !except->offers)
        except = NULL;
    uint32_t others = group->offering - (except ? 1 : 0);
    if (others == 0)
        return count > 0;
    for (int32_t i = 0; i < count; i++) {
        const struct group_protocol *protocol = map_get(&group->protocols, protocols[i].name);
        if (protocol &&
            protocol->members - (except && offers_protocol(except, protocol) ? 1 : 0) == others)
            return true;
    }
    return false;
}

struct group_protocol *group_offers_vote(struct group *group)
{
    struct group_protocol *best = NULL;
    struct group_protocol *protocol;
    size_t at = 0;
    while ((protocol = map_next(&group->protocols, &at)))
        protocol->votes = 0;
    list_each(node, &group->members) {
        const struct group_member *member = list_entry(node, struct group_member, node);
        for (uint32_t i = 0; member->offers && i < member->offers->count; i++) {
            protocol = member->offers->items[i].protocol;
            if (protocol->members != group->offering)
                continue;
            protocol->votes++;
            if (!best || protocol->votes > best->votes)
                best = protocol;
            break;
        }
    }
    return best;
}

struct span group_offers_metadata(const struct group_member *member,
                                  const struct group_protocol *protocol)
{
    for (uint32_t i = 0; i < member->offers->count; i++)
        if (member->offers->items[i].protocol == protocol)
            return member->offers->items[i].metadata;
    return (struct span){0};
}
