# SPDX-License-Identifier: Apache-2.0
"""python3-confluent-kafka (librdkafka), unmodified."""
import time
import unittest

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from harness import script
from harness.broker import PATIENCE_S, Broker
from harness.wire import wait_until


class Confluent(unittest.TestCase):
    shards = 1

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(shards=cls.shards).start()
        cls.admin = AdminClient({"bootstrap.servers": cls.broker.address})

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def create(self, name, partitions=1, **config):
        config = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        self.admin.create_topics([topic], operation_timeout=PATIENCE_S)[name].result(PATIENCE_S)

    def producer(self, **config):
        settings = {"bootstrap.servers": self.broker.address, "message.timeout.ms": 1000 * PATIENCE_S}
        settings.update({key.replace("_", "."): value for key, value in config.items()})
        return Producer(settings)

    def consumer(self, group="none", **config):
        settings = {"bootstrap.servers": self.broker.address, "group.id": group,
                    "enable.auto.commit": False, "enable.partition.eof": True,
                    "auto.offset.reset": "error", "fetch.wait.max.ms": 20}
        settings.update({key.replace("_", "."): value for key, value in config.items()})
        consumer = Consumer(settings)
        self.addCleanup(consumer.close)
        return consumer

    def read_all(self, topic, partition=0, offset=0):
        consumer = self.consumer(check_crcs=True)
        consumer.assign([TopicPartition(topic, partition, offset)])
        messages = []
        while True:
            message = consumer.poll(PATIENCE_S)
            self.assertIsNotNone(message, "the end of the partition did not come")
            if message.error():
                self.assertEqual(message.error().code(), KafkaError._PARTITION_EOF)
                return messages
            messages.append(message)

    def test_every_codec_and_ack(self):
        # All at once: a new producer of librdkafka often begins with a second of rest.
        producers = [(codec, acks, self.producer(compression_type=codec, acks=acks, linger_ms=5), [])
                     for codec in ("none", "gzip", "snappy", "lz4", "zstd") for acks in ("0", "1", "all")]
        for codec, acks, producer, reports in producers:
            name = f"codec-{codec}-{acks}"
            self.create(name)
            for i in range(2000):
                producer.produce(name, value=f"{i} of many, rather compressible", key=str(i),
                                 on_delivery=lambda error, m, to=reports: to.append((error, m.offset())))
                producer.poll(0)
        for codec, acks, producer, reports in producers:
            with self.subTest(codec=codec, acks=acks):
                self.assertEqual(producer.flush(PATIENCE_S), 0)
                self.assertEqual([error for error, _ in reports if error], [])
                if acks != "0":
                    self.assertEqual(sorted(offset for _, offset in reports), list(range(2000)))
                messages = wait_until(lambda: (read := self.read_all(f"codec-{codec}-{acks}"))[1999:] and read,
                                      "the records that nobody acknowledged are there, too")
                self.assertEqual([m.key() for m in messages], [str(i).encode() for i in range(2000)])
                self.assertEqual([m.offset() for m in messages], list(range(2000)))

    def test_headers_and_timestamps(self):
        self.create("rich")
        producer = self.producer()
        headers = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")]
        producer.produce("rich", value=b"v", key=b"k", headers=headers, timestamp=1234567890123)
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        (message,) = self.read_all("rich")
        self.assertEqual(message.headers(), headers)
        self.assertEqual(message.timestamp(), (1, 1234567890123))

    def test_log_append_time(self):
        self.create("appended", message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000)
        producer = self.producer(compression_type="gzip")
        producer.produce("appended", value=b"v", timestamp=1)
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        (message,) = self.read_all("appended")
        kind, stamp = message.timestamp()
        self.assertEqual(kind, 2)
        self.assertTrue(before <= stamp <= int(time.time() * 1000), stamp)

    def test_offsets_for_times_inside_batches(self):
        self.create("times")
        producer = self.producer(linger_ms=200, compression_type="lz4")
        for i in range(100):
            producer.produce("times", value=str(i), timestamp=1600000000000 + i * 1000)
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        consumer = self.consumer()
        for wanted, offset in ((1600000000000, 0), (1600000041001, 42), (1600000099000, 99),
                               (1599999999999, 0)):
            (found,) = consumer.offsets_for_times([TopicPartition("times", 0, wanted)], PATIENCE_S)
            self.assertEqual(found.offset, offset)
        (none,) = consumer.offsets_for_times([TopicPartition("times", 0, 1700000000000)], PATIENCE_S)
        self.assertEqual(none.offset, -1)

    def test_watermarks_and_large_message(self):
        self.create("large", max_message_bytes="8000000")
        producer = self.producer(message_max_bytes=8000000)
        payload = bytes(range(256)) * 20000
        producer.produce("large", value=payload)
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        consumer = self.consumer(fetch_message_max_bytes=1000)
        self.assertEqual(consumer.get_watermark_offsets(TopicPartition("large", 0), PATIENCE_S), (0, 1))
        (message,) = self.read_all("large")
        self.assertEqual(message.value(), payload)

    def test_too_large_for_the_topic(self):
        self.create("tight", max_message_bytes="1000")
        errors = []
        producer = self.producer()
        producer.produce("tight", value=b"x" * 5000, on_delivery=lambda error, _: errors.append(error))
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        self.assertEqual(errors[0].code(), KafkaError.MSG_SIZE_TOO_LARGE)

    def test_topics(self):
        self.create("made", partitions=4, retention_ms="1000000")
        self.assertEqual(len(self.admin.list_topics(timeout=PATIENCE_S).topics["made"].partitions), 4)
        with self.assertRaises(KafkaException) as raised:
            self.create("made")
        self.assertEqual(raised.exception.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS)
        self.admin.create_partitions([NewPartitions("made", 6)])["made"].result(PATIENCE_S)
        self.assertEqual(len(self.admin.list_topics(timeout=PATIENCE_S).topics["made"].partitions), 6)
        self.admin.delete_topics(["made"], operation_timeout=PATIENCE_S)["made"].result(PATIENCE_S)
        self.assertNotIn("made", self.admin.list_topics(timeout=PATIENCE_S).topics)
        self.create("made")
        self.assertEqual(self.read_all("made"), [])

    def test_configs(self):
        self.create("tuned", retention_ms="5000000")
        resource = ConfigResource("topic", "tuned")
        configs = self.admin.describe_configs([resource])[resource].result(PATIENCE_S)
        self.assertEqual(configs["retention.ms"].value, "5000000")
        self.assertFalse(configs["retention.ms"].is_default)
        self.assertTrue(configs["segment.bytes"].is_default)
        changed = ConfigResource("topic", "tuned", set_config={"retention.bytes": "123456"})
        self.admin.alter_configs([changed])[changed].result(PATIENCE_S)
        configs = self.admin.describe_configs([resource])[resource].result(PATIENCE_S)
        self.assertEqual(configs["retention.bytes"].value, "123456")
        self.assertTrue(configs["retention.ms"].is_default)
        broken = ConfigResource("topic", "tuned", set_config={"retention.bytes": "plenty"})
        with self.assertRaises(KafkaException) as raised:
            self.admin.alter_configs([broken])[broken].result(PATIENCE_S)
        self.assertEqual(raised.exception.args[0].code(), KafkaError.INVALID_CONFIG)

    def test_names_and_factors_are_checked(self):
        for name in ("with space", "..", "x" * 250, "a/b"):
            with self.subTest(name=name), self.assertRaises(KafkaException) as raised:
                self.create(name)
            self.assertEqual(raised.exception.args[0].code(), KafkaError.TOPIC_EXCEPTION)
        topic = NewTopic("copies", num_partitions=1, replication_factor=3)
        with self.assertRaises(KafkaException) as raised:
            self.admin.create_topics([topic])["copies"].result(PATIENCE_S)
        self.assertEqual(raised.exception.args[0].code(), KafkaError.INVALID_REPLICATION_FACTOR)

    def test_topics_with_a_compression_of_their_own(self):
        topics = ["stored-as-" + codec for codec in ("uncompressed", "gzip", "snappy", "lz4", "zstd")]
        for name in topics:
            self.create(name, compression_type=name.removeprefix("stored-as-"))
        for sent in ("none", "lz4"):
            producer = self.producer(compression_type=sent, linger_ms=5)
            for name in topics:
                for i in range(200):
                    producer.produce(name, value=f"{i} of many, rather compressible")
            self.assertEqual(producer.flush(PATIENCE_S), 0)
        for name in topics:
            with self.subTest(name):
                values = [m.value().decode().split()[0] for m in self.read_all(name)]
                self.assertEqual(values, [str(i) for i in range(200)] * 2)

    def test_offset_out_of_range(self):
        self.create("short")
        consumer = self.consumer()
        consumer.assign([TopicPartition("short", 0, 500)])
        message = consumer.poll(PATIENCE_S)
        self.assertIsNotNone(message)
        self.assertIn(message.error().code(), (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET))


class ConfluentTwoShards(Confluent):
    shards = 2


if __name__ == "__main__":
    script.main()
