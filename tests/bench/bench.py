# SPDX-License-Identifier: Apache-2.0
"""Measures the broker beside the least work possible (roofline.c) on the same machine in the same
run, in turns, and writes docs/benchmarks.md.

Every round takes a fresh data directory and a fresh broker; roofline and broker alternate, so that a
slow spell of the machine hits both. CPU is the broker's own, from the kernel's accounting of its
threads, client excluded."""
import argparse
import glob
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness.broker import Broker, binary  # noqa: E402

MIB = 1 << 20
WARM_UP_BYTES = 320 * MIB  # over twice the broker's cache of new records
WARM_UP_MESSAGES = 3000


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def cpu_seconds(process):
    """What all threads of the process have used so far, kernel work included."""
    total = 0
    for path in glob.glob(f"/proc/{process.pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e9


class Bench:
    def __init__(self, options):
        self.options = options
        self.rows = {}

    def roofline(self, mode, chunk, in_flight):
        with tempfile.TemporaryDirectory(dir=self.options.dir) as directory:
            program = os.path.join(self.options.build, "tests", "bench", "roofline")
            result = run_json([program, "--mode", mode, "--chunk", str(chunk), "--in-flight", str(in_flight),
                               "--seconds", str(self.options.seconds), "--dir", directory])
        return {"mb_per_s": result["mb_per_s"], "cpu": result["cpu_s_per_gb"],
                "p50": result["p50_us"], "p99": result["p99_us"]}

    def broker(self, *settings):
        directory = tempfile.mkdtemp(prefix="weir-bench-", dir=self.options.dir)
        broker = Broker(directory=directory, shards=self.options.shards,
                        settings=["message.max.bytes=4194304", *settings])
        broker.own_directory = True
        return broker

    def weir(self, broker, *arguments):
        return run_json([binary("weir"), "-b", broker.address, "-o", "json", *arguments])

    def measured(self, broker, *arguments):
        before = cpu_seconds(broker.process)
        (result,) = self.weir(broker, *arguments).values()
        used = cpu_seconds(broker.process) - before
        gigabytes = result["bytes"] / 1e9
        latency = result["latency"] or {}
        return {"mb_per_s": result["mb_per_second"], "cpu": used / gigabytes,
                "p50": latency.get("p50_us"), "p99": latency.get("p99_us")}

    def produce(self, size, in_flight, *more):
        command = ("bench", "produce", "--size", str(size), "--in-flight", str(in_flight), *more)
        with self.broker() as broker:
            # Until the broker's cache is full, the system hands out memory that nobody has touched.
            self.weir(broker, *command, "--count", str(min(WARM_UP_BYTES // size, WARM_UP_MESSAGES)))
            return self.measured(broker, *command, "--duration", f"{self.options.seconds}s")

    def fetch(self):
        """Tail fetch: what was just written, from memory, again and again."""
        with self.broker("weir.tail.cache.bytes=268435456") as broker:
            subprocess.run([binary("weir"), "-b", broker.address, "topic", "create", "tail"], check=True,
                           stdout=subprocess.DEVNULL)
            self.weir(broker, "bench", "produce", "tail", "--size", "1K", "--count", "120000")
            self.weir(broker, "bench", "consume", "tail")
            results = []
            end = time.monotonic() + self.options.seconds
            while time.monotonic() < end:
                results.append(self.measured(broker, "bench", "consume", "tail"))
            return {key: statistics.median(r[key] for r in results) if results[0][key] is not None else None
                    for key in results[0]}

    def pair(self, name, least, ours):
        row = self.rows.setdefault(name, {"least": [], "ours": []})
        row["least"].append(least())
        row["ours"].append(ours())

    def round(self):
        large = ("--batch", "1M", "-X", "message.max.bytes=2m", "-X", "max.in.flight.per.partition=4")
        self.pair("durable produce, 1 MiB batches, 4 in flight",
                  lambda: self.roofline("durable", MIB, 4), lambda: self.produce(MIB, 4, *large))
        self.pair("durable produce, one 1 KiB message at a time",
                  lambda: self.roofline("durable", 1024, 1), lambda: self.produce(1024, 1))
        self.pair("tail fetch, 1 KiB messages in answers of up to 2 MiB",
                  lambda: self.roofline("fetch", 2 * MIB, 2), self.fetch)


def middle(values):
    """Median, smallest and largest, or None."""
    values = [value for value in values if value is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def cell(figures, digits):
    if not figures:
        return "-"
    return f"**{figures[0]:,.{digits}f}** ({figures[1]:,.{digits}f} to {figures[2]:,.{digits}f})"


def ratio(row, key, digits=2):
    """The median of the ratios taken round by round: both halves of a round saw the same machine."""
    pairs = [(o[key], l[key]) for o, l in zip(row["ours"], row["least"]) if o[key] and l[key]]
    return f"{statistics.median(o / l for o, l in pairs):.{digits}f}" if pairs else "-"


def filesystem(path):
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


def report(bench, options):
    lines = ["# Benchmarks", "",
             "Every figure stands beside the least work possible: one client thread and one server thread, "
             "loopback TCP, CRC-32C over every byte and, where durable, one `O_DIRECT` + `RWF_DSYNC` write "
             "into a prewritten file before each reply, with plain system calls and nothing else "
             "([tests/bench/roofline.c](../tests/bench/roofline.c)). Client and server share the machine. "
             "Weir is driven by `weir bench`, so its client builds batches, and its broker checks, indexes "
             "and checksums them for the disk.", "",
             f"Median (smallest to largest) of {options.rounds} rounds of {options.seconds} s, taken in turns. "
             "Ratios are medians of the ratios round by round. CPU is the server's alone. "
             "Virtual disks flatter: look at the ratios.", "",
             f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs ({cpu_name()}), "
             f"{filesystem(options.dir)}, {options.shards} shard{'s' if options.shards > 1 else ''}, "
             f"{time.strftime('%Y-%m-%d')}. Before each measurement the broker's cache of new records is filled "
             "once, so that the first touch of fresh memory does not count. Again: `./dev bench`.", ""]
    for name, row in bench.rows.items():
        lines += [f"## {name[0].upper()}{name[1:]}", "",
                  "| | MB/s | server CPU s/GB | p50 us | p99 us |", "|---|---|---|---|---|"]
        for title, key in (("least work", "least"), ("Weir", "ours")):
            figures = {figure: middle([r[figure] for r in row[key]]) for figure in ("mb_per_s", "cpu", "p50", "p99")}
            lines.append(f"| {title} | {cell(figures['mb_per_s'], 0)} | {cell(figures['cpu'], 2)} | "
                         f"{cell(figures['p50'], 0)} | {cell(figures['p99'], 0)} |")
        lines += [f"| Weir / least | {ratio(row, 'mb_per_s')} | {ratio(row, 'cpu')} | {ratio(row, 'p50')} | "
                  f"{ratio(row, 'p99')} |", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--dir", default="/var/tmp", help="where the data directories go: the disk to measure")
    parser.add_argument("--out", default="docs/benchmarks.md")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    os.environ["WEIR_BUILD"] = options.build
    bench = Bench(options)
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        bench.round()
    text = report(bench, options)
    with open(options.out, "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
