# SPDX-License-Identifier: Apache-2.0
"""Many partitions at once, and what is written to the device."""
import statistics
import time

from machine import device_written, process_written
from pairs import LARGE, cell
from segments import Usage

PARTITIONS = 1000


class Fan:
    """One record to each of many partitions against the same records to one of them."""

    def __init__(self, bench):
        self.bench = bench
        self.results = []

    def round(self):
        with self.bench.broker() as broker:
            self.results.append(self.bench.json(
                [self.bench.program("fan_bench"), broker.address, "--partitions", str(PARTITIONS), "--size", "100",
                 "--seconds", str(self.bench.options.seconds)]))

    def finish(self):
        lines = self.bench.section(
            f"{PARTITIONS:,} records of 100 bytes, all acknowledged", "fan",
            "`fan_bench --partitions 1000 --size 100`: from the first record's send to the last one's "
            "acknowledgement, nothing else under way. One record to each of 1,000 partitions, which is 1,000 record "
            "batches in one request and one write of the journal, in turns with the same records to one partition, "
            "which is one batch.")
        lines += ["| | p50 us | p99 us |", "|---|---|---|"]
        for title, key in (("all to one partition", "narrow"), (f"one to each of {PARTITIONS:,} partitions", "wide")):
            cells = [cell([r[f"{key}_{p}_us"] for r in self.results]) for p in ("p50", "p99")]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        ratio = statistics.median(r["wide_p50_us"] / r["narrow_p50_us"] for r in self.results)
        return lines + ["", self.bench.target(
            f"one 100 B record to each of {PARTITIONS:,} partitions, against the same bytes to one", ratio, 3,
            "times"), ""]


class Writes:
    """Bytes that reach the device, and what sealed segments take."""

    def __init__(self, bench):
        self.bench = bench
        self.rounds = 1  # what is counted hardly varies
        self.rows = {}

    def warm_up(self, broker):
        """Journal files are written once before they are used again and again: that is not counted."""
        self.bench.create(broker, "warm", PARTITIONS)
        self.bench.json([self.bench.program("fill_bench"), broker.address, "--partitions", str(PARTITIONS),
                         "--records", "1000", "--size", "100", "--in-flight", str(4 * PARTITIONS), "warm"])
        broker.stop()
        broker.start()

    def large(self, broker):
        count = 200 if self.bench.options.quick else 2000
        (result,) = self.bench.weir(broker, "bench", "produce", "load", "--size", "1M", "--in-flight", "4", *LARGE,
                                    "--count", str(count)).values()
        return result["mb_per_second"]

    def small(self, broker, partitions, in_flight, count):
        """Records of 100 bytes, to the partitions in turns."""
        return self.bench.json(
            [self.bench.program("fill_bench"), broker.address, "--partitions", str(partitions), "--records",
             str(count // partitions // (4 if self.bench.options.quick else 1)), "--size", "100",
             "--in-flight", str(in_flight), "load"])["mb_per_second"]

    def measure(self, name, partitions, segment_bytes, produce):
        """Produces, stops the broker, and compares what was written with the payload in the segments."""
        options = self.bench.options
        with self.bench.broker() as broker:
            self.warm_up(broker)
            self.bench.create(broker, "load", partitions, f"segment.bytes={segment_bytes}")
            device = device_written(options.dir)
            written = process_written(broker.process)
            rate = produce(broker)
            broker.process.terminate()
            wait_for_end(broker.process)
            written = process_written(broker.process) - written
            broker.process.wait()
            after = device_written(options.dir)
            usage = Usage(broker.directory, "load")
        self.rows.setdefault(name, []).append({
            "broker": written / usage.payload,
            "device": (after - device) / usage.payload if device is not None else None,
            "sealed": usage.sealed_ratio(), "mb_per_s": rate,
            "payload": usage.payload / 1e6})

    def round(self):
        self.measure("bulk: 1 MiB batches to one partition", 1, 64 << 20, self.large)
        self.measure(f"small: 100 B records to {PARTITIONS:,} partitions in turns, 4,000 in flight", PARTITIONS, 1 << 30,
                     lambda broker: self.small(broker, PARTITIONS, 4 * PARTITIONS, 8000000))
        self.measure("small: 100 B records to 10 partitions in turns, 200 in flight, segments of 4 MiB", 10, 4 << 20,
                     lambda broker: self.small(broker, 10, 200, 1000000))

    def finish(self):
        rows = list(self.rows.items())
        lines = self.bench.section(
            "Bytes written", "writes",
            "Per byte of payload (record batches as they are stored), from the kernel's counters: those of the "
            "broker's process (`write_bytes` in `/proc/PID/io`), a clean stop included, and those of the device, "
            "which also count the file system's own writes and everybody else's. `weir bench produce` and "
            f"`fill_bench` produce; segments are measured by their frames' headers. One round.")
        lines += ["| | payload MB | broker | device | sealed segments | MB/s of values |", "|---|---|---|---|---|---|"]
        for name, results in rows:
            cells = [cell([r[key] for r in results], digits) for key, digits in
                     (("payload", 0), ("broker", 2), ("device", 2), ("sealed", 3), ("mb_per_s", 0))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        for (name, results), limit in zip(rows, (1.1, 2.2)):
            lines += ["", self.bench.target(f"bytes written to the device per byte of payload, {name}",
                                            statistics.median(r["broker"] for r in results), limit, "bytes")]
        sealed = [r["sealed"] for _, results in rows for r in results if r["sealed"]]
        return lines + ["", self.bench.target("sealed segments' size against their payload, the worst",
                                              max(sealed, default=None), 1.03, "times"), ""]


def wait_for_end(process):
    """Until the process has ended, without reaping it: its counters go with that."""
    while True:
        with open(f"/proc/{process.pid}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.01)
