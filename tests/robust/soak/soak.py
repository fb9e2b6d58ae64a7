# SPDX-License-Identifier: Apache-2.0
"""Real clients on a real broker that is killed again and again, on a disk that is sound, one that
fills up, and one that turns read-only; afterwards the broker must hold what it said.

What is checked, after every start: each acknowledged record is at its offset, byte for byte; what a
consumer was shown is still there; committed offsets have not gone back; records of idempotent
producers, and of those that do not retry, are there once and in order. When a scene ends: nothing of
an idempotent producer is missing."""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../..")]
from harness.broker import Broker  # noqa: E402
from harness.mounts import Ext4, enter_own_mounts  # noqa: E402
from harness.wire import NONE, create  # noqa: E402
from ledger import Client, check, check_commits  # noqa: E402

MEBIBYTE = 1 << 20
PARTITIONS = 4
INIT_PRODUCER_ID = 22


def soak_client():
    return os.path.join(os.environ["WEIR_BUILD"], "tests", "robust", "soak_client")


class Scene:
    """One broker on one directory, its clients, and what happens to them."""

    def __init__(self, chance, directory, log_path, settings=()):
        self.chance = chance
        self.broker = Broker(shards=chance.choice((1, 2)), directory=directory,
                             settings=["log.segment.bytes=1048576", *settings])
        self.broker.log_path = log_path
        self.clients = []
        self.kills = 0
        self.records = 0

    def __enter__(self):
        self.broker.start()
        with self.broker.connect() as connection:
            for topic in ("plain", "exact"):
                assert create(connection, topic, PARTITIONS)[0] == NONE
        return self

    def __exit__(self, kind, value, trace):
        for client in self.clients:
            client.kill()
        if self.broker.process.poll() is None:
            self.broker.kill()

    def python(self, work, topic, name, *more, **promises):
        self.clients.append(Client(
            [sys.executable, "-B", os.path.join(HERE, "load.py"), work, "--brokers", self.broker.address,
             "--topic", topic, "--partitions", str(PARTITIONS), "--name", name,
             "--seed", str(self.chance.randrange(1 << 30)), *more], topic, name, **promises))

    def weir(self, work, topic, name):
        self.clients.append(Client([soak_client(), work, self.broker.address, topic, str(PARTITIONS), name],
                                   topic, name))

    def start_clients(self, idempotent):
        self.python("produce", "plain", "rd-plain", once=True)
        self.weir("produce", "plain", "weir-plain")
        self.weir("follow", "plain", "weir-follow")
        if idempotent:
            self.python("produce", "exact", "rd-exact", "--idempotent", once=True, complete=True)
        else:
            self.python("produce", "exact", "rd-once", once=True)
        self.python("follow", "exact", "rd-follow")

    def start_broker(self):
        """Sometimes it is killed while it starts."""
        while self.chance.random() < 0.2:
            try:
                self.broker.start(timeout=self.chance.random() * 0.05)
            except RuntimeError:
                assert self.broker.alive(), self.broker.log()[-2000:]
            self.broker.kill()
            self.kills += 1
        self.broker.start()

    def wait(self, least, most):
        end = time.monotonic() + least + self.chance.random() * (most - least)
        while time.monotonic() < end:
            assert self.broker.alive(), f"the broker has ended:\n{self.broker.log()[-3000:]}"
            time.sleep(0.01)

    def stop_somehow(self):
        if self.chance.random() < 0.1:
            assert self.broker.stop() == 0
        else:
            self.broker.kill()
            self.kills += 1

    def check(self):
        self.records = sum(check(self.broker.address, topic, PARTITIONS, self.clients)
                           for topic in ("plain", "exact"))
        for client in self.clients:
            if client.committed:
                check_commits(self.broker.address, client.topic, PARTITIONS, client)
        assert "is damaged" not in self.broker.log(), "the broker speaks of damage"

    def end(self):
        """The clients come to an end with a broker that serves them."""
        for client in self.clients:
            client.stop()
        self.check()
        acknowledged = {client.name.decode(): len(client.acknowledged) for client in self.clients
                        if client.acknowledged}
        assert acknowledged and all(client.acknowledged for client in self.clients if client.once), acknowledged
        assert self.broker.stop() == 0
        return acknowledged


def kills(scene, end, most):
    """On a sound disk."""
    while time.monotonic() < end and scene.kills < most:
        scene.wait(0.02, 1)
        scene.stop_somehow()
        scene.start_broker()
        if scene.chance.random() < 0.2:
            scene.check()


def fills_up(scene, disk, end, most):
    """The disk fills up, is freed; meanwhile the broker is killed, too."""
    while time.monotonic() < end and scene.kills < most:
        scene.wait(0.2, 1)
        disk.fill(leave=scene.chance.choice((0, 0, MEBIBYTE, 8 * MEBIBYTE)))
        scene.wait(0.2, 1.5)
        if scene.chance.random() < 0.6:
            scene.stop_somehow()
            scene.start_broker()
            scene.check()
            scene.wait(0.1, 0.5)
        disk.free()


def turns_read_only(scene, disk, end):
    """The file system gives up in the middle of the work; after its repair everything is there."""
    rounds = 0
    while time.monotonic() < end or rounds == 0:
        scene.wait(0.5, 1.5)
        if not disk.fail():
            return False
        scene.wait(0.3, 1)  # the broker lives on
        scene.broker.kill()
        scene.kills += 1
        assert disk.repair(), "the file system cannot be repaired"
        scene.start_broker()
        scene.check()
        rounds += 1
    return True


def serves_idempotent_producers(directory):
    """Whether InitProducerId is answered at all."""
    from confluent_kafka import KafkaException, Producer
    with Broker(directory=directory) as broker:
        producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "log_level": 0,
                             "message.timeout.ms": 3000, "error_cb": lambda error: None})
        outcome = []
        try:
            producer.produce("probe", b"x", on_delivery=lambda error, message: outcome.append(error))
            producer.flush(5)
        except KafkaException:
            pass
        return outcome == [None]


class Soak:
    def __init__(self, options):
        self.options = options
        self.outside = tempfile.mkdtemp(prefix="weir-soak-", dir=options.dir)
        self.chance = random.Random(options.seed)
        self.own_mounts = enter_own_mounts()
        self.idempotent = serves_idempotent_producers(os.path.join(self.outside, "probe"))
        self.number = 0
        self.kills = 0

    def scene(self, kind, seconds):
        """One scene on a fresh directory. False when there is no such disk here."""
        self.number += 1
        place = os.path.join(self.outside, str(self.number))
        os.mkdir(place)
        start = time.monotonic()
        disk = None
        if kind != "kills":
            # Room for what the scene writes, and filled up on demand.
            disk = Ext4(place, 2048 * MEBIBYTE) if self.own_mounts else None
            if not disk or not disk.made:
                return False
        try:
            done = self.play(kind, disk, place, start + seconds)
        finally:
            if disk:
                disk.unmount()
        shutil.rmtree(place)
        return done

    def play(self, kind, disk, place, end):
        data = os.path.join(disk.directory if disk else place, "data")
        with Scene(self.chance, data, os.path.join(place, "log")) as scene:
            scene.start_clients(self.idempotent)
            done = True
            if kind == "kills":
                kills(scene, end, 40)
            elif kind == "fills up":
                fills_up(scene, disk, end, 40)
            else:
                done = turns_read_only(scene, disk, end)
            acknowledged = scene.end()
        self.kills += scene.kills
        said = ", ".join(f"{name} {count}" for name, count in acknowledged.items())
        print(f"{kind}: {scene.kills} kills, {scene.records} records stored; acknowledged: {said}", flush=True)
        return done

    def run(self):
        end = time.monotonic() + self.options.seconds
        kinds = ["kills", "fills up", "read-only"]
        each = min(60, self.options.seconds / 4)
        skipped = set()
        while True:
            for kind in list(kinds):
                if not self.scene(kind, each * (2 if kind == "kills" else 1)):
                    kinds.remove(kind)
                    skipped.add(kind)
            if time.monotonic() >= end:
                break
        print(f"{self.number} scenes, {self.kills} kills; nothing lost, nothing twice, nothing back in time")
        if not self.idempotent:
            print("without idempotent producers: the broker gives no producer ids")
        for kind in sorted(skipped):
            print(f"not tried: a disk that {kind}: that needs root, loop devices and mkfs.ext4")
        shutil.rmtree(self.outside)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--dir", default=tempfile.gettempdir())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    soak = Soak(options)
    try:
        soak.run()
    except BaseException:
        print(f"everything is left in {soak.outside}", flush=True)
        raise


if __name__ == "__main__":
    main()
