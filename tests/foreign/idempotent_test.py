# SPDX-License-Identifier: Apache-2.0
"""librdkafka with enable.idempotence: the broker is killed again and again while it sends, and still
each record is there once, in order."""
import random
import unittest

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from harness import script
from harness.broker import PATIENCE_S, Broker

TOPIC = "numbers"
PARTITIONS = 3
RECORDS = 30000
KILLS = 12


class Sender:
    """Sends numbers, and knows of each what was reported."""

    def __init__(self, broker, **config):
        self.reports = {}
        self.failures = []
        self.next = 0
        settings = {"bootstrap.servers": broker.address, "enable.idempotence": True,
                    "message.timeout.ms": 120000, "linger.ms": 1, "reconnect.backoff.max.ms": 200,
                    "retry.backoff.ms": 20, "batch.num.messages": 50, "log_level": 0}
        settings.update(config)
        self.producer = Producer(settings, error_cb=self.on_error)

    def on_error(self, error):
        if error.fatal():
            self.failures.append(error)

    def on_delivery(self, error, message):
        if error:
            self.failures.append(error)
        else:
            number = int(message.value().split(b" ")[0])
            assert number not in self.reports, "reported twice"
            self.reports[number] = message.offset()

    def send_some(self, until):
        """Sends until so many are reported, or everything is sent."""
        while len(self.reports) < until and not self.failures:
            while self.next < RECORDS and self.next < len(self.reports) + 2000:
                self.producer.produce(TOPIC, value=b"%d and some more" % self.next,
                                      partition=self.next % PARTITIONS, on_delivery=self.on_delivery)
                self.next += 1
            self.producer.poll(0.01)


class Idempotent(unittest.TestCase):
    shards = 1

    def read(self, broker, partition):
        consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "none",
                             "enable.auto.commit": False, "enable.partition.eof": True,
                             "check.crcs": True})
        consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING)])
        numbers = []
        while True:
            message = consumer.poll(PATIENCE_S)
            self.assertIsNotNone(message, "the end of the partition did not come")
            if message.error():
                self.assertEqual(message.error().code(), KafkaError._PARTITION_EOF)
                consumer.close()
                return numbers
            self.assertEqual(message.offset(), len(numbers))
            numbers.append(int(message.value().split(b" ")[0]))

    def check(self, broker, sender):
        for partition in range(PARTITIONS):
            numbers = self.read(broker, partition)
            self.assertEqual(numbers, list(range(partition, RECORDS, PARTITIONS)))
            for offset, number in enumerate(numbers):
                self.assertIn(sender.reports[number], (offset, -1))

    def test_each_record_once_though_the_broker_is_killed(self):
        chance = random.Random(self.shards)
        settings = [f"num.partitions={PARTITIONS}", "log.segment.bytes=65536"]
        with Broker(shards=self.shards, settings=settings) as broker:
            sender = Sender(broker)
            for i in range(KILLS):
                sender.send_some(RECORDS * (i + 1) // (KILLS + 1))
                self.assertEqual(sender.failures, [])
                for _ in range(chance.randrange(4)):
                    sender.producer.poll(0.001)
                broker.kill()
                broker.start()
            sender.send_some(RECORDS)
            self.assertEqual(sender.failures, [])
            self.check(broker, sender)


class IdempotentTwoShards(Idempotent):
    shards = 2


if __name__ == "__main__":
    script.main()
