# SPDX-License-Identifier: Apache-2.0
"""Compacted topics as clients see them: kafka-python, librdkafka and kcat write keys and tombstones; after
compaction a consumer from the beginning finds the last record of each key, where it always was."""
import glob
import os
import subprocess
import unittest

from confluent_kafka import Consumer, Producer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from harness import script
from harness.broker import PATIENCE_S, Broker
from harness.kafka_python import KafkaAdminClient, KafkaProducer
from harness.wire import NONE, batch, produce, wait_until

INVALID_RECORD = 87
KEYS = 40
ROUNDS = 30


class Compaction(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(shards=2, settings=["log.cleaner.backoff.ms=20"]).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
        self.addCleanup(self.admin.close)
        self.written = []  # of one topic, by offset: (key, value)
        self.keys = range(KEYS)

    def create(self, topic, **settings):
        settings = {"segment.bytes": "16384", "min.cleanable.dirty.ratio": "0.01"} | settings
        self.admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])

    def alter(self, topic, **settings):
        settings = {"segment.bytes": "16384", "min.cleanable.dirty.ratio": "0.01"} | {
            name.replace("_", "."): value for name, value in settings.items()}
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])

    def note(self, offset, key, value):
        self.assertEqual(offset, len(self.written))
        self.written.append((key, value))

    def records(self, round_number):
        """A value for every key, but for every fifth a tombstone in the odd rounds."""
        for number in self.keys:
            deletes = round_number % 2 and number % 5 == 0
            yield b"key %d" % number, None if deletes else b"round %d of %d " % (round_number, number) * 8

    def write_kafka_python(self, topic, round_number):
        producer = KafkaProducer(bootstrap_servers=self.broker.address, acks="all", linger_ms=5,
                                 compression_type=(None, "gzip")[round_number // 2 % 2])
        sent = [(producer.send(topic, key=key, value=value), key, value)
                for key, value in self.records(round_number)]
        producer.flush()
        for future, key, value in sent:
            self.note(future.get(PATIENCE_S).offset, key, value)
        producer.close()

    def write_librdkafka(self, topic, round_number):
        producer = Producer({"bootstrap.servers": self.broker.address, "linger.ms": 5,
                             "enable.idempotence": True,
                             "compression.type": ("none", "lz4", "zstd", "snappy")[round_number // 3 % 4]})
        delivered = []
        for key, value in self.records(round_number):
            producer.produce(topic, key=key, value=value, on_delivery=lambda error, message:
                             delivered.append((error, message.offset(), message.key(), message.value())))
        self.assertEqual(producer.flush(PATIENCE_S), 0)
        for error, offset, key, value in sorted(delivered, key=lambda each: each[1]):
            self.assertIsNone(error)
            self.note(offset, key, value)

    def write_kcat(self, topic, round_number):
        lines = b"".join(key + b"|" + (value or b"") + b"\n" for key, value in self.records(round_number))
        subprocess.run(["kcat", "-P", "-b", self.broker.address, "-t", topic, "-p", "0", "-K", "|", "-Z"],
                       input=lines, check=True, timeout=PATIENCE_S)
        for key, value in self.records(round_number):
            self.note(len(self.written), key, value)

    def write(self, topic, rounds=range(ROUNDS)):
        writers = (self.write_kafka_python, self.write_librdkafka, self.write_kcat)
        for round_number in rounds:
            writers[round_number % len(writers)](topic, round_number)

    def read(self, topic):
        """{offset: (key, value)} of all that a consumer gets from the beginning."""
        consumer = Consumer({"bootstrap.servers": self.broker.address, "group.id": "reader",
                             "enable.partition.eof": True, "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found, order = {}, []
        while True:
            message = consumer.poll(PATIENCE_S)
            self.assertIsNotNone(message, "neither a record nor the end of the partition")
            if message.error():
                break
            found[message.offset()] = (message.key(), message.value())
            order.append(message.offset())
        consumer.close()
        self.assertEqual(order, sorted(order))
        return found

    def sealed_end(self, topic):
        paths = glob.glob(f"{self.broker.directory}/topics/{topic}/0-*/*.log")
        return max(int(os.path.basename(path)[:-4]) for path in paths)

    def last_below(self, end):
        return {record[0]: offset for offset, record in enumerate(self.written[:end])}

    def is_compacted(self, topic):
        """Whether the sealed segments hold the last record of each key only. Whatever is there is right."""
        found = self.read(topic)
        end = self.sealed_end(topic)
        for offset, record in found.items():
            self.assertEqual(record, self.written[offset], offset)
        for key, offset in self.last_below(len(self.written)).items():
            if self.written[offset][1] is not None:
                self.assertIn(offset, found, f"the last value of {key}")
        last = set(self.last_below(end).values())
        return {offset for offset in found if offset < end} == last

    def restart(self, end):
        """What was compacted stays so. More may be sealed meanwhile, which is compacted after a while."""
        sealed = self.sealed_end("t")
        before = {offset for offset in self.read("t") if offset < sealed}
        end()
        self.broker.start()
        self.assertLessEqual({offset for offset in self.read("t") if offset < sealed}, before)
        wait_until(lambda: self.is_compacted("t"), "the sealed segments are compacted after a restart")

    def test_the_last_record_of_each_key_stays(self):
        self.create("t", **{"cleanup.policy": "compact"})
        self.write("t")
        self.assertGreater(self.sealed_end("t"), KEYS)
        wait_until(lambda: self.is_compacted("t"), "the sealed segments are compacted")
        self.restart(self.broker.kill)
        self.write("t", range(ROUNDS, ROUNDS + 10))
        wait_until(lambda: self.is_compacted("t"), "compaction goes on after a restart")
        self.restart(self.broker.stop)
        out = subprocess.run(["kcat", "-C", "-b", self.broker.address, "-t", "t", "-o", "beginning", "-e", "-q",
                              "-f", "%o %k\\n"], capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
        self.assertEqual({int(line.split()[0]) for line in out.splitlines()}, set(self.read("t")))

    def test_tombstones_go_in_the_end(self):
        self.create("t", **{"cleanup.policy": "compact", "delete.retention.ms": "1"})
        self.write("t", range(18))

        tombstones = {offset for offset in self.last_below(len(self.written)).values()
                      if self.written[offset][1] is None}
        self.assertEqual(len(tombstones), KEYS // 5)
        self.keys = [number for number in range(KEYS) if number % 5]  # what is deleted stays so

        def write_and_look():
            self.write("t", range(18, 22))
            return not tombstones & set(self.read("t"))

        wait_until(write_and_look, "the tombstones have gone", timeout=PATIENCE_S)
        self.assertFalse([key for key, _ in self.read("t").values() if int(key.split()[1]) % 5 == 0])

    def test_the_policy_takes_effect_when_it_is_altered(self):
        self.create("t", **{"cleanup.policy": "delete"})
        self.write("t", range(12))
        self.assertEqual(len(self.read("t")), len(self.written))
        self.alter("t", cleanup_policy="compact")
        resource = ConfigResource(ConfigResourceType.TOPIC, "t")
        described = {entry[0]: entry[1] for answer in self.admin.describe_configs([resource])
                     for entry in answer.resources[0][4]}
        self.assertEqual(described["cleanup.policy"], "compact")
        self.assertEqual(described["min.cleanable.dirty.ratio"], "0.01")
        wait_until(lambda: self.is_compacted("t"), "the topic is compacted after all")

    def test_a_record_needs_a_key(self):
        self.create("t", **{"cleanup.policy": "compact"})
        self.create("both", **{"cleanup.policy": "compact,delete"})
        with self.broker.connect() as connection:
            for topic in ("t", "both"):
                self.assertEqual(produce(connection, topic, batch(b"value"))[0], INVALID_RECORD)
                self.assertEqual(produce(connection, topic, batch(b"value", key=b"key")), (NONE, 0))


if __name__ == "__main__":
    script.main()
