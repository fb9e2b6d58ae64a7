# SPDX-License-Identifier: Apache-2.0
"""Measures the broker, where there is one beside the least work possible (roofline.c) on the same
machine in the same run, and writes docs/benchmarks.md.

Every measurement takes a fresh data directory and a fresh broker. Parts that are compared alternate,
so that a slow spell of the machine hits both. CPU is the broker's own, from the kernel's accounting
of its threads, client excluded."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
from groups import Groups  # noqa: E402
from harness.broker import Broker, binary  # noqa: E402
from machine import Failure, filesystem, system  # noqa: E402
from pairs import Pairs  # noqa: E402
from partitions import Partitions  # noqa: E402
from peers.report import kept  # noqa: E402
from recovery import Recovery  # noqa: E402
from replay import Replay  # noqa: E402
from writes import Fan, Writes  # noqa: E402

PARTS = {"pairs": Pairs, "fan": Fan, "writes": Writes, "replay": Replay, "recovery": Recovery,
         "partitions": Partitions, "groups": Groups}


class Bench:
    """What the parts share. A part has round(), called as often as there are rounds, or as its own
    `rounds` says, in turn with the others', and finish(), which returns its lines of the report."""

    def __init__(self, options):
        self.options = options
        self.targets = []

    def program(self, name):
        return os.path.join(self.options.build, "tests", "bench", name)

    def json(self, command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def broker(self, *settings, wrap=()):
        directory = tempfile.mkdtemp(prefix="weir-bench-", dir=self.options.dir)
        broker = Broker(directory=directory, shards=self.options.shards, wrap=wrap,
                        settings=["message.max.bytes=4194304", *settings])
        broker.own_directory = True
        return broker

    def weir_command(self, broker, *arguments):
        return [binary("weir"), "-b", broker.address, "-o", "json", *arguments]

    def weir(self, broker, *arguments):
        return self.json(self.weir_command(broker, *arguments))

    def create(self, broker, topic, partitions, *settings):
        command = [binary("weir"), "-b", broker.address, "topic", "create", topic, "--partitions", str(partitions),
                   "--timeout", "120s"]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def target(self, what, figure, limit, unit, at_least=False):
        """Notes a figure that has a limit. Returns the sentence that belongs under its table."""
        self.targets.append((what, figure, limit, unit, at_least))
        return (f"Target, {what}: {'at least' if at_least else 'at most'} {limit:g} {unit}. Measured: "
                f"{figure:,.2f}, {verdict(figure, limit, at_least)}." if figure is not None else
                f"Target, {what}: {limit:g} {unit}. Not measured.")

    def target_lines(self):
        lines = ["| | measured | target | |", "|---|---|---|---|"]
        for what, figure, limit, unit, at_least in self.targets:
            shown = f"**{figure:,.2f}** {unit}" if figure is not None else "-"
            lines.append(f"| {what} | {shown} | {'at least' if at_least else 'at most'} {limit:g} {unit} | "
                         f"{verdict(figure, limit, at_least)} |")
        return lines + [""]

    def section(self, title, only, text):
        """The head of a part of the report: what is compared, and how to see it again."""
        return [f"## {title}", "", f"{text} Again: `./dev bench --only {only}`.", ""]


def verdict(figure, limit, at_least):
    if figure is None:
        return "not measured"
    if figure >= limit if at_least else figure <= limit:
        return "met"
    return f"**missed by {abs(figure - limit) / limit * 100:.1f} %**"


def report(bench, parts):
    options = bench.options
    lines = []
    for part in parts:
        lines += part.finish()
    head = ["# Benchmarks", "",
            "Weir beside the least work that its job can be done with on this machine, and then "
            "[beside other brokers](#beside-other-brokers), which begins with a summary of its own. Virtual disks "
            "flatter: look at the ratios. Where the time goes is in [performance.md](performance.md).", ""]
    how = ["## How it is measured", "",
           "Throughput and latency stand beside the least work possible: one client thread and one server "
           "thread, loopback TCP, CRC-32C over every byte and, where durable, one `O_DIRECT` + `RWF_DSYNC` write "
           "into a prewritten file before each reply, with plain system calls and nothing else "
           "([tests/bench/roofline.c](../tests/bench/roofline.c)). Client and server share the machine. "
           "Weir is driven by `weir bench` and by programs in [tests/bench](../tests/bench), so its client builds "
           "batches, and its broker checks, indexes and checksums them for the disk.", "",
           f"Median (smallest to largest) of {options.rounds} rounds where nothing else is said; measurements of "
           f"time take {options.seconds} s each, in turns with what they are compared with. Ratios are medians of "
           "the ratios round by round: both halves of a round saw the same machine. CPU is the server's alone.", "",
           f"{system()}, {filesystem(options.dir)}, {options.shards} shard{'s' if options.shards > 1 else ''}, "
           f"{time.strftime('%Y-%m-%d')}{', a quick run' if options.quick else ''}. Before measurements of produce "
           "the broker's cache of new records is filled once, so that the first touch of fresh memory does not "
           "count. All of it again: `./dev bench` (some 12 minutes), or `./dev bench --quick` for a first look.", ""]
    targets = ["## Targets", "", *bench.target_lines()] if bench.targets else []
    return "\n".join(head + targets + how + lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--dir", default="/var/tmp", help="where the data directories go: the disk to measure")
    parser.add_argument("--out", default="docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="small amounts, one round, to standard output only")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    os.environ.setdefault("WEIR_BUILD", options.build)
    if options.quick:
        options.rounds, options.seconds, options.out = 1, 1, None
    bench = Bench(options)
    parts = [PARTS[name](bench) for name in options.only.split(",")]
    for number in range(options.rounds):
        for part in parts:
            if number >= getattr(part, "rounds", options.rounds):
                continue
            print(f"round {number + 1} of {options.rounds}: {type(part).__name__.lower()}", file=sys.stderr)
            part.round()
    text = report(bench, parts)
    if options.out:
        other_brokers = kept(options.out)
        with open(options.out, "w") as file:
            file.write(text + other_brokers)
    print(text)


if __name__ == "__main__":
    main()
