# SPDX-License-Identifier: Apache-2.0
"""Reading what is no longer in memory: what the broker says about it, damage found while it runs,
segments that go while they are read, timestamps."""
import glob
import os
import re
import threading
import unittest

from harness import script
from harness.broker import Broker
from harness.wire import (EARLIEST, KAFKA_STORAGE_ERROR, NONE, batch, create, fetch, offset_at, produce, wait_until)

OFFSET_OUT_OF_RANGE = 1
LARGEST = -3


def value_of(number):
    return b"%06d " % number + os.urandom(30000)


class Reading(unittest.TestCase):
    def start(self, *settings):
        self.broker = Broker(shards=2, settings=("weir.tail.cache.bytes=1048576",) + settings).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.connection = self.broker.connect()
        self.addCleanup(self.connection.close)

    def fill(self, topic, count, **settings):
        self.assertEqual(create(self.connection, topic, **settings)[0], NONE)
        values = [value_of(number) for number in range(count)]
        for number, value in enumerate(values):
            self.assertEqual(produce(self.connection, topic, batch(value)), (NONE, number))
        return values

    def test_a_line_says_what_was_read(self):
        self.start("weir.stats.interval.ms=200", "weir.scrub.bytes.per.second=0")
        values = self.fill("t", 100)
        for number in range(60):
            self.assertIn(values[number], fetch(self.connection, "t", number, max_bytes=1).records)
        wait_until(lambda: re.search(r"info storage, .* disk [1-9]", self.broker.log()), "the line")
        lines = self.broker.log().count(" info storage, ")
        self.assertEqual(produce(self.connection, "t", batch(b"last")), (NONE, 100))
        self.connection.close()
        self.assertEqual(self.broker.stop(), 0)
        self.assertGreater(self.broker.log().count(" info storage, "), lines, "once more at the end")

    def test_the_scrub_finds_damage_before_a_reader_does(self):
        # Without the journal every record has a frame of its own.
        self.start("weir.scrub.bytes.per.second=100000000", "weir.journal.bytes=0")
        self.fill("t", 100, segment_bytes=1 << 20)
        path = sorted(glob.glob(f"{self.broker.directory}/topics/t/*/*.log"))[1]
        first = int(os.path.basename(path).split(".")[0])
        self.connection.close()
        self.assertEqual(self.broker.stop(), 0)
        with open(path, "r+b") as file:
            file.seek(500000)
            byte = file.read(1)
            file.seek(500000)
            file.write(bytes([byte[0] ^ 1]))
        self.broker.start()
        self.connection = self.broker.connect()
        self.addCleanup(self.connection.close)
        wait_until(lambda: f"{path} is damaged" in self.broker.log(), "the scrub to find it")
        for number in (first, first + 1):
            self.assertEqual(fetch(self.connection, "t", number, max_bytes=1).error, NONE)
        refused = [number for number in range(100)
                   if fetch(self.connection, "t", number, max_bytes=1).error == KAFKA_STORAGE_ERROR]
        self.assertTrue(1 <= len(refused) <= 3, refused)
        self.assertEqual(self.broker.log().count("is damaged"), 1, "it is told once")

    def test_readers_of_segments_that_go_are_told_of_the_start(self):
        self.start("log.retention.check.interval.ms=20", "weir.read.cache.bytes=0")
        self.fill("t", 40, segment_bytes=1 << 17)
        self.assertEqual(create(self.connection, "short", segment_bytes=1 << 17, retention_bytes=1 << 18)[0], NONE)
        seen = set()
        over = threading.Event()

        def read():
            with self.broker.connect() as connection:
                while not over.is_set():
                    _, start = offset_at(connection, "short", EARLIEST)
                    for number in (start, start + 1):
                        seen.add(fetch(connection, "short", max(number, 0), max_bytes=1).error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for number in range(300):
                self.assertEqual(produce(self.connection, "short", batch(value_of(number))), (NONE, number))
        finally:
            over.set()
            for reader in readers:
                reader.join()
        self.assertLessEqual(seen, {NONE, OFFSET_OUT_OF_RANGE})

    def test_times_out_of_order(self):
        self.start()
        self.assertEqual(create(self.connection, "t", segment_bytes=1 << 17)[0], NONE)
        times = [1_600_000_000_000 + (number * 7919 % 1000) * 1000 for number in range(60)]
        for number, timestamp in enumerate(times):
            self.assertEqual(produce(self.connection, "t", batch(value_of(number), timestamp_ms=timestamp)),
                             (NONE, number))
        for wanted in sorted(times)[::7] + [0, times[-1] + 1]:
            expected = next((number for number, timestamp in enumerate(times) if timestamp >= wanted), -1)
            self.assertEqual(offset_at(self.connection, "t", wanted), (NONE, expected))


if __name__ == "__main__":
    script.main()
