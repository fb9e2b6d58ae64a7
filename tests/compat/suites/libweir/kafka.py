# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka, from its jars: one node in KRaft mode, on a directory and ports of its own."""
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import install

START_TIMEOUT_S = 120
# Small, quick to elect and to rebalance; everything else is Kafka's default.
SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={directory}/data
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=100
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=200
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def java(*arguments):
    jars = ":".join(sorted(glob.glob(os.path.join(install.place("kafka-suite"), "jars", "*.jar"))))
    return ["java", "-Xmx768m", "-XX:+UseSerialGC", "-cp", jars, *arguments]


class Kafka:
    """As a context manager: ready inside, gone without a trace behind it."""

    def __init__(self, settings=()):
        self.settings = settings  # beside those above, or in place of them
        self.directory = tempfile.mkdtemp(prefix="weir-kafka-")
        self.port = free_port()
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def path(self, name):
        return os.path.join(self.directory, name)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        with open(self.path("properties"), "w") as file:
            file.write(SETTINGS.format(port=self.port, controller=free_port(),
                                       directory=self.directory))
            file.writelines(line + "\n" for line in self.settings)
        install.call(*java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ",
                           "-c", self.path("properties")), cwd=self.directory)
        with open(self.path("log"), "wb") as log:
            self.process = subprocess.Popen(java("kafka.Kafka", self.path("properties")),
                                            stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start:\n{self.log()}")
            time.sleep(0.2)

    def alive(self):
        return self.process.poll() is None

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def stop(self):
        """Returns 0 when Kafka has ended as it was told to."""
        self.process.terminate()
        return self.process.wait(START_TIMEOUT_S) - (128 + signal.SIGTERM)

    def listens(self):
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        with open(self.path("log"), errors="replace") as log:
            return log.read()[-4000:]
