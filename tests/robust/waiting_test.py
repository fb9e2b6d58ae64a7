# SPDX-License-Identifier: Apache-2.0
"""When a fetch is answered: at once if there is something to say, else when enough bytes are there, when
something happens to a partition, or when the client's patience ends."""
import time
import unittest

from harness import script
from harness.broker import PATIENCE_S, Broker, read_reply
from harness.wire import (NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION, batch, call, create,
                          delete, encode, fetch, fetch_request, produce)

FOR_EVER_MS = 120_000  # longer than a reply is waited for: who waits so long has failed


class Waiting(unittest.TestCase):
    shards = 2

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(shards=cls.shards).start()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def setUp(self):
        self.connection = self.open()
        self.other = self.open()
        self.topic = self.id().rsplit(".", 1)[1]
        self.assertEqual(create(self.connection, self.topic, partitions=4)[0], NONE)

    def open(self):
        connection = self.broker.connect()
        self.addCleanup(connection.close)
        return connection

    def fetch(self, offset=0, **limits):
        return fetch(self.connection, self.topic, offset, **limits)

    def send_fetch(self, partitions, **limits):
        """Sends it. That the broker is working on it cannot be seen, but is likely after two rounds on
        another connection; if it is not yet, the tests still hold."""
        self.connection.sendall(encode(fetch_request(partitions, **limits), 1))
        for _ in range(2):
            fetch(self.other, self.topic, 0, max_wait_ms=1)

    def is_answered(self):
        self.connection.settimeout(0.05)
        try:
            return bool(self.connection.recv(1, 2))  # MSG_PEEK
        except TimeoutError:
            return False
        finally:
            self.connection.settimeout(PATIENCE_S)

    # --- at once

    def test_without_patience(self):
        self.assertEqual(self.fetch(max_wait_ms=0).records, b"")

    def test_no_partitions(self):
        answer = call(self.connection, fetch_request([], max_wait_ms=FOR_EVER_MS))
        self.assertEqual(answer.topics, [])

    def test_enough_bytes(self):
        produce(self.other, self.topic, batch(b"here"))
        self.assertIn(b"here", self.fetch(max_wait_ms=FOR_EVER_MS).records)

    def test_an_error_in_any_partition(self):
        for topic, partition, offset, error in ((self.topic, 1, 5, OFFSET_OUT_OF_RANGE),
                                                (self.topic, 9, 0, UNKNOWN_TOPIC_OR_PARTITION),
                                                ("no-such-topic", 0, 0, UNKNOWN_TOPIC_OR_PARTITION)):
            answer = call(self.connection, fetch_request(
                [(self.topic, 0, 0), (topic, partition, offset), (self.topic, 2, 0)],
                max_wait_ms=FOR_EVER_MS))
            self.assertEqual([row[1][0][1] for row in answer.topics], [NONE, error, NONE])

    # --- later

    def test_patience_ends(self):
        """Not before, and with what there is."""
        produce(self.other, self.topic, batch(b"little"))
        start = time.monotonic()
        got = self.fetch(max_wait_ms=300, min_bytes=1 << 20)
        self.assertGreaterEqual(time.monotonic() - start, 0.29)
        self.assertIn(b"little", got.records)

    def test_a_record_arrives(self):
        for partition in range(4):  # of either shard
            self.send_fetch([(self.topic, number, 0) for number in range(partition, 4)],
                            max_wait_ms=FOR_EVER_MS)
            self.assertFalse(self.is_answered())
            produce(self.other, self.topic, batch(b"now"), partition=partition)
            self.assertIn(b"now", read_reply(self.connection))

    def test_enough_bytes_arrive(self):
        self.send_fetch([(self.topic, 0, 0), (self.topic, 1, 0)], max_wait_ms=FOR_EVER_MS, min_bytes=2500)
        for number, partition in enumerate((0, 1)):
            produce(self.other, self.topic, batch(b"%d" % number + b"x" * 1000), partition=partition)
            self.assertFalse(self.is_answered())
        produce(self.other, self.topic, batch(b"2" + b"x" * 1000))
        reply = read_reply(self.connection)
        for number in range(3):
            self.assertIn(b"%dxxx" % number, reply)

    def test_the_topic_is_deleted(self):
        self.send_fetch([(self.topic, 1, 0)], max_wait_ms=FOR_EVER_MS)
        self.assertFalse(self.is_answered())
        self.assertEqual(delete(self.other, self.topic), NONE)
        self.assertIn(self.topic.encode(), read_reply(self.connection))

    def test_many_wait_for_one_record(self):
        readers = [self.open() for _ in range(50)]
        for reader in readers:
            reader.sendall(encode(fetch_request([(self.topic, 0, 0)], max_wait_ms=FOR_EVER_MS), 1))
        produce(self.other, self.topic, batch(b"for all"))
        for reader in readers:
            self.assertIn(b"for all", read_reply(reader))

    def test_who_waits_may_go(self):
        waiting = self.open()
        waiting.sendall(encode(fetch_request([(self.topic, 0, 0)], max_wait_ms=FOR_EVER_MS), 1))
        waiting.close()
        self.assertEqual(produce(self.other, self.topic, batch(b"here"))[0], NONE)
        self.assertIn(b"here", self.fetch().records)

    # --- limits

    def test_the_first_batch_is_whole_whatever_the_limits(self):
        for number in range(2):
            produce(self.other, self.topic, batch(b"%d" % number + b"x" * 1000))
            produce(self.other, self.topic, batch(b"%d" % number + b"x" * 1000), partition=1)
        answer = call(self.connection, fetch_request([(self.topic, 0, 0, 10), (self.topic, 1, 0, 10)],
                                                     max_bytes=10))
        first, second = (row[1][0][6] or b"" for row in answer.topics)
        self.assertIn(b"0xxx", first)
        self.assertNotIn(b"1xxx", first)
        self.assertEqual(second, b"", "only the first partition may exceed the limits")

    def test_the_batch_that_holds_the_offset(self):
        produce(self.other, self.topic, batch(b"first", b"second", b"third"))
        got = self.fetch(offset=2)
        self.assertIn(b"first", got.records, "batches are whole")


class WaitingOnOneShard(Waiting):
    shards = 1


if __name__ == "__main__":
    script.main()
