# SPDX-License-Identifier: Apache-2.0
"""One group of a thousand members, and five thousand groups: time and memory (group_bench.c)."""
import resource
import statistics

from machine import resident_bytes

MEMBERS, GROUPS, REBALANCES = 1000, 5000, 20


class Groups:
    def __init__(self, bench):
        self.bench = bench
        self.members = 100 if bench.options.quick else MEMBERS
        self.groups = 500 if bench.options.quick else GROUPS
        self.large, self.many = [], []
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def round(self):
        # The first members wait for the others, which come as fast as they can.
        self.large.append(self.measure("2000", "members", self.members, REBALANCES))
        self.many.append(self.measure("0", "groups", self.groups))

    def measure(self, delay_ms, *arguments):
        with self.bench.broker(f"group.initial.rebalance.delay.ms={delay_ms}") as broker:
            before = resident_bytes(broker.process)
            figures = self.bench.json([self.bench.program("group_bench"), broker.address, *map(str, arguments)])
            figures["memory"] = resident_bytes(broker.process) - before
            broker.kill()
            broker.start(timeout=300)
            figures["memory_after_start"] = resident_bytes(broker.process) - before
            return figures

    def finish(self):
        def row(what, rows, key, scale, digits=1):
            values = [figures[key] / scale for figures in rows]
            cells = f"**{statistics.median(values):,.{digits}f}** ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
            return f"| {what} | {cells} |"

        large, many = self.large, self.many
        return [
            f"## Groups: {self.members:,} members in one, and {self.groups:,} of one member", "",
            "A rebalance: one member joins with another wish; all others hear of it by their heartbeats, join, and "
            "sync. Everybody asks at once, from one process beside the broker. Meanwhile a producer writes one record "
            "after the other.", "", "| | |", "|---|---|",
            row("all have joined again, ms", large, "join_p50_us", 1e3),
            row("all have their part from there, ms", large, "sync_p50_us", 1e3),
            row("slowest of both together, ms", [{"sum": f["join_max_us"] + f["sync_max_us"]} for f in large], "sum", 1e3),
            row("a record beside it, quiet, p50 ms", large, "produce_quiet_p50_us", 1e3),
            row("a record beside it, in rebalances, p50 ms", large, "produce_busy_p50_us", 1e3),
            row("a record beside it, in rebalances, slowest, ms", large, "produce_busy_max_us", 1e3),
            row("memory of the group after the run, MB", large, "memory", 1e6),
            row("memory of the group after a start, MB", large, "memory_after_start", 1e6),
            row(f"{self.groups:,} groups settled, s", many, "settled_us", 1e6, 2),
            row(f"{self.groups:,} heartbeats, ms", many, "heartbeats_us", 1e3),
            row("memory per group, KB", many, "memory", 1e3 * self.groups),
            row("memory per group after a start, KB", many, "memory_after_start", 1e3 * self.groups), ""]
