# SPDX-License-Identifier: Apache-2.0
"""confluent-kafka, that is librdkafka, against the broker: confluent.py BOOTSTRAP [CASE...]."""
import functools
import os
import random
import sys
import time

import cases
from cases import COUNT, RESTART_COUNT, equal, refused, value
from confluent_kafka import (OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions,
                             ConsumerGroupType, IsolationLevel, KafkaError, KafkaException, Producer,
                             TopicCollection, TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource,
                                   NewPartitions, NewTopic, OffsetSpec)

BOOTSTRAP = sys.argv[1]


def refused_with(*codes):
    return refused(KafkaException, holds=lambda error: error.args[0].code() in codes)


class Confluent:
    def __init__(self):
        self.admin = AdminClient({"bootstrap.servers": BOOTSTRAP})

    def create(self, name, partitions=1, factor=1, **config):
        topic = "confluent-" + name
        config = {key.replace("_", "."): text for key, text in config.items()}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=factor, config=config)
        self.admin.create_topics([new])[topic].result(20)
        return topic

    def producer(self, **config):
        settings = {"bootstrap.servers": BOOTSTRAP, "message.timeout.ms": 60000}
        settings.update({key.replace("_", "."): text for key, text in config.items()})
        return Producer(settings)

    def consumer(self, **config):
        settings = {"bootstrap.servers": BOOTSTRAP, "group.id": "none", "check.crcs": True,
                    "enable.auto.commit": False, "auto.offset.reset": "error",
                    "allow.auto.create.topics": False}
        settings.update({key.replace("_", "."): text for key, text in config.items()})
        return Consumer(settings)

    def send(self, topic, *messages, **config):
        """Sends messages (keyword arguments of produce) and returns their reports."""
        producer = self.producer(**config)
        reports = [None] * len(messages)

        def done(i, error, message):
            reports[i] = (error, message)

        for i, message in enumerate(messages):
            producer.produce(topic, on_delivery=functools.partial(done, i), **message)
            producer.poll(0)
        equal(producer.flush(60), 0, "what is left in the producer")
        return reports

    def send_well(self, topic, *messages, **config):
        reports = self.send(topic, *messages, **config)
        equal([str(error) for error, _ in reports if error], [], "errors")
        return [message for _, message in reports]

    def poll(self, consumer, count):
        messages = []
        deadline = time.monotonic() + 20
        while len(messages) < count and time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
        if len(messages) < count:
            raise AssertionError(f"read {len(messages)} of {count} records")
        return messages

    def read(self, topic, count, **config):
        consumer = self.consumer(**config)
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        try:
            return self.poll(consumer, count)
        finally:
            consumer.close()

    def round_trip(self, name, **config):
        topic = self.create(name)
        messages = [{"key": b"key%d" % i, "value": value(i)} for i in range(COUNT)]
        sent = self.send_well(topic, *messages, **config)
        if config.get("acks") != "0":
            equal([message.offset() for message in sent], list(range(COUNT)), "offsets")
        got = self.read(topic, COUNT)
        equal([message.offset() for message in got], list(range(COUNT)), "offsets read")
        equal([(message.key(), message.value()) for message in got],
              [(b"key%d" % i, value(i)) for i in range(COUNT)], "what was read")

    def numbered(self, name, partitions=1, count=100):
        topic = self.create(name, partitions)
        self.send_well(topic, *[{"value": value(i), "partition": p, "timestamp": 1600000000000 + i * 1000}
                                for i in range(count) for p in range(partitions)],
                       linger_ms=100, compression_type="lz4")
        return topic

    def case_metadata(self):
        topic = self.create("metadata", 3)
        listed = self.admin.list_topics(timeout=20)
        equal(len(listed.brokers), 1, "brokers")
        equal(len(listed.topics[topic].partitions), 3, "partitions")
        cluster = self.admin.describe_cluster().result(20)
        equal(cluster.cluster_id, listed.cluster_id, "cluster id")
        equal(len(cluster.nodes), 1, "brokers")
        described = self.admin.describe_topics(TopicCollection([topic]))[topic].result(20)
        equal(len(described.partitions), 3, "partitions")

    def case_topic_create(self):
        topic = self.create("created", -1, -1, retention_ms="1234567")
        with refused_with(KafkaError.TOPIC_ALREADY_EXISTS):
            self.create("created")
        imagined = NewTopic("confluent-imagined", 1, 1)
        self.admin.create_topics([imagined], validate_only=True)["confluent-imagined"].result(20)
        topics = self.admin.list_topics(timeout=20).topics
        equal((topic in topics, "confluent-imagined" in topics), (True, False), "listed")

    def case_topic_delete(self):
        topic = self.create("deleted")
        self.send_well(topic, {"value": b"v"})
        self.admin.delete_topics([topic])[topic].result(20)
        equal(topic in self.admin.list_topics(timeout=20).topics, False, "still listed")
        with refused_with(KafkaError.UNKNOWN_TOPIC_OR_PART):
            self.admin.delete_topics([topic])[topic].result(20)
        self.create("deleted")
        equal(self.watermarks(topic), (0, 0), "offsets")

    def watermarks(self, topic):
        consumer = self.consumer()
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, 0), 20)
        finally:
            consumer.close()

    def case_partitions(self):
        topic = self.create("grown")
        self.admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
        (sent,) = self.send_well(topic, {"value": b"v", "partition": 2})
        equal(sent.partition(), 2, "partition")
        with refused_with(KafkaError.INVALID_PARTITIONS):
            self.admin.create_partitions([NewPartitions(topic, 2)])[topic].result(20)

    def configs(self, kind, name):
        resource = ConfigResource(kind, name)
        return self.admin.describe_configs([resource])[resource].result(20)

    def case_config_read(self):
        topic = self.create("config", retention_ms="5000000")
        configs = self.configs("topic", topic)
        equal(configs["retention.ms"].value, "5000000", "retention.ms")
        equal(configs["retention.ms"].is_default, False, "default")
        equal(configs["cleanup.policy"].value, "delete", "cleanup.policy")
        broker = next(iter(self.admin.list_topics(timeout=20).brokers))
        equal(self.configs("broker", str(broker))["default.replication.factor"].value, "1", "factor")

    def alter(self, topic, name, text, how):
        entry = ConfigEntry(name, text, incremental_operation=how)
        resource = ConfigResource("topic", topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(20)

    def case_config_change(self):
        topic = self.create("changed")
        self.alter(topic, "retention.ms", "777", AlterConfigOpType.SET)
        equal(self.configs("topic", topic)["retention.ms"].value, "777", "retention.ms")
        self.alter(topic, "retention.ms", None, AlterConfigOpType.DELETE)
        equal(self.configs("topic", topic)["retention.ms"].is_default, True, "default")
        with refused_with(KafkaError.INVALID_CONFIG):
            self.alter(topic, "retention.ms", "long", AlterConfigOpType.SET)
        whole = ConfigResource("topic", topic, set_config={"retention.bytes": "123456"})
        self.admin.alter_configs([whole])[whole].result(20)
        equal(self.configs("topic", topic)["retention.bytes"].value, "123456", "retention.bytes")

    def case_headers(self):
        topic = self.create("headers")
        headers = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")]
        self.send_well(topic, {"value": b"v", "headers": headers})
        equal(self.read(topic, 1)[0].headers(), headers, "headers")

    def case_timestamps(self):
        topic = self.create("timestamps")
        self.send_well(topic, {"value": b"v", "timestamp": 1234567890123})
        equal(self.read(topic, 1)[0].timestamp(), (1, 1234567890123), "timestamp")

    def case_append_time(self):
        topic = self.create("append-time", message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000)
        self.send_well(topic, {"value": b"v", "timestamp": 1}, compression_type="gzip")
        kind, stamp = self.read(topic, 1)[0].timestamp()
        equal((kind, stamp >= before), (2, True), "timestamp")

    def case_null(self):
        topic = self.create("null")
        pairs = [(None, b"v"), (b"k", None), (None, None), (b"", b"")]
        self.send_well(topic, *[{"key": key, "value": text} for key, text in pairs])
        equal([(m.key(), m.value()) for m in self.read(topic, 4)], pairs, "pairs")

    def case_large(self):
        topic = self.create("large", max_message_bytes="6000000")
        payload = random.Random(1).randbytes(5000000)
        self.send_well(topic, {"value": payload}, message_max_bytes=6000000)
        equal(self.read(topic, 1)[0].value() == payload, True, "the same value")

    def case_too_large(self):
        topic = self.create("too-large", max_message_bytes="1000")
        ((error, _),) = self.send(topic, {"value": bytes(5000)})
        equal(error.code(), KafkaError.MSG_SIZE_TOO_LARGE, "the error")
        self.send_well(topic, {"value": bytes(50)})

    def case_assign(self):
        topic = self.numbered("assign", 2)
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in (0, 1)])
        self.poll(consumer, 200)
        consumer.seek(TopicPartition(topic, 1, 42))
        (message,) = self.poll(consumer, 1)
        equal((message.partition(), message.offset()), (1, 42), "after seek")
        consumer.close()

    def case_read_committed(self):
        topic = self.numbered("read-committed")
        self.read(topic, 100, isolation_level="read_committed")

    def case_offsets(self):
        topic = self.numbered("offsets")
        equal(self.watermarks(topic), (0, 100), "offsets")
        where = TopicPartition(topic, 0)
        for spec, want in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 100),
                           (OffsetSpec.max_timestamp(), 99)):
            found = self.admin.list_offsets({where: spec}, isolation_level=IsolationLevel.READ_COMMITTED)
            equal(found[where].result(20).offset, want, str(spec))

    def case_offsets_by_time(self):
        topic = self.numbered("by-time")
        consumer = self.consumer()
        for wanted, offset in ((1599999999999, 0), (1600000000000, 0), (1600000041001, 42),
                               (1600000099000, 99), (1700000000000, -1)):
            (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, wanted)], 20)
            equal(found.offset, offset, f"the offset of {wanted}")
        consumer.close()

    def case_delete_records(self):
        topic = self.numbered("delete-records")
        before = TopicPartition(topic, 0, 30)
        (deleted,) = self.admin.delete_records([before]).values()
        equal(deleted.result(20).low_watermark, 30, "low watermark")
        equal(self.watermarks(topic), (30, 100), "offsets")
        equal(self.read(topic, 70)[0].offset(), 30, "the first record")
        with refused_with(KafkaError.OFFSET_OUT_OF_RANGE):
            (deleted,) = self.admin.delete_records([TopicPartition(topic, 0, 500)]).values()
            deleted.result(20)

    def case_commit(self):
        topic = self.numbered("commit", 2, 10)
        where = TopicPartition(topic, 1)
        consumer = self.consumer(group_id="confluent-standalone")
        consumer.assign([where])
        equal(consumer.committed([where], 20)[0].offset, -1001, "committed before")
        consumer.commit(offsets=[TopicPartition(topic, 1, 7, metadata="a note")], asynchronous=False)
        consumer.close()
        consumer = self.consumer(group_id="confluent-standalone")
        (found,) = consumer.committed([where], 20)
        equal((found.offset, found.metadata), (7, "a note"), "committed")
        consumer.assign([where])
        equal(self.poll(consumer, 1)[0].offset(), 7, "the first record")
        consumer.close()
        group = ConsumerGroupTopicPartitions("confluent-standalone", [TopicPartition(topic, 1, 2)])
        self.admin.alter_consumer_group_offsets([group])["confluent-standalone"].result(20)
        group = ConsumerGroupTopicPartitions("confluent-standalone")
        listed = self.admin.list_consumer_group_offsets([group])["confluent-standalone"].result(20)
        equal([(p.partition, p.offset) for p in listed.topic_partitions], [(1, 2)], "listed")

    def case_unknown_topic(self):
        with refused_with(KafkaError.UNKNOWN_TOPIC_OR_PART):
            self.admin.describe_topics(TopicCollection(["confluent-nowhere"]))["confluent-nowhere"].result(20)
        with refused_with(KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC,
                          KafkaError.UNKNOWN_TOPIC_OR_PART):
            self.watermarks("confluent-nowhere")
        ((error, _),) = self.send(self.create("one-partition"), {"value": b"v", "partition": 9},
                                  message_timeout_ms=3000)
        equal(error.code() in (KafkaError._UNKNOWN_PARTITION, KafkaError._MSG_TIMED_OUT), True, "refused")
        equal("confluent-nowhere" in self.admin.list_topics(timeout=20).topics, False, "created")

    def case_auto_create(self):
        self.send_well("confluent-by-itself", {"value": b"v"})
        equal(self.read("confluent-by-itself", 1)[0].value(), b"v", "value")

    def case_bad_topic(self):
        for name in ("with space", "x" * 250, "a/b"):
            with refused_with(KafkaError.TOPIC_EXCEPTION):
                self.create(name)
        with refused_with(KafkaError.INVALID_REPLICATION_FACTOR):
            self.create("copies", 1, 3)
        with refused_with(KafkaError.INVALID_CONFIG):
            self.create("odd", retention_ms="long")

    def case_out_of_range(self):
        topic = self.create("out-of-range")
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, 0, 500)])
        with refused_with(KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
            self.poll(consumer, 1)
        consumer.close()

    def produce_interrupted(self, topic, kills, **config):
        """Produces while the broker is killed; who was acknowledged at which partition and offset."""
        producer = self.producer(acks="all", reconnect_backoff_max_ms=200, **config)
        acknowledged, errors = {}, []

        def done(i, error, message):
            if error is not None:
                errors.append(error.str())
            else:
                acknowledged[message.partition(), message.offset()] = i

        for i in range(RESTART_COUNT):
            producer.produce(topic, partition=i % 2, value=value(i),
                             on_delivery=functools.partial(done, i))
            if i in kills:
                while len(acknowledged) < i // 2:
                    producer.poll(0.1)
                cases.restart_now()
            if i % 10 == 0:
                producer.poll(0.002)
        equal(producer.flush(60), 0, "what is left in the producer")
        equal(errors, [], "errors")
        equal(len(acknowledged), RESTART_COUNT, "different offsets acknowledged")
        return acknowledged

    def read_both(self, topic):
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in (0, 1)])
        total = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 20)[1] for p in (0, 1))
        found = {(m.partition(), m.offset()): m.value() for m in self.poll(consumer, total)}
        consumer.close()
        return found

    def case_restart(self):
        topic = self.create("restart", 2)
        acknowledged = self.produce_interrupted(topic, cases.KILLS[:1])
        found = self.read_both(topic)
        wrong = [where for where, i in acknowledged.items() if found.get(where) != value(i)]
        equal(wrong, [], "acknowledged and not there")

    def case_once(self):
        topic = self.create("once", 2)
        acknowledged = self.produce_interrupted(topic, cases.KILLS, enable_idempotence=True)
        cases.each_once(acknowledged, self.read_both(topic))

    def case_idempotent(self):
        self.round_trip("idempotent", enable_idempotence=True, message_timeout_ms=8000, linger_ms=0)

    def case_transaction(self):
        topic = self.create("transaction")
        producer = self.producer(transactional_id="confluent-transaction")
        producer.init_transactions(8)
        producer.begin_transaction()
        producer.produce(topic, b"aborted")
        producer.abort_transaction(20)
        producer.begin_transaction()
        producer.produce(topic, b"committed")
        producer.commit_transaction(20)
        equal(self.read(topic, 1, isolation_level="read_committed")[0].value(), b"committed", "value")

    def case_group(self):
        topic = self.numbered("group", 2, 10)
        consumer = self.consumer(group_id="confluent-group", auto_offset_reset="earliest")
        consumer.subscribe([topic])
        self.poll(consumer, 20)
        consumer.commit(asynchronous=False)
        consumer.close()

    def until_split(self, members, each):
        """Polls all, for what they are told happens there, until the partitions are split so."""
        deadline = time.monotonic() + 20
        while any(len(member.assignment()) != each for member in members):
            equal(time.monotonic() < deadline, True, "split in time")
            for member in members:
                member.poll(0.05)

    def case_group_next(self):
        topic, name = self.numbered("group-next", 2, 10), "confluent-group-next"
        config = {"group_id": name, "auto_offset_reset": "earliest", "group_protocol": "consumer"}
        first, second = self.consumer(**config), self.consumer(**config)
        first.subscribe([topic])
        self.poll(first, 20)
        first.commit(asynchronous=False)
        second.subscribe(["^" + topic[:-3] + ".*"])
        self.until_split([first, second], 1)
        group = self.admin.describe_consumer_groups([name])[name].result(20)
        equal((group.type, group.partition_assignor, len(group.members)),
              (ConsumerGroupType.CONSUMER, "uniform", 2), "the group")
        second.close()
        self.until_split([first], 2)
        first.close()
        listed = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])
        equal([p.offset for p in listed[name].result(20).topic_partitions], [10, 10], "committed")


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    setattr(Confluent, "case_codec_" + codec, lambda self, codec=codec: self.round_trip(
        "codec-" + codec, compression_type=codec, linger_ms=10))
for acks in ("0", "1", "all"):
    setattr(Confluent, "case_acks_" + acks, lambda self, acks=acks: self.round_trip(
        "acks-" + acks, acks=acks))

if __name__ == "__main__":
    cases.run(Confluent())
    sys.stdout.flush()
    os._exit(0)  # without the clients' goodbyes: a case that failed may have left one waiting
