# SPDX-License-Identifier: Apache-2.0
"""kafka-python against the broker: kafka_python.py BOOTSTRAP [CASE...]."""
import os
import random
import sys
import time

import cases
from cases import COUNT, RESTART_COUNT, equal, refused, value
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import (InvalidConfigurationError, InvalidPartitionsError,
                          InvalidReplicationFactorError, InvalidTopicError,
                          MessageSizeTooLargeError, OffsetOutOfRangeError, TopicAlreadyExistsError,
                          UnknownTopicOrPartitionError)
from kafka.structs import OffsetAndMetadata

BOOTSTRAP = sys.argv[1]


class KafkaPython:
    def __init__(self):
        # Calls fail at once while the client waits before it connects anew to a broker that was killed.
        self.admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP, reconnect_backoff_max_ms=50)

    def create(self, name, partitions=1, factor=1, validate_only=False, **config):
        topic = "kp-" + name
        config = {key.replace("_", "."): text for key, text in config.items()}
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": factor,
                                          "configs": config}}, validate_only=validate_only)
        return topic

    def send(self, topic, *messages, **config):
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
        try:
            sent = [producer.send(topic, **message) for message in messages]
            producer.flush(30)
            return [one.get(30) for one in sent]
        finally:
            producer.close(5)

    def consumer(self, **config):
        return KafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False,
                             auto_offset_reset="none", **config)

    def poll(self, consumer, count):
        records = []
        deadline = time.monotonic() + 20
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
        if len(records) < count:
            raise AssertionError(f"read {len(records)} of {count} records")
        return records

    def read(self, topic, count, offset=0, partition=0, **config):
        consumer = self.consumer(**config)
        try:
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            consumer.seek(where, offset)
            return self.poll(consumer, count)
        finally:
            consumer.close()

    def round_trip(self, name, **config):
        topic = self.create(name)
        sent = self.send(topic, *[{"key": b"key%d" % i, "value": value(i)} for i in range(COUNT)], **config)
        if config.get("acks") != 0:
            equal([m.offset for m in sent], list(range(COUNT)), "offsets")
        got = self.read(topic, COUNT, check_crcs=True)
        equal([(r.offset, r.key, r.value) for r in got],
              [(i, b"key%d" % i, value(i)) for i in range(COUNT)], "what was read")

    def numbered(self, name, partitions=1, count=100):
        topic = self.create(name, partitions)
        self.send(topic, *[{"value": value(i), "partition": p, "timestamp_ms": 1600000000000 + i * 1000}
                           for i in range(count) for p in range(partitions)],
                  linger_ms=50, compression_type="lz4")
        return topic

    def case_metadata(self):
        topic = self.create("metadata", 3)
        equal(len(self.admin.describe_cluster()["brokers"]), 1, "brokers")
        (described,) = self.admin.describe_topics([topic])
        equal(len(described["partitions"]), 3, "partitions")

    def case_topic_create(self):
        topic = self.create("created", -1, -1, retention_ms="1234567")
        equal(topic in self.admin.list_topics(), True, "listed")
        with refused(TopicAlreadyExistsError):
            self.create("created")
        imagined = self.create("imagined", validate_only=True)
        equal(imagined in self.admin.list_topics(), False, "validated, and created")

    def case_topic_delete(self):
        topic = self.create("deleted")
        self.send(topic, {"value": b"v"})
        self.admin.delete_topics([topic])
        equal(topic in self.admin.list_topics(), False, "listed")
        with refused(UnknownTopicOrPartitionError):
            self.admin.delete_topics([topic])
        self.create("deleted")
        equal(self.ends(topic), (0, 0), "offsets")

    def ends(self, topic):
        consumer = self.consumer()
        where = TopicPartition(topic, 0)
        try:
            return consumer.beginning_offsets([where])[where], consumer.end_offsets([where])[where]
        finally:
            consumer.close()

    def case_partitions(self):
        topic = self.create("grown")
        self.admin.create_partitions({topic: 3})
        (sent,) = self.send(topic, {"value": b"v", "partition": 2})
        equal(sent.partition, 2, "partition")
        with refused(InvalidPartitionsError):
            self.admin.create_partitions({topic: 2})

    def config(self, kind, name):
        found = self.admin.describe_configs([ConfigResource(kind, name)], config_filter="all")
        entries = next(iter(found.values()))[name]
        return {key: entry["value"] for key, entry in entries.items()}

    def case_config_read(self):
        topic = self.create("config", retention_ms="5000000")
        equal(self.config(ConfigResourceType.TOPIC, topic)["retention.ms"], "5000000", "retention.ms")
        broker = str(self.admin.describe_cluster()["brokers"][0]["broker_id"])
        equal(self.config(ConfigResourceType.BROKER, broker)["default.replication.factor"], "1", "factor")

    def case_config_change(self):
        topic = self.create("changed")
        before = self.config(ConfigResourceType.TOPIC, topic)["retention.ms"]
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "777"})])
        equal(self.config(ConfigResourceType.TOPIC, topic)["retention.ms"], "777", "retention.ms")
        self.admin.reset_configs([ConfigResource(ConfigResourceType.TOPIC, topic, ["retention.ms"])])
        equal(self.config(ConfigResourceType.TOPIC, topic)["retention.ms"], before, "retention.ms")
        said = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic,
                                                        {"retention.ms": "long"})])
        equal("InvalidConfigurationError" in str(said), True, "refused")

    def case_headers(self):
        topic = self.create("headers")
        headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
        self.send(topic, {"value": b"v", "headers": headers})
        equal(list(self.read(topic, 1)[0].headers), headers, "headers")

    def case_timestamps(self):
        topic = self.create("timestamps")
        self.send(topic, {"value": b"v", "timestamp_ms": 1234567890123})
        (got,) = self.read(topic, 1)
        equal((got.timestamp, got.timestamp_type), (1234567890123, 0), "timestamp")

    def case_append_time(self):
        topic = self.create("append-time", message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000)
        self.send(topic, {"value": b"v", "timestamp_ms": 1}, compression_type="gzip")
        (got,) = self.read(topic, 1, check_crcs=True)
        equal((got.timestamp >= before, got.timestamp_type), (True, 1), "timestamp")

    def case_null(self):
        topic = self.create("null")
        pairs = [(None, b"v"), (b"k", None), (b"", b"")]
        self.send(topic, *[{"key": key, "value": text} for key, text in pairs])
        equal([(r.key, r.value) for r in self.read(topic, 3)], pairs, "pairs")

    def case_large(self):
        topic = self.create("large", max_message_bytes="6000000")
        payload = random.Random(1).randbytes(5000000)
        self.send(topic, {"value": payload}, max_request_size=6000000)
        equal(self.read(topic, 1)[0].value == payload, True, "the same value")

    def case_too_large(self):
        topic = self.create("too-large", max_message_bytes="1000")
        with refused(MessageSizeTooLargeError):
            self.send(topic, {"value": bytes(5000)})
        self.send(topic, {"value": bytes(50)})

    def case_assign(self):
        topic = self.numbered("assign", 2)
        consumer = self.consumer()
        both = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
        consumer.assign(both)
        consumer.seek_to_beginning(*both)
        self.poll(consumer, 200)
        consumer.close()
        equal(self.read(topic, 1, 42, 1)[0].offset, 42, "offset after seek")

    def case_read_committed(self):
        self.read(self.numbered("read-committed"), 100, isolation_level="read_committed")

    def case_offsets(self):
        topic = self.numbered("offsets")
        equal(self.ends(topic), (0, 100), "offsets")
        where = TopicPartition(topic, 0)
        for spec, want in ((OffsetSpec.EARLIEST, 0), (OffsetSpec.LATEST, 100), (OffsetSpec.MAX_TIMESTAMP, 99)):
            equal(self.admin.list_partition_offsets({where: spec})[where].offset, want, str(spec))

    def case_offsets_by_time(self):
        where = TopicPartition(self.numbered("by-time"), 0)
        consumer = self.consumer()
        for wanted, offset in ((1599999999999, 0), (1600000041001, 42), (1600000099000, 99)):
            found = consumer.offsets_for_times({where: wanted})[where]
            equal((found.offset, found.timestamp), (offset, 1600000000000 + offset * 1000), "found")
        equal(consumer.offsets_for_times({where: 1700000000000})[where], None, "after the end")
        consumer.close()

    def case_delete_records(self):
        where = TopicPartition(self.numbered("delete-records"), 0)
        self.admin.delete_records({where: 30})
        equal(self.ends(where.topic), (30, 100), "offsets")
        equal(self.read(where.topic, 70, 30)[0].offset, 30, "the first record")
        with refused(OffsetOutOfRangeError):
            self.admin.delete_records({where: 500})

    def case_commit(self):
        where = TopicPartition(self.numbered("commit", 2, 10), 1)
        consumer = self.consumer(group_id="kp-standalone")
        consumer.assign([where])
        equal(consumer.committed(where), None, "committed before")
        consumer.commit({where: OffsetAndMetadata(7, "a note", -1)})
        consumer.close()
        consumer = self.consumer(group_id="kp-standalone")
        consumer.assign([where])
        found = consumer.committed(where, metadata=True)
        equal((found.offset, found.metadata), (7, "a note"), "committed")
        equal(self.poll(consumer, 3)[0].offset, 7, "the first record")
        consumer.close()
        self.admin.alter_group_offsets("kp-standalone", {where: OffsetAndMetadata(2, "", -1)})
        listed = self.admin.list_group_offsets(["kp-standalone"])
        equal(listed["kp-standalone"][where].offset, 2, "listed")

    def case_unknown_topic(self):
        (described,) = self.admin.describe_topic_partitions(["kp-nowhere"])["topics"]
        equal(described["error_code"], UnknownTopicOrPartitionError.errno, "error")
        equal("kp-nowhere" in self.admin.list_topics(), False, "created")

    def case_auto_create(self):
        self.send("kp-by-itself", {"value": b"v"})
        equal(self.read("kp-by-itself", 1)[0].value, b"v", "value")

    def case_bad_topic(self):
        for name in ("with space", "x" * 250, "a/b"):
            with refused(InvalidTopicError):
                self.create(name)
        with refused(InvalidReplicationFactorError):
            self.create("copies", 1, 3)
        with refused(InvalidConfigurationError):
            self.create("odd", retention_ms="long")

    def case_out_of_range(self):
        topic = self.create("out-of-range")
        with refused(OffsetOutOfRangeError):
            self.read(topic, 1, 500)

    def produce_interrupted(self, topic, kills, **config):
        """Produces while the broker is killed; who was acknowledged at which partition and offset."""
        acknowledged, waiting = {}, []
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, delivery_timeout_ms=60000,
                                 request_timeout_ms=10000, **config)
        for i in range(RESTART_COUNT):
            waiting.append(producer.send(topic, value(i), partition=i % 2))
            if i in kills:
                waiting[i - i // 8].get(20)
                cases.restart_now()
            if i % 10 == 0:
                time.sleep(0.002)
        for i, one in enumerate(waiting):
            sent = one.get(60)
            acknowledged[sent.partition, sent.offset] = i
        producer.close(5)
        equal(len(acknowledged), RESTART_COUNT, "different offsets acknowledged")
        return acknowledged

    def case_restart(self):
        topic = self.create("restart", 2)
        acknowledged = self.produce_interrupted(topic, cases.KILLS[:1], enable_idempotence=False,
                                                acks="all", retries=1000)
        found = {}
        for p in (0, 1):
            count = 1 + max(offset for partition, offset in acknowledged if partition == p)
            found.update({(p, r.offset): r.value for r in self.read(topic, count, 0, p)})
        wrong = [where for where, i in acknowledged.items() if found.get(where) != value(i)]
        equal(wrong, [], "acknowledged and not there")

    def case_once(self):
        """With the client's own settings: idempotent."""
        topic = self.create("once", 2)
        acknowledged = self.produce_interrupted(topic, cases.KILLS)
        both = [TopicPartition(topic, p) for p in (0, 1)]
        consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP)
        ends = consumer.end_offsets(both)
        consumer.close()
        found = {(p.partition, r.offset): r.value for p in both
                 for r in self.read(topic, ends[p], 0, p.partition)}
        cases.each_once(acknowledged, found)

    def case_idempotent(self):
        topic = self.create("idempotent")
        self.send(topic, {"value": b"v"}, enable_idempotence=True, delivery_timeout_ms=8000,
                  request_timeout_ms=5000)

    def case_transaction(self):
        topic = self.create("transaction")
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id="kp-transaction",
                                 max_block_ms=8000)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"committed")
        producer.commit_transaction()
        producer.close(5)
        self.read(topic, 1, isolation_level="read_committed")

    def case_group(self):
        topic = self.numbered("group", 2, 10)
        consumer = KafkaConsumer(topic, bootstrap_servers=BOOTSTRAP, group_id="kp-group",
                                 auto_offset_reset="earliest")
        self.poll(consumer, 20)
        consumer.close()


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    setattr(KafkaPython, "case_codec_" + codec, lambda self, codec=codec: self.round_trip(
        "codec-" + codec, compression_type=None if codec == "none" else codec, linger_ms=10))
for acks in (0, 1, "all"):
    setattr(KafkaPython, f"case_acks_{acks}", lambda self, acks=acks: self.round_trip(f"acks-{acks}", acks=acks))

if __name__ == "__main__":
    cases.run(KafkaPython())
    sys.stdout.flush()
    os._exit(0)
