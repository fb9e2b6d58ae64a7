# SPDX-License-Identifier: Apache-2.0
"""The broker is killed with SIGKILL under load, again and again. Afterwards every acknowledged record
is at the offset that was acknowledged, byte for byte, once, and in the order it was sent.

The client is a foreign one (librdkafka) and does not retry, so that one acknowledgement stands for
one record."""
import random
import threading
import unittest

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from harness import script
from harness.broker import PATIENCE_S, Broker

PARTITIONS = 3
ROUNDS = 6


class Load(threading.Thread):
    """Produces to every partition until told to stop; keeps what was acknowledged."""

    def __init__(self, address, topic, round_number):
        super().__init__()
        self.topic = topic
        self.round_number = round_number
        self.halt = threading.Event()
        self.acknowledged = []  # (partition, offset, value)
        self.enough = threading.Event()
        self.producer = Producer({"bootstrap.servers": address, "acks": "all", "retries": 0,
                                  "linger.ms": 1, "log_level": 0,
                                  "max.in.flight.requests.per.connection": 5})

    def delivered(self, error, message):
        if error is None:
            self.acknowledged.append((message.partition(), message.offset(), message.value()))
            if len(self.acknowledged) > 2000:
                self.enough.set()

    def run(self):
        number = 0
        while not self.halt.is_set():
            value = b"%d/%d " % (self.round_number, number) + b"x" * (number * 37 % 1500)
            try:
                self.producer.produce(self.topic, value, partition=number % PARTITIONS,
                                      on_delivery=self.delivered)
                number += 1
            except BufferError:
                self.producer.poll(0.01)
            self.producer.poll(0)
        self.producer.purge()
        self.producer.flush(PATIENCE_S)


class SigKill(unittest.TestCase):
    def check(self, broker, topic, acknowledged):
        stored = {}
        consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "checker",
                             "enable.auto.commit": False, "enable.partition.eof": True,
                             "auto.offset.reset": "error", "check.crcs": True, "log_level": 0,
                             "fetch.wait.max.ms": 20})
        for partition in range(PARTITIONS):
            consumer.assign([TopicPartition(topic, partition, 0)])
            while True:
                message = consumer.poll(PATIENCE_S)
                self.assertIsNotNone(message, "the end of the partition did not come")
                if message.error():
                    self.assertEqual(message.error().code(), KafkaError._PARTITION_EOF)
                    break
                self.assertNotIn((partition, message.offset()), stored)
                stored[partition, message.offset()] = message.value()
        consumer.close()
        for partition, offset, value in acknowledged:
            self.assertEqual(stored.get((partition, offset)), value, (partition, offset))
        values = [value for value in stored.values()]
        self.assertEqual(len(values), len(set(values)), "a record is there twice")
        for partition in range(PARTITIONS):
            order = [tuple(map(int, stored[key].split(b" ")[0].split(b"/")))
                     for key in sorted(stored) if key[0] == partition]
            self.assertEqual(order, sorted(order), "records of one producer changed their order")

    def run_rounds(self, shards, settings):
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        chance = random.Random(seed)
        with Broker(shards=shards, settings=["num.partitions=3", *settings]) as broker:
            acknowledged = []
            for number in range(ROUNDS):
                load = Load(broker.address, "torture", number)
                load.start()
                self.assertTrue(load.enough.wait(PATIENCE_S), "too few acknowledgements to kill under load")
                threading.Event().wait(chance.random() * 0.2)
                broker.kill()
                load.halt.set()
                load.join()
                acknowledged += load.acknowledged
                broker.start()
                self.check(broker, "torture", acknowledged)
            self.assertGreater(len(acknowledged), ROUNDS * 2000)

    def test_one_shard(self):
        self.run_rounds(1, [])

    def test_two_shards_and_small_segments(self):
        self.run_rounds(2, ["log.segment.bytes=1048576"])


if __name__ == "__main__":
    script.main()
