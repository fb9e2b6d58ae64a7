# SPDX-License-Identifier: Apache-2.0
"""Redis Streams, from Debian's newest package: an append-only file, synced before each reply
(appendfsync always) or every second. Snapshots are off, as the file makes them superfluous. Its client
is its own redis-benchmark, which sends XADD through 50 connections with 32 requests under way each."""
import glob
import os
import random
import string

from machine import Failure
from peers import install
from peers.clients import figures
from peers.peer import Peer, run

NAMES = ("redis", "rabbitmq")
READ_AT_ONCE = 1000


def program(root, name):
    """Programs of the other system run with its own loader and libraries."""
    loader = glob.glob(os.path.join(root, "usr", "lib*", "ld-linux*.so*"))
    libraries = glob.glob(os.path.join(root, "usr", "lib", "*-linux-gnu"))
    if not loader or not libraries:
        raise Failure(f"{root} has no loader")
    return [loader[0], "--library-path", libraries[0], os.path.join(root, "usr", "bin", name)]


class Redis(Peer):
    name, protocol = "redis", "redis"
    ready = r"Ready to accept connections"
    share = 0.25

    def __init__(self, options, synced):
        super().__init__(options)
        self.synced = synced
        self.policy = "always" if synced else "everysec"
        self.label = f"Redis Streams, appendfsync {self.policy}"
        self.root = None

    def install(self):
        self.root = install.debian(*NAMES)
        self.version = install.debian_version(self.root, "redis-server")

    def command(self):
        return [*program(self.root, "redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
                self.data(), "--appendonly", "yes", "--appendfsync", self.policy, "--save", ""]

    def settings(self):
        return f"appendonly yes, appendfsync {self.policy}, save off, else as shipped"


class Benchmark:
    key, label, protocol = "redis", "redis-benchmark", "redis"

    def __init__(self, options):
        self.options = options
        self.root = self.version = None

    def install(self):
        self.root = install.debian(*NAMES)
        self.version = install.debian_version(self.root, "redis-tools")

    def create(self, peer, topic, partitions=1):
        """A stream comes into being with its first message."""

    def benchmark(self, peer, connections, pipeline, count, *command):
        return run([*program(self.root, "redis-benchmark"), "-h", "127.0.0.1", "-p", str(peer.port), "-c",
                    str(connections), "-P", str(pipeline), "-n", str(count), "--csv", *command])

    @staticmethod
    def read(ended):
        """The last line's requests per second, and latencies in milliseconds."""
        words = [word.strip('"') for word in ended[0].output.strip().splitlines()[-1].rsplit(",", 7)]
        rate, _, _, p50, _, p99, worst = (float(word) for word in words[1:])
        return rate, {"p50_us": p50 * 1e3, "p99_us": p99 * 1e3, "max_us": worst * 1e3}

    @staticmethod
    def value(size):
        letters = random.Random(size)
        return "".join(letters.choice(string.ascii_letters + string.digits) for _ in range(size))

    def produce(self, peer, topic, size, count, partitions=1, producers=1):
        ended = self.benchmark(peer, 50 if producers == 1 else producers, 32, count, "XADD", topic, "*", "v",
                               self.value(size))
        return figures(ended, count, size, count / self.read(ended)[0])

    def consume(self, peer, topic, size, count, partitions=1):
        """The first thousand messages again and again: redis-benchmark cannot go on where it was."""
        requests = max(count // READ_AT_ONCE, 10)
        ended = self.benchmark(peer, 4, 1, requests, "XRANGE", topic, "-", "+", "COUNT", str(READ_AT_ONCE))
        return figures(ended, requests * READ_AT_ONCE, size, requests / self.read(ended)[0])

    def single(self, peer, topic, size, seconds):
        count = int(seconds * 5000)
        ended = self.benchmark(peer, 1, 1, count, "XADD", topic, "*", "v", self.value(size))
        rate, latencies = self.read(ended)
        return figures(ended, count, size, count / rate, **latencies)


def peers(options):
    return [Redis(options, True), Redis(options, False)]


def clients(options):
    return [Benchmark(options)]
