# SPDX-License-Identifier: Apache-2.0
"""Many more partitions than descriptors: all of them take records, survive a SIGKILL and a stop, and
are listed and deleted. How long it takes is the benchmark's business (tests/bench/partitions.py)."""
import os
import unittest

from kafka.protocol.produce import ProduceRequest

from harness import script
from harness.broker import Broker
from harness.wire import LATEST, NONE, batch, call, create, delete, fetch, offset_at, topics

PARTITIONS = 1500
DESCRIPTORS = 400


def produce_to_all(connection, topic, at_once):
    """A record for each partition, so many in one request; the offsets they got."""
    offsets = set()
    for first in range(0, PARTITIONS, at_once):
        rows = [(partition, batch(b"%d" % partition)) for partition in range(first, first + at_once)]
        answer = call(connection, ProduceRequest[7](None, -1, 60000, [(topic, rows)]))
        errors = {row[1] for row in answer.topics[0][1]}
        assert errors == {NONE}, errors
        offsets |= {row[2] for row in answer.topics[0][1]}
    return offsets


class ManyPartitions(unittest.TestCase):
    def setUp(self):
        limit = f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"
        self.broker = Broker(shards=2, wrap=["prlimit", limit]).start()
        self.addCleanup(self.broker.__exit__, None, None, None)

    def open_files(self):
        return len(os.listdir(f"/proc/{self.broker.process.pid}/fd"))

    def check(self, topic, records):
        with self.broker.connect(timeout=60) as connection:
            self.assertEqual(len(topics(connection, 1, [topic])), 1)
            for partition in range(0, PARTITIONS, 7):
                self.assertEqual(offset_at(connection, topic, LATEST, partition), (NONE, records))
                got = fetch(connection, topic, records - 1, partition)
                self.assertEqual(got.error, NONE)
                self.assertIn(b"%d" % partition, got.records)
        self.assertLessEqual(self.open_files(), DESCRIPTORS)

    def test_more_than_descriptors(self):
        with self.broker.connect(timeout=60) as connection:
            self.assertEqual(create(connection, "wide", PARTITIONS)[0], NONE)
            self.assertEqual(produce_to_all(connection, "wide", PARTITIONS), {0})
            self.assertEqual(produce_to_all(connection, "wide", 100), {1})
        self.check("wide", 2)
        self.broker.kill()
        self.broker.start(timeout=120)
        self.check("wide", 2)
        with self.broker.connect(timeout=60) as connection:
            self.assertEqual(produce_to_all(connection, "wide", 100), {2})
        self.assertEqual(self.broker.stop(timeout=120), 0, self.broker.log()[-1500:])
        self.broker.start(timeout=120)
        self.check("wide", 3)
        with self.broker.connect(timeout=60) as connection:
            self.assertEqual(delete(connection, "wide"), NONE)
            self.assertNotEqual(topics(connection, 4, ["wide"], False)[0][0], NONE)
        self.assertNotIn("Too many open files", self.broker.log())
        self.assertNotIn("accepts nothing", self.broker.log())


if __name__ == "__main__":
    script.main()
