# SPDX-License-Identifier: Apache-2.0
"""Asks for a group's committed offsets without pause, and looks at each answer: none goes back, and
none passes by a record that nobody has processed."""
import os
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../.."))
from harness.broker import frame, read_reply  # noqa: E402

LIST_OFFSETS, OFFSET_FETCH, CREATE_TOPICS = 2, 9, 19
LATEST = -1


def text(word):
    return struct.pack(">h", len(word)) + word.encode()


def call(connection, key, version, body):
    """The answer behind its correlation id."""
    connection.sendall(frame(key, version, body))
    return read_reply(connection)[4:]


def create_topic(connection, topic, partitions):
    body = (struct.pack(">i", 1) + text(topic) + struct.pack(">ihii", partitions, 1, 0, 0) +
            struct.pack(">i?", 10000, False))
    answer = call(connection, CREATE_TOPICS, 2, body)
    (error,) = struct.unpack_from(">h", answer, 8 + 2 + len(topic))
    assert error == 0, f"creating {topic}: error {error}"


def rows(answer, topic, row, skip_text):
    """Of an answer about one topic, the fixed fields of each partition."""
    at = 4 + 2 + len(topic)
    (count,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(count):
        fields = struct.unpack_from(row, answer, at)
        at += struct.calcsize(row)
        if skip_text:
            (size, ) = struct.unpack_from(">h", answer, at)
            at += 2 + max(size, 0)
            fields += struct.unpack_from(">h", answer, at)
            at += 2
        yield fields


def ends(connection, topic, partitions):
    """The log end offset of each partition."""
    body = struct.pack(">ii", -1, 1) + text(topic) + struct.pack(">i", partitions)
    body += b"".join(struct.pack(">iq", i, LATEST) for i in range(partitions))
    found = {}
    for partition, error, _, offset in rows(call(connection, LIST_OFFSETS, 1, body), topic, ">ihqq", False):
        assert error == 0, f"asking for the end of {partition}: error {error}"
        found[partition] = offset
    return [found[i] for i in range(partitions)]


def committed(connection, group, topic, partitions):
    """The committed offset of each partition; None in place of all while the broker cannot say."""
    body = text(group) + struct.pack(">i", 1) + text(topic) + struct.pack(">i", partitions)
    body += b"".join(struct.pack(">i", i) for i in range(partitions))
    found = {}
    for partition, offset, error in rows(call(connection, OFFSET_FETCH, 1, body), topic, ">iq", True):
        if error:
            return None
        found[partition] = offset
    return [found[i] for i in range(partitions)]


class Watcher:
    """On a thread of its own; `problem` is what it has found."""

    def __init__(self, broker, ledger, group, topic, partitions):
        self.broker, self.ledger = broker, ledger
        self.group, self.topic, self.partitions = group, topic, partitions
        self.newest = [-1] * partitions
        self.observed = 0
        self.problem = None
        self.stopping = False
        self.lock = threading.Lock()  # of the ledger
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping and not self.problem:
            try:
                with self.broker.connect() as connection:
                    self.follow(connection)
            except (OSError, EOFError):
                time.sleep(0.01)  # the broker has been killed
            except Exception as error:  # also of what members have said
                self.problem = f"{type(error).__name__}: {error}"

    def follow(self, connection):
        while not self.stopping:
            found = committed(connection, self.group, self.topic, self.partitions)
            if found is None:
                time.sleep(0.005)
                continue
            with self.lock:
                self.look(found)
            time.sleep(0.002)

    def look(self, found):
        """What is committed was printed before; so the printed is read after the committed."""
        self.observed += found != self.newest
        self.ledger.read()
        for partition, offset in enumerate(found):
            before = self.newest[partition]
            assert offset >= before, f"the commit of partition {partition} goes back from {before} to {offset}"
            done = self.ledger.done[partition]
            assert offset <= done, f"partition {partition} is committed to {offset}, processed to {done} only"
        self.newest = found

    def stop(self):
        self.stopping = True
        self.thread.join()
