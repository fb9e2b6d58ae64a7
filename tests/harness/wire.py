# SPDX-License-Identifier: Apache-2.0
"""Single requests over a socket, with kafka-python's codecs: for what no client library would send, or
would hide the answer of."""
import itertools
import io
import struct
import time

from kafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest
from kafka.protocol.api import RequestHeader
from kafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from kafka.protocol.fetch import FetchRequest
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.offset import OffsetRequest
from kafka.protocol.produce import ProduceRequest
from kafka.record import MemoryRecordsBuilder

from harness.broker import PATIENCE_S, frame, read_reply

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 0, 1, 2, 3
INVALID_TOPIC, INVALID_REQUEST, KAFKA_STORAGE_ERROR = 17, 42, 56
LATEST, EARLIEST = -1, -2
DELETE_RECORDS = 21
numbers = itertools.count(1)


def encode(request, number):
    header = RequestHeader(request, number, "test")  # kept: encode() holds a weak reference only
    message = header.encode() + request.encode()
    return struct.pack(">i", len(message)) + message


def call(connection, request):
    """Sends one request and returns the decoded answer."""
    number = next(numbers)
    connection.sendall(encode(request, number))
    reply = io.BytesIO(read_reply(connection))
    (answered,) = struct.unpack(">i", reply.read(4))
    assert answered == number, f"the answer to {answered} came for {number}"
    response = request.RESPONSE_TYPE.decode(reply)
    rest = reply.read()
    assert not rest, f"{len(rest)} bytes behind the answer"
    return response


def batch(*values, timestamp_ms=None, key=None):
    """A record batch of format 2."""
    builder = MemoryRecordsBuilder(2, 0, 1 << 24)
    now_ms = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
    for value in values:
        builder.append(timestamp=now_ms, key=key, value=value, headers=[])
    builder.close()
    return builder.buffer()


def create(connection, topic, partitions=1, validate_only=False, replicas=1, **settings):
    """The error code and sentence; underscores in names of settings stand for dots."""
    configs = [(name.replace("_", "."), str(value)) for name, value in settings.items()]
    answer = call(connection, CreateTopicsRequest[3](
        [(topic, partitions, replicas, [], configs)], 10000, validate_only))
    return answer.topic_errors[0][1:]


def delete(connection, topic):
    return call(connection, DeleteTopicsRequest[1]([topic], 10000)).topic_error_codes[0][1]


def produce(connection, topic, records, partition=0):
    """(error, base offset)"""
    answer = call(connection, ProduceRequest[7](None, -1, 10000, [(topic, [(partition, records)])]))
    return answer.topics[0][1][0][1:3]


class Fetched:
    def __init__(self, row):
        _, self.error, self.high_watermark, _, self.start, _, self.records = row
        self.records = self.records or b""


def fetch_request(partitions, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20):
    """partitions: (topic, partition, offset) or (topic, partition, offset, max_bytes)."""
    rows = [(row[0], [(row[1], row[2], -1, row[3] if len(row) > 3 else 1 << 20)]) for row in partitions]
    return FetchRequest[5](-1, max_wait_ms, min_bytes, max_bytes, 0, rows)


def fetch(connection, topic, offset, partition=0, **limits):
    size = limits.get("max_bytes", 1 << 20)
    answer = call(connection, fetch_request([(topic, partition, offset, size)], **limits))
    return Fetched(answer.topics[0][1][0])


def offset_at(connection, topic, timestamp, partition=0):
    """(error, offset) for a time, LATEST or EARLIEST."""
    row = call(connection, OffsetRequest[1](-1, [(topic, [(partition, timestamp)])])).topics[0][1][0]
    return row[1], row[3]


def commit(connection, group, topic, offset):
    answer = call(connection, OffsetCommitRequest[2](group, -1, "", -1, [(topic, [(0, offset, "")])]))
    return answer.topics[0][1][0][1]


def committed(connection, group, topic):
    return call(connection, OffsetFetchRequest[1](group, [(topic, [0])])).topics[0][1][0][1]


def delete_records(connection, topic, offset, partition=0):
    """(new start, error)"""
    name = topic.encode()
    body = struct.pack(">ih", 1, len(name)) + name + struct.pack(">iiqi", 1, partition, offset, 10000)
    connection.sendall(frame(DELETE_RECORDS, 0, body))
    return struct.unpack(">qh", read_reply(connection)[-10:])


def topics(connection, version, names, allow_creation=None):
    """[(error, name)] of a Metadata request; versions from 4 on carry a flag."""
    arguments = (names,) if allow_creation is None else (names, allow_creation)
    return [row[:2] for row in call(connection, MetadataRequest[version](*arguments)).topics]


def wait_until(condition, what, timeout=PATIENCE_S):
    """Polls, and returns the condition's first true result."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {timeout} s: {what}")
        time.sleep(0.01)
