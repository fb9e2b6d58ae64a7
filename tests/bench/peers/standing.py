# SPDX-License-Identifier: Apache-2.0
"""What a broker costs that does nothing, and how long it takes to be ready. No client's speed matters
here, so each broker of Kafka's protocol has Weir's command line for what must be made; the others
are only started."""
import json
import os
import resource
import socket
import struct
import time

from harness.broker import binary
from machine import Failure
from peers.clients import wait_for_leaders
from peers.peer import Client, run
from peers.works import WHOLE, Work

MEMORY_SETTLES_S = 2
API_VERSIONS = 18


def request(key, version, body=b""):
    """A request frame with header v1."""
    payload = struct.pack(">hhih4s", key, version, 1, 4, b"idle") + body
    return struct.pack(">i", len(payload)) + payload


def some(count, amount):
    """All of them but in a trial: memory and start are told of so many and no fewer."""
    return int(count * amount) if amount < WHOLE else count


class Standing(Work):
    """A work without a client."""
    protocols = ("kafka",)
    needs = "standing"

    def suits(self, peer, client):
        return client is None and peer.protocol in self.protocols


class Start(Standing):
    protocols = ("kafka", "redis", "nats", "rabbitmq")
    name = "start"
    columns = ("ready_ms", "memory_mb")
    title = "Start, empty"
    text = "From the start of the process until it says that it serves, in an empty directory; memory then."

    def run(self, peer, client, amount):
        peer.kill()
        peer.wipe()
        seconds = peer.start()
        time.sleep(MEMORY_SETTLES_S)
        return {"ready_ms": seconds * 1e3, "memory_mb": peer.memory() / 1e6, "command": peer.settings()}


class Killed(Standing):
    name = "killed"
    columns = ("ready_ms",)
    title = "Start after SIGKILL under load"
    text = "1 KiB messages to 100 partitions as fast as they go; the broker is killed among them, and started again."

    def run(self, peer, client, amount):
        peer_topic(peer, "load", 100)
        load = Client([binary("weir"), "-b", peer.address, "bench", "produce", "load", "--size", "1K", "--in-flight",
                       "50000", "--duration", "600s"])
        try:
            time.sleep(max(10 * amount, 1))
            if not load.running():
                raise Failure(f"the load ended early: {load.ended.output[-300:]}")
            peer.kill()
        finally:
            load.kill()
        return {"ready_ms": peer.start() * 1e3, "command": "weir bench produce load --size 1K --in-flight 50000"}


class Connections(Standing):
    name = "connections"
    columns = ("opened", "memory_mb", "kb_per_connection")
    count = 10000
    title = "10,000 idle connections"
    text = ("Each has asked for the versions of the protocol and then says nothing. Memory is what the broker has more of "
            "than before them, user space only.")

    def run(self, peer, client, amount):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        wanted = max(min(some(self.count, amount), hard - 200), 200)
        sockets = []
        try:
            sockets += [opened(peer) for _ in range(100)]  # what the first ones need once is not counted
            time.sleep(MEMORY_SETTLES_S)
            before = peer.memory()
            sockets += [opened(peer) for _ in range(wanted - len(sockets))]
            time.sleep(MEMORY_SETTLES_S)
            grown = peer.memory() - before
        finally:
            for one in sockets:
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return {"opened": len(sockets), "memory_mb": grown / 1e6, "kb_per_connection": grown / (wanted - 100) / 1e3,
                "command": f"{len(sockets)} connections, ApiVersions on each"}


def opened(peer):
    connection = socket.create_connection(("127.0.0.1", peer.port), timeout=30)
    connection.sendall(request(API_VERSIONS, 0))
    head = connection.recv(4, socket.MSG_WAITALL)
    if len(head) != 4:
        raise Failure("the broker closed an idle connection")
    connection.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)
    return connection


class Partitions(Standing):
    name = "partitions"
    columns = ("memory_mb", "kb_per_partition", "created_s", "ready_ms")
    count = 10000
    title = "10,000 idle partitions"
    text = "Of one topic, empty. Memory is what the broker has more of; then it is stopped in order and started again."

    def run(self, peer, client, amount):
        count = max(some(self.count, amount), 100)
        before = peer.memory()
        begin = time.monotonic()
        peer_topic(peer, "idle", count)
        created = time.monotonic() - begin
        time.sleep(MEMORY_SETTLES_S)
        grown = peer.memory() - before
        peer.stop()
        return {"memory_mb": grown / 1e6, "kb_per_partition": grown / count / 1e3, "created_s": created,
                "ready_ms": peer.start() * 1e3, "command": f"weir topic create idle --partitions {count}"}


class Rebalance(Standing):
    name = "rebalance"
    columns = ("join_p50_ms", "sync_p50_ms", "worst_ms")
    members, times = 100, 20
    title = "Rebalance of 100 members"
    text = ("The classic protocol, driven by group_bench: a member joins with another wish, all others hear of it by their "
            "heartbeats, join and sync. Until all have joined again, and from there until all have their part.")

    def run(self, peer, client, amount):
        program = os.path.join(peer.options.build, "tests", "bench", "group_bench")
        self.make_coordinator(peer)
        ended = run([program, peer.address, "members", str(self.members), str(max(int(self.times * amount), 3))])
        found = json.loads(ended[0].output)
        return {"join_p50_ms": found["join_p50_us"] / 1e3, "sync_p50_ms": found["sync_p50_us"] / 1e3,
                "worst_ms": (found["join_max_us"] + found["sync_max_us"]) / 1e3,
                "command": f"group_bench BROKER members {self.members} {self.times}"}


    @staticmethod
    def make_coordinator(peer):
        """Kafka makes what it stores of groups when the first one asks; group_bench does not wait for it."""
        weir = [binary("weir"), "-b", peer.address, "--timeout", "60s"]
        peer_topic(peer, "seed", 1)
        run([*weir, "bench", "produce", "seed", "--count", "1"])
        run([*weir, "consume", "seed", "--group", "seed", "--until-end"])
        time.sleep(MEMORY_SETTLES_S)


def peer_topic(peer, topic, partitions):
    run([binary("weir"), "-b", peer.address, "--timeout", "300s", "topic", "create", topic, "--partitions",
         str(partitions)], timeout=320)
    wait_for_leaders(peer, topic, partitions)


def works():
    return [Start(), Killed(), Connections(), Partitions(), Rebalance()]
