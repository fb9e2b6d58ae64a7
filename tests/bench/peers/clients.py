# SPDX-License-Identifier: Apache-2.0
"""The programs that load brokers of Kafka's protocol. Each client has the same methods and gives
figures under the same names, so that a work does not know whom it measures:

  messages_per_s, mb_per_s (10^6 bytes of values), client_cpu (s), messages; p50_us ... where latencies
  were measured.

librdkafka and Java are foreign and unmodified; weir bench is libweir, Weir's own. fetch_bench is no
client that anybody would use: it throws away what it fetches."""
import json
import os
import random
import statistics
import string
import subprocess
import tempfile
import time

from harness.broker import binary
from machine import Failure
from peers import install
from peers.peer import Client, run, shown

MIB = 1 << 20
LEADERS_S = 60
CONSUMER_BEGINS_S = 2
QUANTILES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999, "p9999_us": 0.9999}


def figures(ended, messages, size, seconds, **more):
    return {"messages": messages, "messages_per_s": messages / seconds, "mb_per_s": messages * size / seconds / 1e6,
            "client_cpu": sum(one.cpu for one in ended), "command": shown(ended[0].command), **more}


def shares(total, parts):
    """The total in so many parts, as equal as they get."""
    return [total // parts + (1 if i < total % parts else 0) for i in range(parts)]


class KafkaClient:
    """What every client of Kafka's protocol does alike."""

    protocol = "kafka"

    def create(self, peer, topic, partitions=1, *settings):
        command = [binary("weir"), "-b", peer.address, "--timeout", "120s", "topic", "create", topic, "--partitions",
                   str(partitions)]
        for setting in settings:
            command += ["--set", setting]
        run(command, timeout=130)
        wait_for_leaders(peer, topic, partitions)


def wait_for_leaders(peer, topic, partitions):
    """A broker may answer before its partitions can be used."""
    deadline = time.monotonic() + LEADERS_S
    while True:
        done = subprocess.run([binary("weir"), "-b", peer.address, "-o", "json", "topic", "offsets", topic],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise Failure(f"topic {topic} of {partitions} partitions cannot be used after {LEADERS_S} s: {done.stderr}")
        time.sleep(0.1)


class Librdkafka(KafkaClient):
    """rdkafka_performance on the newest library, batches of up to 1 MB, as its own default says."""

    key, label = "librdkafka", "librdkafka rdkafka_performance"
    starts_quickly = True

    def __init__(self, options):
        self.options = options
        self.directory = self.version = None

    def install(self):
        self.directory, self.version = install.librdkafka()

    def program(self, name="rdkafka_performance"):
        return os.path.join(self.directory, name)

    def produce_command(self, peer, topic, size, count, partitions):
        # Its payload is a pattern; nothing is compressed, but random bytes cost nothing either.
        letters = random.Random(size)
        pattern = "".join(letters.choice(string.ascii_letters + string.digits) for _ in range(size))
        command = [self.program(), "-P", "-b", peer.address, "-t", topic, "-s", str(size), "-c", str(count),
                   "-a", "-1", "-X", "linger.ms=5", "-X", "queue.buffering.max.messages=1000000",
                   "-X", "queue.buffering.max.kbytes=1048576", "-m", pattern]
        return command + (["-p", "0"] if partitions == 1 else [])

    def produce(self, peer, topic, size, count, partitions=1, producers=1):
        ended = run(*[self.produce_command(peer, topic, size, share, partitions)
                      for share in shares(count, producers)])
        return self.produced(ended, size, count)

    def produced(self, ended, size, count):
        results = [one.find(r"(\d+) delivered .*?(\d+) failed\) in (\d+)ms") for one in ended]
        delivered = sum(result[0] for result in results)
        if delivered != count:
            raise Failure(f"{count - delivered:.0f} of {count} messages were not stored")
        return figures(ended, count, size, max(max(result[2] for result in results), 1) / 1e3)

    def consume_command(self, peer, topic, count, partitions=1):
        return [self.program(), "-C", "-b", peer.address, "-t", topic, "-o", "beginning", "-c", str(count),
                *[word for number in range(partitions) for word in ("-p", str(number))],
                "-X", "queued.min.messages=1000000", "-X", "fetch.message.max.bytes=1048576"]

    def consume(self, peer, topic, size, count, partitions=1):
        ended = run(self.consume_command(peer, topic, count, partitions))
        return self.consumed(ended, size)

    def consumed(self, ended, size):
        count, took = ended[0].find(r"(\d+) messages \(\d+ bytes\) consumed in (\d+)ms")
        return figures(ended, count, size, max(took, 1) / 1e3)

    def both(self, peer, topic, size, count):
        """A producer and a consumer of the same topic at the same time."""
        ended = run(self.consume_command(peer, topic, count), self.produce_command(peer, topic, size, count, 1))
        result = self.produced(ended[1:], size, count)
        consumed = self.consumed(ended[:1], size)
        return {**result, "client_cpu": sum(one.cpu for one in ended),
                "consumed_mb_per_s": consumed["mb_per_s"]}

    def single(self, peer, topic, size, seconds):
        ended = run([self.program("rdkafka_single"), peer.address, topic, str(size), str(seconds)])
        count, p50, p99, p999, worst = ended[0].find(r"(\d+) messages p50 (\S+) p99 (\S+) p999 (\S+) max (\S+)")
        return figures(ended, count, size, seconds, p50_us=p50, p99_us=p99, p999_us=p999, max_us=worst)

    def paced(self, peer, topic, size, rate, seconds):
        """Latency to the consumer, from the moment the producer handed the message over: that is all
        this program knows. Each latency goes through a file."""
        with tempfile.NamedTemporaryFile() as file:
            count = int(rate * seconds)
            consumer = Client([self.program(), "-C", "-b", peer.address, "-t", topic, "-p", "0", "-o", "beginning",
                               "-c", str(count), "-l", "-A", file.name, "-X", "fetch.wait.max.ms=100"])
            time.sleep(CONSUMER_BEGINS_S)  # it does not say when it waits for messages
            try:
                ended = run([self.program(), "-P", "-b", peer.address, "-t", topic, "-p", "0", "-s", str(size), "-c",
                             str(count), "-r", str(rate), "-l", "-a", "-1", "-X", "linger.ms=0"])
                ended.append(consumer.wait(120).check())
            finally:
                consumer.kill()
            latencies = [int(line) for line in file if line.strip()]
        # The first second's messages waited for the producer to find its broker.
        latencies = sorted(latencies[min(rate, len(latencies) // 2):])
        quantiles = {name: float(latencies[min(int(q * len(latencies)), len(latencies) - 1)])
                     for name, q in QUANTILES.items()} if latencies else {}
        return figures(ended, count, size, ended[0].seconds, **quantiles, mean_us=statistics.fmean(latencies or [0]))


class Java(KafkaClient):
    """The Java client's own ProducerPerformance and ConsumerPerformance, with batches of 256 KiB: its
    default of 16 KiB is not made for throughput."""

    key, label = "java", "Java ProducerPerformance, ConsumerPerformance"

    def __init__(self, options):
        self.options = options
        self.classpath = self.version = None

    def install(self):
        self.classpath = install.jars("kafka")
        self.version = dict(install.pins("kafka", "maven"))["org.apache.kafka:kafka-tools"]

    def java(self, *arguments):
        return ["java", "-cp", self.classpath, "-Xmx512m", *arguments]

    def produce(self, peer, topic, size, count, partitions=1, producers=1):
        ended = run(*[self.java("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records",
                                str(share), "--record-size", str(size), "--throughput", "-1", "--producer-props",
                                f"bootstrap.servers={peer.address}", "acks=all", "batch.size=262144", "linger.ms=5",
                                "buffer.memory=134217728")
                      for share in shares(count, producers)])
        rates = [one.find(r"records sent, ([\d.]+) records/sec")[0] for one in ended]
        seconds = max(share / rate for share, rate in zip(shares(count, producers), rates))
        return figures(ended, count, size, seconds)

    def consume(self, peer, topic, size, count, partitions=1):
        ended = run(self.java("org.apache.kafka.tools.ConsumerPerformance", "--topic", topic, "--bootstrap-server",
                              peer.address, "--num-records", str(count), "--timeout", "60000"))
        line = [line for line in ended[0].output.splitlines() if line.count(",") >= 9][-1]
        columns = [word.strip() for word in line.split(",")]
        messages, fetch_ms = float(columns[4]), float(columns[7])
        return figures(ended, messages, size, max(fetch_ms, 1) / 1e3)


class Libweir(KafkaClient):
    """weir bench: as many messages in flight as its memory of 64 MiB holds."""

    key, label = "libweir", "libweir weir bench"
    starts_quickly = True

    def __init__(self, options):
        self.options = options
        self.version = None

    def install(self):
        self.version = run([binary("weir"), "--version"])[0].output.split()[-1]

    def command(self, peer, *arguments):
        return [binary("weir"), "-b", peer.address, "-o", "json", *arguments]

    @staticmethod
    def read(ended, name):
        """The result of that name among those printed."""
        return json.loads(ended.output)[name]

    def result(self, ended, name, size):
        found = self.read(ended[0], name)
        latency = found["latency"] or {}
        return figures(ended, found["messages"], size, found["seconds"],
                       **{key: value for key, value in latency.items() if key.endswith("_us")})

    def produce(self, peer, topic, size, count, partitions=1, producers=1, keys=0):
        in_flight = str(max(64 * MIB // size // producers, 10))
        command = self.command(peer, "bench", "produce", topic, "--size", str(size), "--count", str(count),
                               "--in-flight", in_flight, "--clients", str(producers))
        ended = run([*command, "--keys", str(keys)] if keys else command)
        found = self.read(ended[0], "produce")
        return figures(ended, found["messages"], size, found["seconds"])

    def consume(self, peer, topic, size, count, partitions=1):
        return self.result(run(self.command(peer, "bench", "consume", topic, "--count", str(count))), "consume", size)

    def both(self, peer, topic, size, count):
        ended = run(self.command(peer, "bench", "consume", topic, "--count", str(count)),
                    self.command(peer, "bench", "produce", topic, "--size", str(size), "--count", str(count),
                                 "--in-flight", str(max(64 * MIB // size, 10))))
        result = self.result(ended[1:], "produce", size)
        return {**result, "client_cpu": sum(one.cpu for one in ended),
                "consumed_mb_per_s": self.result(ended[:1], "consume", size)["mb_per_s"]}

    def single(self, peer, topic, size, seconds):
        return self.result(run(self.command(peer, "bench", "produce", topic, "--size", str(size), "--in-flight", "1",
                                            "--duration", f"{seconds}s")), "produce", size)

    def paced_produce(self, peer, topic, size, rate, seconds, keys=0):
        """Latency to the acknowledgement, from the moment each message was due."""
        command = self.command(peer, "bench", "produce", topic, "--size", str(size), "--rate", str(rate), "--duration",
                               f"{seconds}s")
        return self.result(run([*command, "--keys", str(keys)] if keys else command), "produce", size)

    def paced(self, peer, topic, size, rate, seconds):
        """Latency to a consumer of the same process, from the moment each message was due."""
        ended = run(self.command(peer, "bench", "produce", topic, "--size", str(size), "--rate", str(rate),
                                 "--duration", f"{seconds}s", "--consumers", "1"), timeout=seconds + 120)
        result, produced = self.result(ended, "consume", size), self.result(ended, "produce", size)
        return {**result, "messages": produced["messages"], "messages_per_s": produced["messages_per_s"],
                "mb_per_s": produced["mb_per_s"], "ack_p99_us": produced.get("p99_us")}


class Discard(KafkaClient):
    """fetch_bench, which fetches and throws away, as the least work possible does. It asks for as much at
    a time as that, has as many requests in flight, and reads for as long. What it reads is produced by
    weir bench. Its MB and GB are those of record batches."""

    key, label = "discard", "a client that discards (fetch_bench)"
    reads_again = True  # by itself, from the first offset on
    fetch_bytes, in_flight = MIB, 2

    def __init__(self, options):
        self.options = options
        self.producer = Libweir(options)
        self.version = None

    def install(self):
        self.producer.install()
        self.version = self.producer.version

    def produce(self, *arguments):
        return self.producer.produce(*arguments)

    def consume(self, peer, topic, size, count, partitions=1):
        program = os.path.join(self.options.build, "tests", "bench", "fetch_bench")
        ended = run([program, peer.address, topic, "--max-bytes", str(self.fetch_bytes), "--in-flight",
                     str(self.in_flight), "--seconds", str(1 if self.options.quick else 4)])
        found = json.loads(ended[0].output)
        return {**figures(ended, found["messages"], size, found["seconds"]), "mb_per_s": found["mb_per_s"],
                "moved_gb": found["all_bytes"] / 1e9}


def clients(options):
    return [Librdkafka(options), Java(options), Libweir(options), Discard(options)]
