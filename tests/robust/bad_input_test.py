# SPDX-License-Identifier: Apache-2.0
"""What peers send by mistake or malice: each gets a clear error or a closed connection, the broker's
memory stays bounded, and a well-behaved client beside it notices nothing."""
import random
import resource
import struct
import time
import unittest
import zlib

from kafka import TopicPartition
from kafka.record import MemoryRecordsBuilder

from harness import script
from harness.broker import PATIENCE_S, Broker, frame, is_closed, read_reply
from harness.kafka_python import KafkaConsumer, KafkaProducer

PRODUCE, FETCH, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 3, 18, 19
CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION, MESSAGE_TOO_LARGE, INVALID_RECORD = 2, 3, 10, 87
INVALID_TOPIC, INVALID_REQUIRED_ACKS, OFFSET_OUT_OF_RANGE = 17, 21, 1
MEBIBYTE = 1 << 20


def crc32c(data, table=[]):
    if not table:
        for byte in range(256):
            for _ in range(8):
                byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
            table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def batch_of(*values):
    builder = MemoryRecordsBuilder(2, 0, 1 << 24)
    for value in values:
        builder.append(timestamp=int(time.time() * 1000), key=b"k", value=value, headers=[])
    builder.close()
    return builder.buffer()


def with_crc(batch):
    """The batch after a change, with a CRC that fits again."""
    return batch[:17] + struct.pack(">I", crc32c(batch[21:])) + batch[21:]


def string(text):
    return struct.pack(">h", len(text)) + text


def produce_body(topic, partitions, acks=-1):
    """Produce v3: [(partition, records)]."""
    body = struct.pack(">hhi", -1, acks, 5000) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">i", len(partitions))
    for partition, records in partitions:
        body += struct.pack(">ii", partition, len(records)) + records
    return body


def produce_errors(reply):
    """Correlation id, then the error of every partition of a one-topic Produce v3 reply."""
    at = 4 + 4
    (length,) = struct.unpack_from(">h", reply, at)
    at += 2 + length
    (count,) = struct.unpack_from(">i", reply, at)
    at += 4
    errors = []
    for _ in range(count):
        _, error, _, _ = struct.unpack_from(">ihqq", reply, at)
        errors.append(error)
        at += 22
    return errors


def fetch_body(topic, partition, offset, max_bytes=MEBIBYTE):
    """Fetch v4 that does not wait."""
    return (struct.pack(">iiiib", -1, 0, 1, max_bytes, 0) + struct.pack(">i", 1) + string(topic) +
            struct.pack(">iiqi", 1, partition, offset, max_bytes))


class BadInput(unittest.TestCase):
    shards = 2

    @classmethod
    def setUpClass(cls):
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        cls.broker = Broker(shards=cls.shards, settings=["message.max.bytes=1000000"]).start()
        producer = KafkaProducer(bootstrap_servers=cls.broker.address)
        cls.good = [b"good %d" % i for i in range(100)]
        for value in cls.good:
            producer.send("good", value, partition=0)
        producer.flush()
        producer.close()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def tearDown(self):
        """Whatever a test did: the broker lives, and others are served as before."""
        self.assertTrue(self.broker.alive(), self.broker.log()[-2000:])
        consumer = KafkaConsumer(bootstrap_servers=self.broker.address)
        where = TopicPartition("good", 0)
        consumer.assign([where])
        consumer.seek(where, 0)
        values = []
        deadline = time.monotonic() + PATIENCE_S
        while len(values) < 100 and time.monotonic() < deadline:
            values += [r.value for r in consumer.poll(timeout_ms=1000).get(where, [])]
        consumer.close()
        self.assertEqual(values[:100], self.good)

    def produce(self, records, topic=b"target", partition=0, acks=-1, connection=None):
        connection = connection or self.broker.connect()
        self.addCleanup(connection.close)
        connection.sendall(frame(METADATA, 1, struct.pack(">i", 1) + string(topic)))
        read_reply(connection)
        connection.sendall(frame(PRODUCE, 3, produce_body(topic, [(partition, records)], acks)))
        return produce_errors(read_reply(connection))[0]

    def assert_closed_after(self, data):
        with self.broker.connect() as connection:
            try:
                connection.sendall(data)
            except ConnectionError:
                return
            self.assertTrue(is_closed(connection), "the broker keeps the connection open")

    # --- frames ---

    def test_random_bytes(self):
        chance = random.Random(7)
        for _ in range(200):
            with self.broker.connect() as connection:
                try:
                    connection.sendall(chance.randbytes(chance.randrange(1, 5000)))
                except ConnectionError:
                    pass

    def test_random_bodies_behind_good_headers(self):
        chance = random.Random(8)
        for key in range(0, 80):
            for version in (0, 1, 3, 7, 12):
                with self.broker.connect() as connection:
                    connection.sendall(frame(key, version, chance.randbytes(chance.randrange(0, 200))))

    def test_frame_length_of_two_gigabytes(self):
        before = self.broker.memory()
        self.assert_closed_after(struct.pack(">i", 0x7FFFFFFF) + b"x" * 1000)
        self.assertLess(self.broker.memory() - before, 16 * MEBIBYTE)

    def test_negative_and_tiny_frame_lengths(self):
        for length in (-1, -2**31, 0, 1, 7):
            with self.subTest(length=length):
                self.assert_closed_after(struct.pack(">i", length) + b"\0" * 16)

    def test_large_first_frame_of_an_unproven_connection(self):
        self.assert_closed_after(struct.pack(">i", 50 * MEBIBYTE) + b"\0" * 100)

    def test_stop_in_mid_frame(self):
        whole = frame(API_VERSIONS, 0)
        for cut in range(len(whole)):
            with self.broker.connect() as connection:
                connection.sendall(whole[:cut])

    def test_unknown_api_key(self):
        self.assert_closed_after(frame(999, 0))
        self.assert_closed_after(frame(-1, 0))

    def test_unknown_version(self):
        self.assert_closed_after(frame(METADATA, 99))
        self.assert_closed_after(frame(PRODUCE, 2, b"\0" * 30))

    def test_unknown_version_of_api_versions_is_answered_in_version_0(self):
        with self.broker.connect() as connection:
            connection.sendall(frame(API_VERSIONS, 99))
            correlation, error, count = struct.unpack_from(">ihi", read_reply(connection))
            self.assertEqual((correlation, error), (1, 35))
            self.assertGreaterEqual(count, 1)
            connection.sendall(frame(API_VERSIONS, 0, correlation=2))
            self.assertEqual(struct.unpack_from(">ih", read_reply(connection)), (2, 0))

    def test_counts_that_exceed_the_bytes(self):
        before = self.broker.memory()
        for count in (2**31 - 1, 2**24, 1000):
            self.assert_closed_after(frame(METADATA, 1, struct.pack(">i", count)))
            self.assert_closed_after(frame(CREATE_TOPICS, 2, struct.pack(">i", count)))
        self.assertLess(self.broker.memory() - before, 16 * MEBIBYTE)

    def test_bytes_behind_the_request_are_ignored(self):
        """Kafka ignores them, and librdkafka 2.16 sends three after Metadata v13 for all topics."""
        with self.broker.connect() as connection:
            connection.sendall(frame(METADATA, 1, struct.pack(">i", 0) + b"extra"))
            connection.sendall(frame(METADATA, 13, b"\0" + b"\0\0\0\0" + b"\1\0\0", correlation=2))
            connection.sendall(frame(API_VERSIONS, 0, correlation=3))
            for correlation in (1, 2, 3):
                self.assertEqual(struct.unpack_from(">i", read_reply(connection)), (correlation,))

    # --- records ---

    def test_good_batch_is_taken(self):
        self.assertEqual(self.produce(batch_of(b"fine")), 0)

    def test_wrong_crc(self):
        batch = bytearray(batch_of(b"fine"))
        batch[-1] ^= 1
        self.assertEqual(self.produce(bytes(batch)), CORRUPT_MESSAGE)

    def test_wrong_magic(self):
        for magic in (0, 1, 3, 255):
            batch = bytearray(batch_of(b"fine"))
            batch[16] = magic
            self.assertIn(self.produce(bytes(batch)), (INVALID_RECORD, CORRUPT_MESSAGE))

    def test_several_batches_for_one_partition(self):
        self.assertEqual(self.produce(batch_of(b"one") + batch_of(b"two")), INVALID_RECORD)

    def test_no_records(self):
        self.assertIn(self.produce(b""), (INVALID_RECORD, CORRUPT_MESSAGE))

    def test_truncated_batches(self):
        batch = batch_of(b"fine")
        connection = self.broker.connect()
        for cut in (1, 12, 20, 60, len(batch) - 1):
            self.assertIn(self.produce(batch[:cut], connection=connection), (INVALID_RECORD, CORRUPT_MESSAGE))

    def test_batch_length_that_lies(self):
        for length in (-1, 0, 48, 2**31 - 1):
            batch = batch_of(b"fine")
            batch = batch[:8] + struct.pack(">i", length) + batch[12:]
            self.assertIn(self.produce(batch), (INVALID_RECORD, CORRUPT_MESSAGE))

    def test_record_count_that_lies(self):
        for count in (-1, 0, 2, 2**31 - 1):
            batch = batch_of(b"fine")
            batch = with_crc(batch[:57] + struct.pack(">i", count) + batch[61:])
            self.assertEqual(self.produce(batch), INVALID_RECORD)

    def test_control_batch_from_a_client(self):
        batch = batch_of(b"fine")
        batch = with_crc(batch[:21] + struct.pack(">h", 0x20) + batch[23:])
        self.assertEqual(self.produce(batch), INVALID_RECORD)

    def test_too_large(self):
        self.assertEqual(self.produce(batch_of(b"x" * 1200000)), MESSAGE_TOO_LARGE)

    def test_compressed_bomb(self):
        """Inflates 1,000-fold into a topic whose settings make the broker look inside."""
        before = self.broker.memory()
        bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
        squeezed = bomb.compress(b"\0" * (500 * MEBIBYTE)) + bomb.flush()
        batch = batch_of(b"fine")
        batch = with_crc(batch[:8] + struct.pack(">i", 49 + len(squeezed)) + batch[12:21] +
                         struct.pack(">h", 1) + batch[23:61] + squeezed)
        with self.broker.connect() as connection:
            settings = string(b"message.timestamp.type") + string(b"CreateTime")
            settings += string(b"cleanup.policy") + string(b"compact")
            topic = string(b"keyed") + struct.pack(">ihii", 1, 1, 0, 2) + settings
            connection.sendall(frame(CREATE_TOPICS, 2, struct.pack(">i", 1) + topic + struct.pack(">ib", 9000, 0)))
            read_reply(connection)
        self.assertNotEqual(self.produce(batch, topic=b"keyed"), 0)
        self.assertLess(self.broker.memory() - before, 64 * MEBIBYTE)

    def test_invalid_acks(self):
        self.assertEqual(self.produce(batch_of(b"fine"), acks=7), INVALID_REQUIRED_ACKS)

    # --- names and offsets ---

    def test_unknown_partition(self):
        self.assertEqual(self.produce(batch_of(b"fine"), partition=12345), UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.produce(batch_of(b"fine"), partition=-1), UNKNOWN_TOPIC_OR_PARTITION)

    def test_invalid_topic_names(self):
        for name in (b"", b".", b"..", b"with space", b"sl/ash", b"x" * 250, b"nul\0", b"\xff\xfe"):
            with self.subTest(name=name), self.broker.connect() as connection:
                connection.sendall(frame(METADATA, 1, struct.pack(">i", 1) + string(name)))
                self.assertIn(struct.pack(">h", INVALID_TOPIC) + string(name), read_reply(connection))

    def test_offsets_out_of_range(self):
        with self.broker.connect() as connection:
            for offset in (-1, 101 + 10**6, 2**63 - 1, -2**63):
                connection.sendall(frame(FETCH, 4, fetch_body(b"good", 0, offset)))
                reply = read_reply(connection)
                # correlation, throttle, topic count, name, partition count, partition, error
                (error,) = struct.unpack_from(">h", reply, 4 + 4 + 4 + 2 + 4 + 4 + 4)
                self.assertEqual(error, OFFSET_OUT_OF_RANGE)

    # --- connections ---

    def test_client_that_sends_and_never_reads(self):
        before = self.broker.memory()
        with self.broker.connect() as connection:
            connection.settimeout(1)
            request = frame(FETCH, 4, fetch_body(b"good", 0, 0)) * 100
            try:
                for _ in range(2000):
                    connection.sendall(request)
            except (TimeoutError, ConnectionError):
                pass
            self.assertLess(self.broker.memory() - before, 64 * MEBIBYTE)

    def test_idle_connections(self):
        """5,000, or as many as the limits allow; each costs little, and new ones are still served."""
        count = min(5000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100)
        before = self.broker.memory()
        connections = [self.broker.connect() for _ in range(count)]
        try:
            last = connections[-1]
            last.sendall(frame(API_VERSIONS, 0))
            read_reply(last)
            self.assertLess((self.broker.memory() - before) / count, 16 * 1024)
        finally:
            for connection in connections:
                connection.close()

    def test_pipelined_requests_are_answered_in_order(self):
        with self.broker.connect() as connection:
            count = 5000
            requests = [frame(API_VERSIONS if i % 3 else METADATA, 0 if i % 3 else 1,
                              b"" if i % 3 else struct.pack(">i", 0), correlation=i) for i in range(count)]
            data = b"".join(requests)
            connection.settimeout(PATIENCE_S)
            sent = 0
            received = []
            while len(received) < count:
                if sent < len(data):
                    sent += connection.send(data[sent:sent + 20000])
                received.append(struct.unpack_from(">i", read_reply(connection))[0])
            self.assertEqual(received, list(range(count)))


class Complaints(unittest.TestCase):
    """What the broker's output says about a connection that it closes: whose it was, and why."""

    def test_strangers_are_recognized(self):
        sasl_handshake, mechanism = 17, string(b"PLAIN")
        strangers = [
            (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "it speaks HTTP"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506), "it speaks TLS"),
            (b"\x7f\xff\xff\xff and so on", "a request of 2147483647 bytes as the first one"),
            (frame(sasl_handshake, 1, mechanism), "API key 17 in version 1 is not served"),
        ]
        with Broker() as broker:  # of its own: lines about connections are limited per second
            for first, why in strangers:
                with broker.connect() as connection:
                    port = connection.getsockname()[1]
                    connection.sendall(first)
                    self.assertTrue(is_closed(connection), why)
                self.assertIn(f"closing the connection from 127.0.0.1 port {port}: {why}", broker.log())


if __name__ == "__main__":
    script.main()
