# SPDX-License-Identifier: Apache-2.0
"""NATS JetStream, one server with file storage, from its Go module: as shipped, and with
sync_interval: always. Its own command line with `nats bench` cannot be had as a Go module here, so
nats_bench.go does what that does, with the same client library, newest version."""
import json
import os

from peers import install
from peers.clients import figures
from peers.peer import Peer, run

CONFIG = """\
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: "{data}"
  {sync}
}}
"""


class Nats(Peer):
    name, protocol = "nats", "nats"
    ready = r"Server is ready"

    def __init__(self, options, synced):
        super().__init__(options)
        self.synced = synced
        self.label = "NATS JetStream" + (", sync_interval: always" if synced else " as shipped")
        self.share = 0.02 if synced else 0.1
        self.program = None

    def install(self):
        self.program = os.path.join(install.go_programs("nats"), "nats-server")
        self.version = install.go_version(self.program)

    def prepare(self):
        with open(os.path.join(self.directory, "server.conf"), "w") as file:
            file.write(CONFIG.format(port=self.port, data=self.data(), sync="sync_interval: always" if self.synced else ""))

    def command(self):
        return [self.program, "-c", os.path.join(self.directory, "server.conf")]

    def settings(self):
        return "file storage, one replica" + (", sync_interval: always" if self.synced else ", else as shipped")


class NatsBench:
    """Asynchronous publishing with 4,096 unacknowledged messages per connection."""

    key, label, protocol = "nats", "nats.go nats_bench", "nats"

    def __init__(self, options):
        self.options = options
        self.program = self.version = None

    def install(self):
        self.program, version = install.go_client("nats", "nats_bench.go")
        self.version = version.lstrip("v")

    def call(self, peer, mode, topic, **flags):
        command = [self.program, "-url", f"nats://{peer.address}", "-mode", mode, "-stream", topic]
        for name, value in flags.items():
            command += [f"-{name}", str(value)]
        ended = run(command)
        return ended, json.loads(ended[0].output.strip().splitlines()[-1])

    def result(self, peer, mode, topic, size, **flags):
        ended, found = self.call(peer, mode, topic, size=size, **flags)
        return figures(ended, found.pop("messages"), size, found.pop("seconds"), **found)

    def create(self, peer, topic, partitions=1):
        self.call(peer, "create", topic)

    def produce(self, peer, topic, size, count, partitions=1, producers=1):
        return self.result(peer, "produce", topic, size, count=count, producers=producers)

    def consume(self, peer, topic, size, count, partitions=1):
        return self.result(peer, "consume", topic, size, count=count)

    def single(self, peer, topic, size, seconds):
        return self.result(peer, "single", topic, size, seconds=seconds)

    def paced(self, peer, topic, size, rate, seconds):
        return self.result(peer, "paced", topic, size, rate=rate, seconds=seconds)


def peers(options):
    return [Nats(options, True), Nats(options, False)]


def clients(options):
    return [NatsBench(options)]
