# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ Streams, from Debian's newest package, in a root directory of its own (chroot), as Erlang
knows its files by absolute names. It never syncs a stream before it confirms, so it is in one class.
Its stream-perf-test is in no registry, so RabbitBench.java does the same with the Java client that
that is made of."""
import glob
import json
import os
import shutil
import subprocess
import time

from machine import Failure
from peers import install
from peers.clients import figures
from peers.peer import Peer, family, free_port, run
from peers.redis import NAMES

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
stream.listeners.tcp.1 = 127.0.0.1:{port}
stream.advertised_host = 127.0.0.1
stream.advertised_port = {port}
log.console = true
log.console.level = info
log.file = false
"""
EPMD_S = 10


class RabbitMq(Peer):
    name, label, synced, protocol = "rabbitmq", "RabbitMQ Streams", False, "rabbitmq"
    ready = r"Server startup complete"
    share = 0.25

    def __init__(self, options):
        super().__init__(options)
        self.root = self.epmd = None
        self.epmd_port = 0

    def install(self):
        self.root = install.debian(*NAMES)
        self.version = install.debian_version(self.root, "rabbitmq-server")
        with open(os.path.join(self.root, "etc", "hosts"), "w") as file:
            file.write("127.0.0.1 localhost\n")

    def place(self):
        """Inside the root. That is to be the disk which is measured."""
        if os.stat(self.root).st_dev != os.stat(self.options.dir).st_dev:
            raise Failure(f"{self.root} is on another file system than {self.options.dir}; set WEIR_PEERS")
        return self.root

    def inside(self, *names):
        return os.path.join("/", os.path.relpath(self.directory, self.root), *names)

    def prepare(self):
        os.makedirs(os.path.join(self.directory, "log"), exist_ok=True)
        with open(os.path.join(self.directory, "rabbitmq.conf"), "w") as file:
            file.write(CONFIG.format(amqp=free_port(), port=self.port))
        with open(os.path.join(self.directory, "plugins"), "w") as file:
            file.write("[rabbitmq_stream].\n")

    def environment_inside(self):
        return ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", f"HOME={self.inside()}",
                f"ERL_EPMD_PORT={self.epmd_port}", "ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_NODENAME=peer@localhost",
                f"RABBITMQ_MNESIA_BASE={self.inside('data')}", f"RABBITMQ_LOG_BASE={self.inside('log')}",
                f"RABBITMQ_DIST_PORT={free_port()}", f"RABBITMQ_CONFIG_FILE={self.inside('rabbitmq.conf')}",
                f"RABBITMQ_ENABLED_PLUGINS_FILE={self.inside('plugins')}"]

    def command(self):
        server = glob.glob(os.path.join(self.root, "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
        return ["chroot", self.root, *self.environment_inside(), os.path.join("/", os.path.relpath(server[0], self.root))]

    def start(self):
        """Erlang's port mapper is started here, in the foreground: left to itself it stays for ever."""
        if self.epmd is None:
            self.epmd_port = free_port()
            self.epmd = subprocess.Popen(["chroot", self.root, "/usr/bin/epmd", "-port", str(self.epmd_port), "-address",
                                          "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + EPMD_S
            while not listening(self.epmd_port):
                if time.monotonic() > deadline or self.epmd.poll() is not None:
                    raise Failure(f"epmd does not listen after {EPMD_S} s")
                time.sleep(0.01)
        return super().start()

    def kill(self):
        super().kill()
        if self.epmd is not None and self.process is not None and self.process.poll() is not None:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None

    def settings(self):
        return "stream plugin, else as shipped; confirms before it syncs"


def listening(port):
    with open("/proc/net/tcp") as file:
        wanted = f":{port:04X}"
        return any(words[1].endswith(wanted) and words[3] == "0A" for words in (line.split() for line in file))


class RabbitBench:
    """Up to 10,000 unconfirmed messages per producer, in batches of 100: the client's own defaults."""

    key, label, protocol = "rabbitmq", "RabbitMQ Java stream client, RabbitBench", "rabbitmq"

    def __init__(self, options):
        self.options = options
        self.classpath = self.version = None

    def install(self):
        self.classpath = install.jars("rabbitmq")
        jar = next(name for name in self.classpath.split(":") if "stream-client" in name)
        self.version = os.path.basename(jar)[len("stream-client-"):-len(".jar")]

    def call(self, peer, mode, topic, *numbers):
        ended = run(["java", "-cp", self.classpath, os.path.join(install.HERE, "RabbitBench.java"), str(peer.port),
                     mode, topic, *map(str, numbers)])
        return ended, json.loads(ended[0].output.strip().splitlines()[-1])

    def result(self, peer, mode, topic, size, *numbers):
        ended, found = self.call(peer, mode, topic, size, *numbers)
        return figures(ended, found.pop("messages"), size, found.pop("seconds"), **found)

    def create(self, peer, topic, partitions=1):
        self.call(peer, "create", topic)

    def produce(self, peer, topic, size, count, partitions=1, producers=1):
        return self.result(peer, "produce", topic, size, count, producers)

    def consume(self, peer, topic, size, count, partitions=1):
        return self.result(peer, "consume", topic, size, count)

    def single(self, peer, topic, size, seconds):
        return self.result(peer, "single", topic, size, seconds)

    def paced(self, peer, topic, size, rate, seconds):
        return self.result(peer, "paced", topic, size, rate, seconds)


def peers(options):
    return [RabbitMq(options)]


def clients(options):
    return [RabbitBench(options)]
