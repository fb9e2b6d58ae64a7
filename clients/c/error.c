// SPDX-License-Identifier: Apache-2.0
// Names and sentences of errors. Negative codes are the library's own and stand in the table below;
// positive ones are the wire's, and protocol/error.h knows them.
#include "clients/c/error.h"

#include <errno.h>
#include <stddef.h>

#include "clients/c/weir.h"
#include "protocol/error.h"

struct own_error {
    int code;
    bool retriable;
    const char *name;
    const char *text;
};

static const struct own_error own_errors[] = {
    {WEIR_OK, false, "OK", "no error"},
    {WEIR_ERR_TIMED_OUT, true, "TIMED_OUT", "there was no answer in time"},
    {WEIR_ERR_QUEUE_FULL, true, "QUEUE_FULL",
     "the messages waiting for delivery use up buffer.memory"},
    {WEIR_ERR_TRANSPORT, true, "TRANSPORT", "the connection was lost or could not be made"},
    {WEIR_ERR_REFUSED, true, "REFUSED", "nobody listens at that address"},
    {WEIR_ERR_RESOLVE, true, "RESOLVE", "the host name could not be looked up"},
    {WEIR_ERR_BAD_ARGUMENT, false, "BAD_ARGUMENT", "an argument makes no sense"},
    {WEIR_ERR_NO_MEMORY, true, "NO_MEMORY", "out of memory"},
    {WEIR_ERR_CORRUPT, false, "CORRUPT", "bytes fail their checksum or cannot be decoded"},
    {WEIR_ERR_UNSUPPORTED, false, "UNSUPPORTED", "the broker does not offer what is needed"},
    {WEIR_ERR_TOO_LARGE, false, "TOO_LARGE", "the record is larger than message.max.bytes"},
    {WEIR_ERR_NOT_ASSIGNED, false, "NOT_ASSIGNED", "the consumer does not read that partition"},
    {WEIR_ERR_NO_GROUP, false, "NO_GROUP", "group.id is not set"},
    {WEIR_ERR_NO_OFFSET, false, "NO_OFFSET", "there is no such offset"},
    {WEIR_ERR_ABANDONED, false, "ABANDONED", "the handle was freed before this was done"},
    {WEIR_ERR_BUSY, false, "BUSY", "a callback must not call a function that waits"},
    {WEIR_ERR_PURGED, false, "PURGED", "weir_purge dropped the message before it was delivered"},
    {WEIR_ERR_SYSTEM, false, "SYSTEM", "the operating system refused"},
    {WEIR_ERR_INTERRUPTED, true, "INTERRUPTED", "weir_wake ended the wait"},
};

static const struct own_error *own_error(int code)
{
    for (size_t i = 0; i < sizeof(own_errors) / sizeof(own_errors[0]); i++) {
        if (own_errors[i].code == code)
            return &own_errors[i];
    }
    return NULL;
}

// What the wire calls `error`. Only for codes that are not the library's own.
static int16_t wire_code(int error)
{
    return error > 0 && error <= INT16_MAX ? (int16_t)error : KP_ERROR_UNKNOWN_SERVER_ERROR;
}

const char *weir_error_name(int error)
{
    const struct own_error *own = own_error(error);
    return own ? own->name : kp_error_name(wire_code(error));
}

const char *weir_error_text(int error)
{
    const struct own_error *own = own_error(error);
    return own ? own->text : kp_error_text(wire_code(error));
}

bool weir_error_retriable(int error)
{
    const struct own_error *own = own_error(error);
    return own ? own->retriable : kp_error_retriable(wire_code(error));
}

int error_from_wire(int16_t code)
{
    return code < 0 ? WEIR_ERR_UNKNOWN_SERVER_ERROR : code;
}

int error_from_errno(int number)
{
    switch (number) {
    case ECONNREFUSED:
        return WEIR_ERR_REFUSED;
    case ENOMEM:
        return WEIR_ERR_NO_MEMORY;
    case EMFILE:
    case ENFILE:
    case EACCES:
    case EPERM:
        return WEIR_ERR_SYSTEM;
    default:
        return WEIR_ERR_TRANSPORT;
    }
}
