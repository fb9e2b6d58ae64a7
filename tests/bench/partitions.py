# SPDX-License-Identifier: Apache-2.0
"""Ten thousand partitions on one broker, in one topic or in many."""
import subprocess
import sys

from harness.broker import binary
from machine import Failure, open_files, resident_bytes
from recovery import timed

MANY = 10000


class Partitions:
    rounds = 1  # each has ten thousand of everything

    def __init__(self, bench):
        self.bench = bench
        self.partitions = 1000 if bench.options.quick else MANY
        self.columns = {}

    def weir(self, broker, *arguments):
        done = subprocess.run([binary("weir"), "-b", broker.address, "--timeout", "300s", *arguments],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"weir {' '.join(arguments[:3])}: {done.stderr.strip()[:500]}")
        return done.stdout

    def round(self):
        n = self.partitions
        for name, topics, wrap in ((f"one topic of {n:,}", 1, ()), (f"{n // 10:,} topics of 10", n // 10, ()),
                                   (f"one topic of {n:,}, 1,024 descriptors", 1, ("prlimit", "--nofile=1024:1024"))):
            self.columns[name] = self.measure(topics, wrap)

    def measure(self, topics, wrap):
        """What can be measured: after a failure the rest is missing."""
        figures = {}
        try:
            self.fill_in(figures, topics, wrap)
        except Failure as failure:
            print(failure, file=sys.stderr)
        return figures

    def fill_in(self, figures, topics, wrap):
        names = [f"topic-{number}" for number in range(topics)]
        each = self.partitions // topics
        with self.bench.broker("auto.create.topics.enable=false", wrap=wrap) as broker:
            base = resident_bytes(broker.process)
            figures["created, s"] = timed(lambda: self.weir(broker, "topic", "create", "-p", str(each), *names)) / 1e3
            figures["memory per partition, empty, KB"] = (resident_bytes(broker.process) - base) / self.partitions / 1e3
            figures["listed, s"] = timed(lambda: self.weir(broker, "topic", "list")) / 1e3
            figures["a record into each, s"] = timed(lambda: self.fill(broker, names, each)) / 1e3
            figures["memory per partition, idle, KB"] = (resident_bytes(broker.process) - base) / self.partitions / 1e3
            figures["open files"] = open_files(broker.process)
            broker.kill()
            figures["ready after SIGKILL, s"] = timed(lambda: broker.start(timeout=300)) / 1e3
            figures["clean stop, s"] = timed(lambda: broker.stop(timeout=300)) / 1e3
            figures["ready after a clean stop, s"] = timed(lambda: broker.start(timeout=300)) / 1e3
            figures["memory per partition after start, KB"] = \
                (resident_bytes(broker.process) - base) / self.partitions / 1e3
            figures["deleted, s"] = timed(lambda: self.weir(broker, "topic", "delete", *names)) / 1e3

    def fill(self, broker, names, each):
        """Three records into each partition."""
        self.bench.json([self.bench.program("fill_bench"), broker.address, "--partitions", str(each),
                         "--records", "3", *names])

    def finish(self):
        lines = self.bench.section(
            f"{self.partitions:,} partitions", "partitions",
            "In one topic or in many, created, listed, filled with three records each, killed, started and deleted, "
            "by `weir topic` and `fill_bench`; once each. Memory is what the broker has more of than when it was "
            "empty. What is aimed at: created and deleted in seconds, tens of KB each when idle, files opened on "
            "demand within a limit.")
        lines += ["| | " + " | ".join(self.columns) + " |", "|---" * (len(self.columns) + 1) + "|"]
        for key in next(iter(self.columns.values())):
            digits = 0 if key == "open files" else 2
            cells = [f"{column[key]:,.{digits}f}" if key in column else "failed" for column in self.columns.values()]
            lines.append(f"| {key} | " + " | ".join(cells) + " |")
        return lines + [""]
