# SPDX-License-Identifier: Apache-2.0
"""How long until the broker is ready."""
import statistics
import subprocess
import time

from pairs import cell

PARTITIONS = 1000


def timed(action):
    """Milliseconds."""
    start = time.monotonic()
    action()
    return (time.monotonic() - start) * 1000


class Recovery:
    """Fills a directory in one round only: that takes long."""

    def __init__(self, bench):
        self.bench = bench
        self.empty, self.killed, self.clean, self.stops = [], [], [], []
        self.gigabytes = 0.5 if bench.options.quick else 10

    def round(self):
        for _ in range(3):
            broker = self.bench.broker()
            try:
                self.empty.append(timed(broker.start))
                broker.stop()
            finally:
                broker.__exit__(None, None, None)
        if not self.killed:
            with self.bench.broker() as broker:
                self.full(broker)

    def full(self, broker):
        self.bench.create(broker, "full", PARTITIONS)
        count = int(self.gigabytes * 1e9 / 10240)
        self.bench.weir(broker, "bench", "produce", "full", "--size", "10K", "--count", str(count),
                        "--in-flight", "20000", "-X", "buffer.memory=512m")
        for _ in range(3):
            self.kill_under_load(broker)
            self.killed.append(timed(lambda: broker.start(timeout=120)))
            self.stops.append(timed(lambda: broker.stop(timeout=120)))
            self.clean.append(timed(lambda: broker.start(timeout=120)))

    def kill_under_load(self, broker):
        command = [self.bench.program("fill_bench"), broker.address, "--partitions", str(PARTITIONS), "--records",
                   "1000000", "--size", "100", "--in-flight", str(4 * PARTITIONS), "full"]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1 if self.bench.options.quick else 3)
        broker.kill()
        client.kill()
        client.wait()

    def finish(self):
        size = f"{self.gigabytes:g} GB in {PARTITIONS:,} partitions"
        lines = self.bench.section(
            "Start", "recovery",
            f"From the start of the process to the line that says it is ready. {size}, filled by `weir bench "
            "produce`; the SIGKILL comes under load, 100 B records to all partitions by `fill_bench`. Three times, "
            "in one data directory; the empty ones three times a round.")
        return lines + [
            "| | ms |", "|---|---|",
            f"| empty | {cell(self.empty)} |", f"| after SIGKILL, {size} | {cell(self.killed)} |",
            f"| after a clean stop, {size} | {cell(self.clean)} |",
            f"| the clean stop itself | {cell(self.stops)} |", "",
            self.bench.target(f"ready after SIGKILL, {size}", statistics.median(self.killed) / 1000, 2, "s"), "",
            self.bench.target(f"ready after a clean stop, {size}", statistics.median(self.clean) / 1000, 0.5, "s"), ""]
