# SPDX-License-Identifier: Apache-2.0
"""aiokafka against the broker: aio.py BOOTSTRAP [CASE...]."""
import asyncio
import os
import random
import sys
import time

import cases
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from cases import COUNT, RESTART_COUNT, Absent, equal, refused, value

BOOTSTRAP = sys.argv[1]


class Aio:
    async def create(self, name, partitions=1, factor=1, expect=0, **config):
        topic = name if "/" in name or " " in name or len(name) > 200 else "aio-" + name
        config = {key.replace("_", "."): text for key, text in config.items()}
        made = await self.admin.create_topics([NewTopic(topic, partitions, factor, topic_configs=config)])
        equal([error[1] for error in made.topic_errors], [expect], f"the error of creating {topic[:40]}")
        return topic

    async def send(self, topic, *messages, **config):
        """Messages are keyword arguments of send; returns their metadata."""
        async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config) as producer:
            sent = [await producer.send(topic, **message) for message in messages]
            return [await asyncio.wait_for(one, 20) for one in sent]

    def consumer(self, **config):
        return AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False,
                                auto_offset_reset="none", **config)

    async def poll(self, consumer, count):
        records = []
        deadline = time.monotonic() + 20
        while len(records) < count and time.monotonic() < deadline:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        if len(records) < count:
            raise AssertionError(f"read {len(records)} of {count} records")
        return records

    async def read(self, topic, count, offset=0, partition=0, **config):
        async with self.consumer(**config) as consumer:
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            consumer.seek(where, offset)
            return await self.poll(consumer, count)

    async def round_trip(self, name, **config):
        topic = await self.create(name)
        sent = await self.send(topic, *[{"key": b"key%d" % i, "value": value(i)} for i in range(COUNT)],
                               **config)
        if config.get("acks") != 0:
            equal([m.offset for m in sent], list(range(COUNT)), "offsets")
        got = await self.read(topic, COUNT)
        equal([(r.offset, r.key, r.value) for r in got],
              [(i, b"key%d" % i, value(i)) for i in range(COUNT)], "what was read")

    async def numbered(self, name, partitions=1, count=100):
        topic = await self.create(name, partitions)
        await self.send(topic, *[{"value": value(i), "partition": p, "timestamp_ms": 1600000000000 + i * 1000}
                                 for i in range(count) for p in range(partitions)],
                        linger_ms=50, compression_type="lz4")
        return topic

    async def case_metadata(self):
        topic = await self.create("metadata", 3)
        equal(len((await self.admin.describe_cluster())["brokers"]), 1, "brokers")
        (described,) = await self.admin.describe_topics([topic])
        equal(len(described["partitions"]), 3, "partitions")

    async def case_topic_create(self):
        topic = await self.create("created", retention_ms="1234567")
        equal(topic in await self.admin.list_topics(), True, "listed")
        await self.create("created", expect=36)

    async def case_topic_delete(self):
        topic = await self.create("deleted")
        await self.send(topic, {"value": b"v"})
        await self.admin.delete_topics([topic])
        equal(topic in await self.admin.list_topics(), False, "listed")
        await self.create("deleted")
        async with self.consumer() as consumer:
            where = TopicPartition(topic, 0)
            equal((await consumer.end_offsets([where]))[where], 0, "end")

    async def case_partitions(self):
        topic = await self.create("grown")
        await self.admin.create_partitions({topic: NewPartitions(3)})
        (sent,) = await self.send(topic, {"value": b"v", "partition": 2})
        equal(sent.partition, 2, "partition")

    async def config(self, kind, name):
        (answer,) = await self.admin.describe_configs([ConfigResource(kind, name)])
        (resource,) = answer.resources
        equal(resource[0], 0, "the error of describing")
        return {entry[0]: entry[1] for entry in resource[4]}

    async def case_config_read(self):
        topic = await self.create("config", retention_ms="5000000")
        equal((await self.config(ConfigResourceType.TOPIC, topic))["retention.ms"], "5000000", "retention.ms")
        broker = (await self.admin.describe_cluster())["brokers"][0]["node_id"]
        config = await self.config(ConfigResourceType.BROKER, str(broker))
        equal(config["default.replication.factor"], "1", "factor")

    async def case_config_change(self):
        topic = await self.create("changed")
        change = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "777"})
        await self.admin.alter_configs([change])
        equal((await self.config(ConfigResourceType.TOPIC, topic))["retention.ms"], "777", "retention.ms")

    async def case_headers(self):
        topic = await self.create("headers")
        headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
        await self.send(topic, {"value": b"v", "headers": headers})
        equal(list((await self.read(topic, 1))[0].headers), headers, "headers")

    async def case_timestamps(self):
        topic = await self.create("timestamps")
        await self.send(topic, {"value": b"v", "timestamp_ms": 1234567890123})
        (got,) = await self.read(topic, 1)
        equal((got.timestamp, got.timestamp_type), (1234567890123, 0), "timestamp")

    async def case_append_time(self):
        topic = await self.create("append-time", message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000)
        await self.send(topic, {"value": b"v", "timestamp_ms": 1}, compression_type="gzip")
        (got,) = await self.read(topic, 1)
        equal((got.timestamp >= before, got.timestamp_type), (True, 1), "timestamp")

    async def case_null(self):
        topic = await self.create("null")
        pairs = [(None, b"v"), (b"k", None), (b"", b"")]
        await self.send(topic, *[{"key": key, "value": text} for key, text in pairs])
        equal([(r.key, r.value) for r in await self.read(topic, 3)], pairs, "pairs")

    async def case_large(self):
        topic = await self.create("large", max_message_bytes="6000000")
        payload = random.Random(1).randbytes(5000000)
        await self.send(topic, {"value": payload}, max_request_size=6000000)
        equal((await self.read(topic, 1))[0].value == payload, True, "the same value")

    async def case_too_large(self):
        topic = await self.create("too-large", max_message_bytes="1000")
        with refused(MessageSizeTooLargeError):
            await self.send(topic, {"value": bytes(5000)})
        await self.send(topic, {"value": bytes(50)})

    async def case_assign(self):
        topic = await self.numbered("assign", 2)
        async with self.consumer() as consumer:
            both = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
            consumer.assign(both)
            await consumer.seek_to_beginning(*both)
            await self.poll(consumer, 200)
        equal((await self.read(topic, 1, 42, 1))[0].offset, 42, "offset after seek")

    async def case_read_committed(self):
        await self.read(await self.numbered("read-committed"), 100, isolation_level="read_committed")

    async def case_offsets(self):
        where = TopicPartition(await self.numbered("offsets"), 0)
        async with self.consumer() as consumer:
            equal((await consumer.beginning_offsets([where]))[where], 0, "beginning")
            equal((await consumer.end_offsets([where]))[where], 100, "end")

    async def case_offsets_by_time(self):
        where = TopicPartition(await self.numbered("by-time"), 0)
        async with self.consumer() as consumer:
            for wanted, offset in ((1599999999999, 0), (1600000041001, 42), (1600000099000, 99)):
                found = (await consumer.offsets_for_times({where: wanted}))[where]
                equal((found.offset, found.timestamp), (offset, 1600000000000 + offset * 1000), "found")
            equal((await consumer.offsets_for_times({where: 1700000000000}))[where], None, "after the end")

    async def case_delete_records(self):
        where = TopicPartition(await self.numbered("delete-records"), 0)
        await self.admin.delete_records({where: RecordsToDelete(before_offset=30)})
        async with self.consumer() as consumer:
            equal((await consumer.beginning_offsets([where]))[where], 30, "beginning")

    async def case_commit(self):
        topic = await self.numbered("commit", 2, 10)
        where = TopicPartition(topic, 1)
        async with self.consumer(group_id="aio-standalone") as consumer:
            consumer.assign([where])
            equal(await consumer.committed(where), None, "committed before")
            await consumer.commit({where: OffsetAndMetadata(7, "a note")})
        async with self.consumer(group_id="aio-standalone") as consumer:
            consumer.assign([where])
            equal(await consumer.committed(where), 7, "committed")
            equal((await self.poll(consumer, 3))[0].offset, 7, "the first record")
        listed = await self.admin.list_consumer_group_offsets("aio-standalone")
        equal(listed[where], OffsetAndMetadata(7, "a note"), "listed")

    async def case_unknown_topic(self):
        raise Absent("its Metadata requests always allow the broker to create the topic")

    async def case_auto_create(self):
        await self.send("aio-by-itself", {"value": b"v"})
        equal((await self.read("aio-by-itself", 1))[0].value, b"v", "value")

    async def case_bad_topic(self):
        for name in ("with space", "x" * 250, "a/b"):
            await self.create(name, expect=17)
        await self.create("copies", 1, 3, expect=38)
        await self.create("odd", expect=40, retention_ms="long")

    async def case_out_of_range(self):
        topic = await self.create("out-of-range")
        with refused(OffsetOutOfRangeError):
            await self.read(topic, 1, 500)

    async def produce_interrupted(self, topic, kills, **config):
        """Produces while the broker is killed; who was acknowledged at which partition and offset."""
        acknowledged, waiting = {}, []
        async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", request_timeout_ms=40000,
                                    **config) as producer:
            for i in range(RESTART_COUNT):
                waiting.append(await producer.send(topic, value(i), partition=i % 2))
                if i in kills:
                    await waiting[i - i // 8]
                    cases.restart_now()
                if i % 10 == 0:
                    await asyncio.sleep(0.002)
            for i, one in enumerate(waiting):
                sent = await one
                acknowledged[sent.partition, sent.offset] = i
        equal(len(acknowledged), RESTART_COUNT, "different offsets acknowledged")
        return acknowledged

    async def case_restart(self):
        topic = await self.create("restart", 2)
        acknowledged = await self.produce_interrupted(topic, cases.KILLS[:1], enable_idempotence=False)
        found = {}
        for p in (0, 1):
            count = 1 + max(offset for partition, offset in acknowledged if partition == p)
            found.update({(p, r.offset): r.value for r in await self.read(topic, count, 0, p)})
        wrong = [where for where, i in acknowledged.items() if found.get(where) != value(i)]
        equal(wrong, [], "acknowledged and not there")

    async def case_once(self):
        topic = await self.create("once", 2)
        acknowledged = await self.produce_interrupted(topic, cases.KILLS, enable_idempotence=True)
        both = [TopicPartition(topic, p) for p in (0, 1)]
        async with AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP) as consumer:
            ends = await consumer.end_offsets(both)
        found = {}
        for p in both:
            for record in await self.read(topic, ends[p], 0, p.partition):
                found[p.partition, record.offset] = record.value
        cases.each_once(acknowledged, found)

    async def case_idempotent(self):
        topic = await self.create("idempotent")
        await asyncio.wait_for(self.send(topic, {"value": b"v"}, enable_idempotence=True), 10)

    async def case_transaction(self):
        topic = await self.create("transaction")
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id="aio-transaction")
        await asyncio.wait_for(producer.start(), 10)
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
        await producer.stop()
        await self.read(topic, 1, isolation_level="read_committed")

    async def case_group(self):
        topic = await self.numbered("group", 2, 10)
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=BOOTSTRAP, group_id="aio-group",
                                    auto_offset_reset="earliest")
        await asyncio.wait_for(consumer.start(), 10)
        await self.poll(consumer, 20)
        await consumer.stop()


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    setattr(Aio, "case_codec_" + codec, lambda self, codec=codec: self.round_trip(
        "codec-" + codec, compression_type=None if codec == "none" else codec, linger_ms=10))
for acks in (0, 1, "all"):
    setattr(Aio, f"case_acks_{acks}", lambda self, acks=acks: self.round_trip(f"acks-{acks}", acks=acks))


async def main():
    client = Aio()
    client.admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await client.admin.start()
    await cases.run_async(client)
    sys.stdout.flush()
    os._exit(0)

if __name__ == "__main__":
    asyncio.run(main())
