// SPDX-License-Identifier: Apache-2.0
// Reads ConsumerProtocolSubscription. Owns nothing; the bytes are a peer's.
//
// 1. Later versions only append, so whatever the version says, the beginning is that of version 0.
#include "broker/groups/consumer_protocol.h"

bool consumer_topics_begin(struct span metadata, struct consumer_topics *out)
{
    enum { NAME_MIN = 2 }; // bytes that a name of no length takes
    out->reader = kp_reader_init(metadata.data, metadata.size);
    int16_t version = kp_read_i16(&out->reader);
    out->left = kp_read_count(&out->reader, false, false, NAME_MIN);
    return !out->reader.failed && version >= 0;
}

bool consumer_topics_next(struct consumer_topics *topics, struct span *name)
{
    if (topics->left <= 0)
        return false;
    topics->left--;
    *name = kp_read_string(&topics->reader, false, false);
    return !topics->reader.failed;
}
