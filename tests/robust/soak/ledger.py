# SPDX-License-Identifier: Apache-2.0
"""What the clients of a soak were told, and whether the broker holds it."""
import os
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, TopicPartition

from harness.broker import PATIENCE_S
from values import parse

HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    """A client process and what it said."""

    def __init__(self, command, topic, name, once=False, complete=False):
        self.topic = topic
        self.name = name.encode()
        self.once = once  # each record is stored once, in the order sent
        self.complete = complete  # and none of them is missing in the end
        self.acknowledged = []  # (partition, offset, number)
        self.seen = {}  # (partition, offset): (name, number)
        self.committed = {}  # partition: offset
        self.failed = 0
        self.sent = None
        self.wrong = []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "PYTHONPATH": HERE})
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # killed in the middle of a word
            kind, *rest = line.split()
            if kind == b"A":
                self.acknowledged.append(tuple(map(int, rest)))
            elif kind == b"F":
                self.failed += 1
            elif kind == b"S":
                self.note_seen(int(rest[0]), int(rest[1]), (rest[2], int(rest[3])))
            elif kind == b"C":
                partition, offset = map(int, rest)
                self.committed[partition] = max(self.committed.get(partition, 0), offset)
            elif kind == b"N":
                self.sent = int(rest[0])

    def note_seen(self, partition, offset, record):
        if self.seen.setdefault((partition, offset), record) != record:
            self.wrong.append(f"{self.topic}-{partition} offset {offset}: {record}, before that "
                              f"{self.seen[partition, offset]}")

    def stop(self, timeout=PATIENCE_S):
        self.process.stdin.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"client {self.name.decode()} does not come to an end") from None
        finally:
            self.reader.join()
        assert self.process.returncode == 0, f"client {self.name.decode()} ended with {self.process.returncode}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()


def read_partition(address, topic, partition):
    """{offset: (name, number)} of everything up to the present high watermark."""
    where = f"{topic}-{partition}"
    consumer = Consumer({"bootstrap.servers": address, "group.id": "checker", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "check.crcs": True, "log_level": 0,
                         "fetch.message.max.bytes": 8 << 20})
    stored = {}
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE_S)
        consumer.assign([TopicPartition(topic, partition, low)])
        last = low - 1
        deadline = time.monotonic() + PATIENCE_S
        while last < high - 1:
            assert time.monotonic() < deadline, f"{where}: nothing behind offset {last} of {high}"
            for message in consumer.consume(1000, 0.05):
                assert not message.error(), f"{where}: {message.error()}"
                assert message.offset() > last, f"{where}: offset {message.offset()} follows {last}"
                last = message.offset()
                stored[last] = parse(message.value())
                assert stored[last], f"{where} offset {last}: bytes that nobody wrote"
                deadline = time.monotonic() + PATIENCE_S
        return stored
    finally:
        consumer.close()


def check_partition(stored, where, acknowledged, seen, clients):
    """`acknowledged`: [(offset, name, number)]; `seen`: [(offset, record)]: told before reading."""
    for offset, name, number in acknowledged:
        assert stored.get(offset) == (name, number), \
            f"{where} offset {offset}: acknowledged {name.decode()} {number}, stored {stored.get(offset)}"
    for offset, record in seen:
        assert stored.get(offset) == record, f"{where} offset {offset}: shown {record}, now {stored.get(offset)}"
    for client in clients:
        if client.once:
            numbers = [number for _, (name, number) in sorted(stored.items()) if name == client.name]
            for before, after in zip(numbers, numbers[1:]):
                assert before < after, f"{where}: {client.name.decode()} {after} follows {before}"


def check(address, topic, partitions, clients):
    """The number of records read. Clients may go on meanwhile."""
    told = [(client, len(client.acknowledged), dict(client.seen)) for client in clients if client.topic == topic]
    for client in clients:
        assert not client.wrong, client.wrong[0]
    records = 0
    counts = {}
    for partition in range(partitions):
        stored = read_partition(address, topic, partition)
        records += len(stored)
        acknowledged = [(offset, client.name, number) for client, count, _ in told
                        for p, offset, number in client.acknowledged[:count] if p == partition]
        seen = [(offset, record) for _, _, seen in told for (p, offset), record in seen.items() if p == partition]
        check_partition(stored, f"{topic}-{partition}", acknowledged, seen, [client for client, _, _ in told])
        for name, _ in stored.values():
            counts[name] = counts.get(name, 0) + 1
    for client, _, _ in told:
        if client.complete and client.sent is not None:
            assert counts.get(client.name, 0) == client.sent and len(client.acknowledged) == client.sent, \
                f"{topic}: {client.name.decode()} sent {client.sent}, {len(client.acknowledged)} acknowledged, " \
                f"{counts.get(client.name, 0)} stored"
    return records


def check_commits(address, topic, partitions, client):
    """Committed offsets are where they were acknowledged, or further."""
    known = dict(client.committed)
    consumer = Consumer({"bootstrap.servers": address, "group.id": client.name.decode(), "log_level": 0})
    try:
        for place in consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=PATIENCE_S):
            assert place.error is None, place.error
            assert max(place.offset, 0) >= known.get(place.partition, 0), \
                f"group {client.name.decode()}, {topic}-{place.partition}: committed {known[place.partition]}, " \
                f"now {place.offset}"
    finally:
        consumer.close()


