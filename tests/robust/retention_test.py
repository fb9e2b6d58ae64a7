# SPDX-License-Identifier: Apache-2.0
"""What makes records go, and what starts a new segment: size, time, DeleteRecords. Files really go."""
import glob
import os
import time
import unittest

from kafka.protocol.admin import AlterConfigsRequest

from harness import script
from harness.broker import Broker
from harness.damage import without_journal
from harness.wire import (EARLIEST, LATEST, NONE, OFFSET_OUT_OF_RANGE, batch, call, create, delete,
                          delete_records, fetch, offset_at, produce, wait_until)

BLOCK = 4096
SEGMENT = 8 * BLOCK  # a header block and seven records of one block each, with batch and frame
TOPIC_RESOURCE = 2


class Retention(unittest.TestCase):
    settings = ["log.retention.check.interval.ms=20"]

    def setUp(self):
        self.broker = Broker(shards=2, settings=[*self.settings, *without_journal()]).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.connect()

    def connect(self):
        self.connection = self.broker.connect()
        self.addCleanup(self.connection.close)

    def create(self, topic, **settings):
        self.assertEqual(create(self.connection, topic, **settings)[0], NONE)

    def fill(self, topic, count, timestamp_ms=None, first=0):
        """Records of one block each, that begin with their offset."""
        for number in range(first, first + count):
            records = batch(b"%04d " % number + b"x" * 3957, timestamp_ms=timestamp_ms)
            self.assertEqual(produce(self.connection, topic, records)[0], NONE)

    def segments(self, topic):
        """The first offset of every segment file."""
        paths = glob.glob(f"{self.broker.directory}/topics/{topic}/*/*.log")
        return sorted(int(os.path.basename(path)[:-4]) for path in paths)

    def start_of(self, topic):
        error, offset = offset_at(self.connection, topic, EARLIEST)
        self.assertEqual(error, NONE)
        return offset

    def assert_gone_below(self, topic, start, end):
        self.assertEqual(fetch(self.connection, topic, start - 1).error, OFFSET_OUT_OF_RANGE)
        self.assertEqual(offset_at(self.connection, topic, LATEST), (NONE, end))
        if start < end:
            got = fetch(self.connection, topic, start, max_bytes=1)
            self.assertEqual((got.error, got.start), (NONE, start))
            self.assertIn(b"%04d" % start, got.records)

    def restart(self, end):
        end()
        self.broker.start()
        self.connect()

    def test_by_size(self):
        self.create("t", segment_bytes=SEGMENT, retention_bytes=2 * SEGMENT)
        self.fill("t", 50)  # segments from 0, 7, .. 49
        # The oldest goes as long as the others alone are not below the limit.
        wait_until(lambda: self.start_of("t") == 35, "old segments are removed")
        self.assertEqual(self.segments("t"), [35, 42, 49])
        self.assert_gone_below("t", 35, 50)
        self.restart(self.broker.kill)
        self.assert_gone_below("t", 35, 50)

    def test_by_time(self):
        hour_ago = int(time.time() * 1000) - 3600_000
        self.create("t", segment_bytes=SEGMENT)
        self.fill("t", 21, timestamp_ms=hour_ago)
        self.fill("t", 9, first=21)
        self.create("kept", segment_bytes=SEGMENT)
        self.fill("kept", 21, timestamp_ms=hour_ago)
        answer = call(self.connection, AlterConfigsRequest[1](
            [(TOPIC_RESOURCE, "t", [("retention.ms", "1800000"), ("segment.bytes", str(SEGMENT))])], False))
        self.assertEqual(answer.resources[0][0], NONE)
        wait_until(lambda: self.start_of("t") == 21, "segments older than half an hour are removed")
        self.assertEqual(self.segments("t"), [21, 28])
        self.assert_gone_below("t", 21, 30)
        self.assertEqual(self.segments("kept"), [0, 7, 14])

    def test_the_active_segment_expires_too(self):
        hour_ago = int(time.time() * 1000) - 3600_000
        self.create("t", retention_ms=1800_000)
        self.fill("t", 3, timestamp_ms=hour_ago)
        wait_until(lambda: self.start_of("t") == 3, "all records expire")
        self.assert_gone_below("t", 3, 3)
        self.assertEqual(produce(self.connection, "t", batch(b"0003")), (NONE, 3))
        self.restart(self.broker.kill)
        self.assertIn(b"0003", fetch(self.connection, "t", 3).records)

    def test_one_young_record_keeps_its_segment(self):
        hour_ago = int(time.time() * 1000) - 3600_000
        self.create("t", segment_bytes=SEGMENT, retention_ms=1800_000)
        self.create("expires", segment_bytes=SEGMENT, retention_ms=1800_000)
        self.fill("t", 1)
        self.fill("t", 13, timestamp_ms=hour_ago)
        self.fill("expires", 14, timestamp_ms=hour_ago)
        wait_until(lambda: self.start_of("expires") == 14, "retention has run")
        self.assertEqual(self.start_of("t"), 0)

    def test_roll_by_time(self):
        """The next record after that time goes to a new file."""
        self.create("t", segment_ms=100)
        self.create("other")

        def produce_more():
            self.fill("t", 1)
            self.fill("other", 1)
            return len(self.segments("t")) >= 3

        wait_until(produce_more, "a third segment")
        self.assertEqual(self.segments("other"), [0])
        self.assertEqual(self.start_of("t"), 0)
        self.assertIn(b"0000", fetch(self.connection, "t", 0, max_bytes=1).records)

    def test_compact_alone_keeps_everything(self):
        hour_ago = int(time.time() * 1000) - 3600_000
        self.create("t", cleanup_policy="delete", segment_bytes=SEGMENT, retention_ms=1000)
        self.create("compacted", cleanup_policy="compact", segment_bytes=SEGMENT, retention_ms=1000)
        self.fill("t", 14, timestamp_ms=hour_ago)
        for number in range(14):
            records = batch(b"x" * 3957, timestamp_ms=hour_ago, key=b"%d" % number)
            self.assertEqual(produce(self.connection, "compacted", records)[0], NONE)
        wait_until(lambda: self.start_of("t") == 14, "retention has run")
        self.assertEqual(self.start_of("compacted"), 0)

    def test_delete_records(self):
        self.create("t", segment_bytes=SEGMENT)
        self.fill("t", 30)
        self.assertEqual(delete_records(self.connection, "t", 31)[1], OFFSET_OUT_OF_RANGE)
        self.assertEqual(delete_records(self.connection, "t", 16), (16, NONE))
        self.assertEqual(delete_records(self.connection, "t", 3), (16, NONE), "it never moves back")
        for end in (self.broker.kill, self.broker.stop):
            self.assertEqual(self.start_of("t"), 16)
            self.assert_gone_below("t", 16, 30)
            self.restart(end)
        wait_until(lambda: self.segments("t")[0] == 14, "segments below the start are removed")
        self.assertEqual(delete_records(self.connection, "t", -1), (30, NONE))
        self.restart(self.broker.kill)
        self.assert_gone_below("t", 30, 30)
        self.assertEqual(produce(self.connection, "t", batch(b"0030")), (NONE, 30))

    def test_files_of_a_deleted_topic(self):
        self.create("t", segment_bytes=SEGMENT)
        self.fill("t", 30)
        self.assertEqual(delete(self.connection, "t"), NONE)
        self.create("t")
        self.assertEqual(produce(self.connection, "t", batch(b"0000")), (NONE, 0))
        wait_until(lambda: self.segments("t") == [0], "the files of the first topic of that name are removed")
        self.restart(self.broker.kill)
        self.assertEqual(offset_at(self.connection, "t", LATEST), (NONE, 1))


if __name__ == "__main__":
    script.main()
