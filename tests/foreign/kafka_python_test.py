# SPDX-License-Identifier: Apache-2.0
"""python3-kafka, unmodified: a client that shares no code with librdkafka."""
import time
import unittest

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import InvalidReplicationFactorError, InvalidTopicError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from harness import script
from harness.broker import PATIENCE_S, Broker
from harness.kafka_python import KafkaAdminClient, KafkaConsumer, KafkaProducer


class KafkaPython(unittest.TestCase):
    shards = 1

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(shards=cls.shards).start()
        cls.admin = KafkaAdminClient(bootstrap_servers=cls.broker.address)

    @classmethod
    def tearDownClass(cls):
        cls.admin.close()
        cls.broker.__exit__(None, None, None)

    def consumer(self, **config):
        consumer = KafkaConsumer(bootstrap_servers=self.broker.address, enable_auto_commit=False,
                                 auto_offset_reset="none", **config)
        self.addCleanup(consumer.close)
        return consumer

    def read(self, topic, count, partition=0, offset=0):
        consumer = self.consumer()
        where = TopicPartition(topic, partition)
        consumer.assign([where])
        consumer.seek(where, offset)
        records = []
        deadline = time.monotonic() + PATIENCE_S
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=1000).values():
                records += batch
        self.assertEqual(len(records), count)
        return records

    def test_produce_and_consume(self):
        for codec in (None, "gzip"):
            for acks in (0, 1, "all"):
                with self.subTest(codec=codec, acks=acks):
                    topic = f"roundtrip-{codec}-{acks}"
                    self.admin.create_topics([NewTopic(topic, 2, 1)])
                    producer = KafkaProducer(bootstrap_servers=self.broker.address, acks=acks,
                                             compression_type=codec, linger_ms=5)
                    for i in range(1000):
                        producer.send(topic, key=b"k%d" % i, value=b"v%d" % i, partition=1,
                                      headers=[("n", b"%d" % i)], timestamp_ms=1700000000000 + i)
                    producer.flush()
                    producer.close()
                    for i, record in enumerate(self.read(topic, 1000, partition=1)):
                        self.assertEqual((record.offset, record.key, record.value, record.timestamp),
                                         (i, b"k%d" % i, b"v%d" % i, 1700000000000 + i))
                        self.assertEqual(record.headers, [("n", b"%d" % i)])

    def test_offsets(self):
        topic = "offsets"
        where = TopicPartition(topic, 0)
        self.admin.create_topics([NewTopic(topic, 1, 1)])
        producer = KafkaProducer(bootstrap_servers=self.broker.address)
        for i in range(50):
            producer.send(topic, value=b"x", timestamp_ms=1000 * i).get(PATIENCE_S)
        producer.close()
        consumer = self.consumer()
        self.assertEqual(consumer.beginning_offsets([where]), {where: 0})
        self.assertEqual(consumer.end_offsets([where]), {where: 50})
        found = consumer.offsets_for_times({where: 20500})[where]
        self.assertEqual((found.offset, found.timestamp), (21, 21000))
        self.assertIsNone(consumer.offsets_for_times({where: 10**12})[where])

    def test_topic_administration(self):
        self.admin.create_topics([NewTopic("managed", 3, 1, topic_configs={"segment.bytes": "2097152"})])
        with self.assertRaises(TopicAlreadyExistsError):
            self.admin.create_topics([NewTopic("managed", 3, 1)])
        with self.assertRaises(InvalidReplicationFactorError):
            self.admin.create_topics([NewTopic("tripled", 3, 3)])
        with self.assertRaises(InvalidTopicError):
            self.admin.create_topics([NewTopic("no way", 1, 1)])
        self.admin.create_partitions({"managed": NewPartitions(5)})
        (described,) = self.admin.describe_topics(["managed"])
        self.assertEqual(len(described["partitions"]), 5)
        resource = ConfigResource(ConfigResourceType.TOPIC, "managed")
        (response,) = self.admin.describe_configs([resource])
        configs = {row[0]: row[1] for row in response.resources[0][4]}
        self.assertEqual(configs["segment.bytes"], "2097152")
        self.assertIn("retention.ms", configs)
        self.admin.delete_topics(["managed"])
        self.assertNotIn("managed", self.admin.list_topics())

    def test_cluster(self):
        cluster = self.admin.describe_cluster()
        self.assertEqual(len(cluster["brokers"]), 1)
        self.assertTrue(cluster["cluster_id"])

    def test_committed_offsets_survive_a_kill(self):
        """A standalone consumer: it commits without being a member of the group."""
        where = TopicPartition("committed", 0)

        def consumer(broker):
            consumer = KafkaConsumer(bootstrap_servers=broker.address, group_id="standalone",
                                     enable_auto_commit=False)
            self.addCleanup(consumer.close, autocommit=False)
            consumer.assign([where])
            return consumer

        with Broker(shards=self.shards) as broker:
            producer = KafkaProducer(bootstrap_servers=broker.address)
            self.assertEqual(producer.partitions_for("committed"), {0})
            producer.close()
            first = consumer(broker)
            self.assertIsNone(first.committed(where))
            first.commit({where: OffsetAndMetadata(17, "note")})
            self.assertEqual(first.committed(where), 17)
            broker.kill()
            broker.start()
            self.assertEqual(consumer(broker).committed(where), 17)


class KafkaPythonTwoShards(KafkaPython):
    shards = 2


if __name__ == "__main__":
    script.main()
