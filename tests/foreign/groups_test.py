# SPDX-License-Identifier: Apache-2.0
"""Classic groups of foreign clients: librdkafka (confluent-kafka, kcat) and kafka-python, unmodified.
Members come, go and die, the broker is killed between, and whoever is left has everything."""
import signal
import subprocess
import threading
import time
import unittest

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import TopicPartition

from harness import script
from harness.broker import PATIENCE_S, Broker
from harness.kafka_python import KafkaAdminClient, KafkaConsumer

SETTINGS = ["group.initial.rebalance.delay.ms=100", "group.min.session.timeout.ms=500"]

QUIET = {"log_level": 0}  # of the connections that break when the broker is killed


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not happen: {what}")
        time.sleep(0.02)


class Member:
    """A consumer that polls on a thread of its own, as applications do."""

    def __init__(self):
        self.values = []
        self.rebalances = 0  # assignments given so far
        self.assigned = set()
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopping:
            self.poll()

    def stop(self):
        """Stops polling and leaves the group."""
        self.stopping = True
        self.thread.join(PATIENCE_S)
        self.commit()
        self.close()

    def commit(self):
        pass


class ConfluentMember(Member):
    def __init__(self, broker, group, topic, **config):
        super().__init__()
        settings = {"bootstrap.servers": broker.address, "group.id": group, "session.timeout.ms": 3000,
                    "heartbeat.interval.ms": 200, "auto.offset.reset": "earliest",
                    "enable.auto.commit": False, "reconnect.backoff.max.ms": 200, **QUIET}
        settings.update({key.replace("_", "."): value for key, value in config.items()})
        self.incremental = "cooperative" in settings.get("partition.assignment.strategy", "")
        self.consumer = confluent_kafka.Consumer(settings)
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke,
                                on_lost=self.on_revoke)
        self.thread.start()

    def on_assign(self, consumer, partitions):
        added = {p.partition for p in partitions}
        self.assigned = self.assigned | added if self.incremental else added
        self.rebalances += 1

    def on_revoke(self, consumer, partitions):
        self.assigned = self.assigned - {p.partition for p in partitions}

    def poll(self):
        message = self.consumer.poll(0.1)
        if message and not message.error():
            self.values.append(message.value())
            if len(self.values) % 20 == 0:
                self.commit()

    def commit(self):
        """Waits, so that no commit overtakes another. False while there is no broker, or no part."""
        try:
            self.consumer.commit(asynchronous=False)
        except confluent_kafka.KafkaException as exception:
            # Nothing new to commit since the last time is as good.
            return exception.args[0].code() == confluent_kafka.KafkaError._NO_OFFSET
        return True

    def close(self):
        self.consumer.close()


class PythonMember(Member):
    def __init__(self, broker, group, topic, **config):
        super().__init__()
        self.consumer = KafkaConsumer(
            topic, bootstrap_servers=broker.address, group_id=group,
            session_timeout_ms=config.pop("session_timeout_ms", 3000), heartbeat_interval_ms=200,
            auto_offset_reset="earliest", enable_auto_commit=False, reconnect_backoff_max_ms=200,
            retry_backoff_ms=50, **config)
        self.thread.start()

    @property
    def generation(self):
        return self.consumer._coordinator._generation.generation_id

    def poll(self):
        for records in self.consumer.poll(timeout_ms=100).values():
            self.values += [record.value for record in records]
        now = {where.partition for where in self.consumer.assignment()}
        self.rebalances += now != self.assigned
        self.assigned = now

    def close(self):
        self.consumer.close(autocommit=False)


class Groups(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(shards=2, settings=SETTINGS).start()
        self.addCleanup(lambda: self.broker.__exit__(None, None, None))
        self.admin = AdminClient({"bootstrap.servers": self.broker.address, **QUIET})
        self.admin.create_topics([NewTopic("t", 4, 1)])["t"].result(PATIENCE_S)
        self.sent = 0

    def produce(self, count):
        """So many records more, each with its number, over all partitions."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.broker.address, **QUIET})
        for _ in range(count):
            producer.produce("t", b"%d" % self.sent, partition=self.sent % 4)
            self.sent += 1
        self.assertEqual(producer.flush(PATIENCE_S), 0)

    def all_sent(self):
        return {b"%d" % i for i in range(self.sent)}

    def member(self, kind, group="g", **config):
        member = kind(self.broker, group, "t", **config)
        self.addCleanup(lambda: member.stopping or member.stop())
        return member

    def expect_split(self, members):
        """Everybody has a part, nobody has another's, and nothing is left."""
        def split():
            parts = [member.assigned for member in members]
            return all(parts) and sum(map(len, parts)) == 4 and set.union(*parts) == set(range(4))
        wait_for(split, f"partitions are split among {len(members)}")

    def expect_all(self, members):
        wait_for(lambda: set.union(*(set(m.values) for m in members)) >= self.all_sent(),
                 "every record is processed")

    def committed(self, group="g"):
        consumer = KafkaConsumer(bootstrap_servers=self.broker.address, group_id=group)
        try:
            return [consumer.committed(TopicPartition("t", i)) for i in range(4)]
        finally:
            consumer.close(autocommit=False)

    def come_and_go(self, kind, **config):
        self.produce(200)
        first = self.member(kind, **config)
        self.expect_split([first])
        second = self.member(kind, **config)
        self.expect_split([first, second])
        self.produce(200)
        self.expect_all([first, second])
        second.stop()
        self.expect_split([first])
        self.produce(200)
        self.expect_all([first, second])

    def test_confluent_members_come_and_go(self):
        self.come_and_go(ConfluentMember)

    def test_confluent_cooperative_members_come_and_go(self):
        self.come_and_go(ConfluentMember, partition_assignment_strategy="cooperative-sticky")

    def test_kafka_python_members_come_and_go(self):
        self.come_and_go(PythonMember)

    def test_both_in_one_group(self):
        members = [self.member(ConfluentMember, partition_assignment_strategy="range"),
                   self.member(PythonMember)]
        self.expect_split(members)
        self.produce(200)
        self.expect_all(members)

    def test_a_member_that_dies_is_missed(self):
        """kcat is killed while it has a part: after its session the others have everything."""
        kcat = subprocess.Popen(["kcat", "-b", self.broker.address, "-G", "g", "-q", "-u",
                                 "-X", "session.timeout.ms=2000", "-X", "heartbeat.interval.ms=200",
                                 "-X", "partition.assignment.strategy=range", "t"],
                                stdout=subprocess.DEVNULL)
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
            self.addCleanup(admin.close)
            wait_for(lambda: admin.describe_consumer_groups(["g"])[0].state == "Stable", "kcat joins")
            members = [self.member(ConfluentMember, partition_assignment_strategy="range"),
                       self.member(PythonMember)]
            wait_for(lambda: all(m.assigned for m in members) and
                     len(admin.describe_consumer_groups(["g"])[0].members) == 3, "three members")
            kcat.send_signal(signal.SIGSTOP)  # its connections stay, and nothing is said on them
            self.expect_split(members)
            self.produce(100)
            self.expect_all(members)
        finally:
            kcat.kill()
            kcat.wait()

    def test_kcat_goes_on_where_it_was(self):
        self.produce(100)
        rows = []
        for _ in range(2):
            done = subprocess.run(["kcat", "-b", self.broker.address, "-G", "g", "-q", "-e",
                                   "-X", "auto.offset.reset=earliest", "t"],
                                  capture_output=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows += done.stdout.split()
            if len(rows) == 100:
                self.produce(100)
        self.assertEqual(sorted(rows, key=int), sorted(self.all_sent(), key=int))

    def test_a_static_member_comes_back_without_a_rebalance(self):
        stays = self.member(ConfluentMember, group_instance_id="one", session_timeout_ms=30000)
        goes = self.member(ConfluentMember, group_instance_id="two", session_timeout_ms=30000)
        self.expect_split([stays, goes])
        part, rebalances = goes.assigned, stays.rebalances
        goes.stop()
        back = self.member(ConfluentMember, group_instance_id="two", session_timeout_ms=30000)
        wait_for(lambda: back.assigned, "the member is back")
        self.assertEqual(back.assigned, part)
        self.produce(100)
        self.expect_all([stays, back])
        self.assertEqual(stays.rebalances, rebalances)

    def killed_between(self, kind, members):
        self.expect_split(members)
        self.produce(200)
        self.expect_all(members)
        for _ in range(3):
            rebalances = [member.rebalances for member in members]
            parts = [set(member.assigned) for member in members]
            self.broker.kill()
            self.broker.start()
            self.produce(200)
            self.expect_all(members)
            self.assertEqual([member.rebalances for member in members], rebalances)
            self.assertEqual([set(member.assigned) for member in members], parts)

    def test_confluent_members_outlive_the_broker(self):
        """SIGKILL: nobody is told to join again, and no commit goes back."""
        members = [self.member(ConfluentMember, session_timeout_ms=30000) for _ in range(2)]
        self.killed_between(ConfluentMember, members)
        for member in members:
            member.stopping = True
            member.thread.join(PATIENCE_S)
            wait_for(member.commit, "the last commit")
        before = self.committed()
        self.assertEqual(sum(before), self.sent)
        self.broker.kill()
        self.broker.start()
        self.assertEqual(self.committed(), before)
        for member in members:
            member.close()

    def test_kafka_python_members_outlive_the_broker(self):
        members = [self.member(PythonMember, session_timeout_ms=30000) for _ in range(2)]
        self.expect_split(members)
        generation = members[0].generation
        self.killed_between(PythonMember, members)
        self.assertEqual([member.generation for member in members], [generation, generation])

    def test_offsets_of_a_group_in_use_are_its_own(self):
        member = self.member(ConfluentMember, session_timeout_ms=30000)
        self.produce(40)
        self.expect_all([member])
        admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
        self.addCleanup(admin.close)
        ((_, error),) = admin.delete_consumer_groups(["g"])
        self.assertEqual(error.__name__, "NonEmptyGroupError")
        member.stop()
        ((_, error),) = admin.delete_consumer_groups(["g"])
        self.assertEqual(error.__name__, "NoError")
        self.assertEqual(admin.list_consumer_groups(), [])
        self.assertEqual(self.committed(), [None] * 4)


if __name__ == "__main__":
    script.main()
