# SPDX-License-Identifier: Apache-2.0
"""The broker beside the least work possible (roofline.c), in turns in the same run."""
import contextlib
import os
import statistics
import subprocess
import tempfile
import time

from machine import cpu_seconds

MIB = 1 << 20
WARM_UP_BYTES = 320 * MIB  # over twice the broker's cache of new records
WARM_UP_MESSAGES = 3000
LARGE = ("--batch", "1M", "-X", "message.max.bytes=2m", "-X", "max.in.flight.per.partition=4")
BULK = "Durable produce, 1 MiB batches, 4 in flight"
SINGLE = "Durable produce, one 1 KiB message at a time"
TAIL = "Tail fetch, 1 KiB messages in answers of up to 2 MiB"


class Pairs:
    def __init__(self, bench):
        self.bench = bench
        self.rows = {}

    def roofline(self, mode, chunk, in_flight):
        options = self.bench.options
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            result = self.bench.json([self.bench.program("roofline"), "--mode", mode, "--chunk", str(chunk),
                                      "--in-flight", str(in_flight), "--seconds", str(options.seconds),
                                      "--dir", directory])
        return {"mb_per_s": result["mb_per_s"], "cpu": result["cpu_s_per_gb"],
                "p50": result["p50_us"], "p99": result["p99_us"]}

    def measured(self, broker, *arguments):
        before = cpu_seconds(broker.process)
        (result,) = self.bench.weir(broker, *arguments).values()
        used = cpu_seconds(broker.process) - before
        latency = result["latency"] or {}
        gigabytes = result["bytes"] / 1e9
        return {"mb_per_s": result["mb_per_second"], "cpu": used / gigabytes, "gb": gigabytes,
                "p50": latency.get("p50_us"), "p99": latency.get("p99_us")}

    def produce(self, size, in_flight, *more):
        command = ("bench", "produce", "--size", str(size), "--in-flight", str(in_flight), *more)
        with self.bench.broker() as broker:
            # Until the broker's cache is full, the system hands out memory that nobody has touched.
            self.bench.weir(broker, *command, "--count", str(min(WARM_UP_BYTES // size, WARM_UP_MESSAGES)))
            return self.measured(broker, *command, "--duration", f"{self.bench.options.seconds}s")

    @contextlib.contextmanager
    def tail(self):
        """A broker with a topic that it has in memory and that has been read once."""
        with self.bench.broker("weir.tail.cache.bytes=268435456") as broker:
            self.bench.create(broker, "tail", 1)
            self.bench.weir(broker, "bench", "produce", "tail", "--size", "1K", "--count", "120000")
            self.bench.weir(broker, "bench", "consume", "tail")
            yield broker

    def fetch(self):
        """Tail fetch: what was just written, from memory, again and again."""
        with self.tail() as broker:
            results = []
            end = time.monotonic() + self.bench.options.seconds
            while time.monotonic() < end:
                results.append(self.measured(broker, "bench", "consume", "tail"))
            return {key: statistics.median(r[key] for r in results) if results[0][key] is not None else None
                    for key in results[0]}

    def discard(self):
        """The same with a client that looks at no record."""
        with self.tail() as broker:
            before = cpu_seconds(broker.process)
            result = self.bench.json([self.bench.program("fetch_bench"), broker.address, "tail", "--max-bytes", str(2 * MIB),
                                      "--in-flight", "2", "--seconds", str(self.bench.options.seconds)])
            used = cpu_seconds(broker.process) - before
            return {"mb_per_s": result["mb_per_s"], "cpu": used / (result["all_bytes"] / 1e9), "p50": result["p50_us"],
                    "p99": result["p99_us"]}

    def pair(self, name, least, **ours):
        row = self.rows.setdefault(name, {key: [] for key in ("least", *ours)})
        row["least"].append(least())
        for key, call in ours.items():
            row[key].append(call())

    def round(self):
        self.pair(BULK, lambda: self.roofline("durable", MIB, 4), ours=lambda: self.produce(MIB, 4, *LARGE))
        self.pair(SINGLE, lambda: self.roofline("durable", 1024, 1), ours=lambda: self.produce(1024, 1))
        self.pair(TAIL, lambda: self.roofline("fetch", 2 * MIB, 2), discard=self.discard, ours=self.fetch)

    def finish(self):
        single = self.bench.target("single durable 1 KiB message, p50 against the least work",
                                   self.ratio(SINGLE, "p50"), 1.3, "times")
        bulk = self.bench.target("sustained durable 1 MiB batches to one partition, MB/s against the least work",
                                 self.ratio(BULK, "mb_per_s"), 0.7, "times", at_least=True)
        said = {BULK: ("`weir bench produce --size 1M --in-flight 4`: batches that go straight to their segment, as "
                       "few bytes as there are. Beside it `roofline --mode durable --chunk 1048576 --in-flight 4`.",
                       bulk),
                SINGLE: ("`weir bench produce --size 1K --in-flight 1`: each message waits for the one before it, "
                         "and is acknowledged when the journal's write of one block is durable. Beside it "
                         "`roofline --mode durable --chunk 1024 --in-flight 1`.", single),
                TAIL: ("What was just written is read from memory, again and again. `roofline --mode fetch --chunk "
                       "2097152 --in-flight 2` sends the same bytes every time to a client that throws them away. Beside "
                       "it Weir with such a client, `fetch_bench --max-bytes 2097152 --in-flight 2`, which looks at the "
                       "heads of record batches only (MB are those of batches); and with `weir bench consume`, which "
                       "decodes every record.", None)}
        lines = []
        for name in self.rows:
            text, target = said[name]
            lines += self.bench.section(name, "pairs", text) + self.table(name)
            lines += [target, ""] if target else []
        return lines

    def ratio(self, name, key, who="ours"):
        """The median of the ratios taken round by round: both halves of a round saw the same machine."""
        row = self.rows[name]
        pairs = [(o[key], l[key]) for o, l in zip(row[who], row["least"]) if o[key] and l[key]]
        return statistics.median(o / l for o, l in pairs) if pairs else None

    def table(self, name):
        lines = ["| | MB/s | server CPU s/GB | p50 us | p99 us |", "|---|---|---|---|---|"]
        titles = {"least": "least work", "discard": "Weir, to a client that discards",
                  "ours": "Weir, decoded" if "discard" in self.rows[name] else "Weir"}
        for key, rows in self.rows[name].items():
            cells = [cell([r[figure] for r in rows], digits)
                     for figure, digits in (("mb_per_s", 0), ("cpu", 2), ("p50", 0), ("p99", 0))]
            lines.append(f"| {titles[key]} | " + " | ".join(cells) + " |")
        for key in list(self.rows[name])[1:]:
            ratios = [self.ratio(name, figure, key) for figure in ("mb_per_s", "cpu", "p50", "p99")]
            lines.append(f"| {titles[key]} / least | " + " | ".join(f"{r:.2f}" if r else "-" for r in ratios) + " |")
        return lines + [""]


def cell(values, digits=0):
    """Median (smallest to largest)."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    text = f"**{statistics.median(values):,.{digits}f}**"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
