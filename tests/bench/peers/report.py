# SPDX-License-Identifier: Apache-2.0
"""Tables and plots from the file of measurements. Synced and unsynced brokers never share a table or a
plot. The report is one part of docs/benchmarks.md, between two marks; the rest of the file is not
touched."""
import json
import os
import statistics

from machine import Failure
from pairs import cell
from peers import plot
from peers.load import QUIET

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
CLASSES = ((True, "durable before it is acknowledged"), (False, "not synced before it is acknowledged"))
# Figure: heading, digits.
FIGURES = {
    "messages_per_s": ("messages/s", 0), "mb_per_s": ("MB/s", 1), "consumed_mb_per_s": ("consumed MB/s", 1),
    "broker_cpu_s_per_gb": ("broker CPU s/GB", 2), "client_cpu_s_per_gb": ("client CPU s/GB", 2),
    "p50_us": ("p50 us", 0), "p99_us": ("p99 us", 0), "p999_us": ("p99.9 us", 0), "p9999_us": ("p99.99 us", 0),
    "max_us": ("max us", 0), "ack_p99_us": ("acknowledged p99 us", 0), "alone_p50_us": ("alone p50 us", 0),
    "alone_p99_us": ("alone p99 us", 0), "replayed_mb_per_s": ("replay MB/s", 0), "ready_ms": ("ready ms", 0),
    "memory_mb": ("memory MB", 1), "opened": ("opened", 0), "kb_per_connection": ("KB each", 1),
    "kb_per_partition": ("KB each", 1), "created_s": ("created s", 2), "peak_mb": ("most memory MB", 0),
    "alone_ack_p99_us": ("alone acknowledged p99 us", 0), "local_produce": ("produce, local", 3),
    "remote_produce": ("produce, remote", 3), "local_consume": ("consume, local", 3), "remote_consume": ("consume, remote", 3),
    "local_paced": ("at a rate, local", 2), "remote_paced": ("at a rate, remote", 2), "join_p50_ms": ("join p50 ms", 1),
    "sync_p50_ms": ("sync p50 ms", 1), "worst_ms": ("worst ms", 1)}
PLOTTED = ("messages_per_s", "broker_cpu_s_per_gb", "p99_us", "ready_ms", "memory_mb")


class Results:
    """The measurements of a file, and of each work only those of the newest run that has it."""

    def __init__(self, path):
        if not os.path.exists(path):
            raise Failure(f"nothing was measured: there is no {path}")
        with open(path) as file:
            records = [json.loads(line) for line in file if line.strip()]
        self.runs = {record["run"]: record for record in records if record["kind"] == "run"}
        newest = {}
        for record in records:
            if record["kind"] in ("figures", "failure") and record["peer"] != "roofline" and record["run"] in self.runs:
                newest[record["work"]] = max(newest.get(record["work"], ""), record["run"])
        self.used = {run: self.runs[run] for run in sorted(set(newest.values()))}
        self.records = [r for r in records if r.get("work") in newest and r["run"] == newest[r["work"]]]
        self.absent = {r["label"]: r["reason"] for r in records if r["kind"] == "absent" and r["run"] in self.used}
        if not self.used:
            raise Failure(f"nothing was measured: {path} has no figures")

    def about(self, what):
        """Peers or clients of all runs that are used, by key; the newest run's word counts."""
        return {one["key"]: one for run in self.used.values() for one in run[what]}

    def rows(self, work, synced):
        """{(peer, client): [figures of each round]}, in the order of measuring."""
        found = {}
        for record in self.records:
            if record["work"] == work and record["synced"] == synced and record["kind"] == "figures":
                found.setdefault((record["peer"], record["client"]), []).append(record)
        return found

    def failures(self, work):
        return [r for r in self.records if r["work"] == work and r["kind"] == "failure"]

    def values(self, work, peer, client, figure):
        """{round: value}. The least work is measured in both classes; here it is the durable one."""
        return {r["round"]: r["figures"][figure] for r in self.records
                if r["kind"] == "figures" and r["work"] == work and r["peer"] == peer and r["client"] == client
                and (peer != "roofline" or r["synced"]) and r["figures"].get(figure) is not None}

    def ratio(self, above, below):
        """The median of the ratios round by round of two (work, peer, client, figure); or None."""
        a, b = self.values(*above), self.values(*below)
        ratios = [a[number] / b[number] for number in a if b.get(number)]
        return statistics.median(ratios) if ratios else None


def title_of(results, work, peer, client):
    if peer == "roofline":
        return work.least_title
    label = results.about("peers")[peer]["label"]
    if client is None or client == peer.rsplit("-", 1)[0]:
        return label
    return f"{label}; {client}"


def table(results, work, rows):
    columns = [name for name in work.columns
               if any(record["figures"].get(name) is not None for records in rows.values() for record in records)]
    lines = ["| | " + " | ".join(FIGURES[name][0] for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for (peer, client), records in rows.items():
        busy = max(record["busy"] for record in records)
        mark = " (busy)" if busy > QUIET else ""
        cells = [cell([r["figures"].get(name) for r in records], FIGURES[name][1]) for name in columns]
        lines.append(f"| {title_of(results, work, peer, client)}{mark} | " + " | ".join(cells) + " |")
    return lines + [""]


def plots_of(results, work, rows, synced):
    """{file name: SVG} of the first two figures that are worth a plot."""
    made = {}
    for figure in [name for name in work.columns if name in PLOTTED][:2]:
        bars = []
        for (peer, client), records in rows.items():
            values = [r["figures"][figure] for r in records if r["figures"].get(figure) is not None]
            if values:
                bars.append((title_of(results, work, peer, client), peer.split("-")[0], statistics.median(values),
                             min(values), max(values)))
        if len(bars) > 1:
            name = f"{work.name}-{figure.replace('_', '-')}-{'synced' if synced else 'unsynced'}.svg"
            made[name] = plot.bars(f"{work.title}: {'synced' if synced else 'not synced'}", FIGURES[figure][0], bars)
    return made


def section(results, work):
    lines, plots = [f"### {work.title}", "", work.text, ""], {}
    for synced, words in CLASSES:
        rows = results.rows(work.name, synced)
        if not [peer for peer, _ in rows if peer != "roofline"]:
            continue
        made = plots_of(results, work, rows, synced)
        plots.update(made)
        lines += [f"**{words[0].upper()}{words[1:]}**", "", *table(results, work, rows)]
        lines += [f"![{work.title}](plots/{name})\n" for name in made]
    reasons = {(r["peer"], r["client"]): r["reason"] for r in results.failures(work.name)}
    for (peer, client), reason in reasons.items():
        lines += [f"Failed: {title_of(results, work, peer, client)}: {' '.join(reason.split())[:300]}", ""]
    return lines, plots


WEIR, SHIPPED, FLUSHED, REDIS = "weir-synced", "kafka-unsynced", "kafka-synced", "redis-synced"
LIB, OURS = "librdkafka", "libweir"
LEAST = ("roofline", None)
# What, (work, whose figure), the figure, (work, compared with whose[, figure]) or None, limit, unit, at least.
TARGETS = (
    ("durable produce, 1 KiB, librdkafka: MB/s against Kafka unsynced",
     ("produce-1k", WEIR, LIB), "mb_per_s", ("produce-1k", SHIPPED, LIB), 1, "times", True),
    ("the same: broker CPU per GB against Kafka unsynced",
     ("produce-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-1k", SHIPPED, LIB), 0.2, "times", False),
    ("the same: broker CPU per GB against the least work",
     ("produce-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-1k", *LEAST), 1.5, "times", False),
    ("durable produce, 100 B, librdkafka: messages/s against Kafka unsynced",
     ("produce-100", WEIR, LIB), "messages_per_s", ("produce-100", SHIPPED, LIB), 1, "times", True),
    ("the same: broker CPU per GB against Kafka unsynced",
     ("produce-100", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-100", SHIPPED, LIB), 0.2, "times", False),
    ("durable produce, 100 B, libweir", ("produce-100", WEIR, OURS), "messages_per_s", None, 6e6, "messages/s", True),
    ("the same against Kafka synced with librdkafka",
     ("produce-100", WEIR, OURS), "messages_per_s", ("produce-100", FLUSHED, LIB), 2.5, "times", True),
    ("the same against Redis with appendfsync always",
     ("produce-100", WEIR, OURS), "messages_per_s", ("produce-100", REDIS, "redis"), 8, "times", True),
    ("single durable 1 KiB message, libweir: p50 against the least work",
     ("single", WEIR, OURS), "p50_us", ("single", *LEAST), 1.25, "times", False),
    ("the same: p99 against the least work",
     ("single", WEIR, OURS), "p99_us", ("single", *LEAST), 2, "times", False),
    ("the same, librdkafka: p50 against Kafka unsynced",
     ("single", WEIR, LIB), "p50_us", ("single", SHIPPED, LIB), 1.3, "times", False),
    ("the same, librdkafka: p50 against Kafka synced",
     ("single", WEIR, LIB), "p50_us", ("single", FLUSHED, LIB), 1 / 3, "times", False),
    ("the same, libweir: p50 against Redis with appendfsync always",
     ("single", WEIR, OURS), "p50_us", ("single", REDIS, "redis"), 1, "times", False),
    ("end to end at 10,000 messages/s: p99", ("paced-10k", WEIR, OURS), "p99_us", None, 1000, "us", False),
    ("the same: p99.9", ("paced-10k", WEIR, OURS), "p999_us", None, 3000, "us", False),
    ("the same: p99 against Kafka unsynced",
     ("paced-10k", WEIR, OURS), "p99_us", ("paced-10k", SHIPPED, OURS), 0.1, "times", False),
    ("consume, libweir: MB/s against the least work",
     ("consume-1k", WEIR, OURS), "mb_per_s", ("consume-1k", *LEAST), 0.6, "times", True),
    ("consume, librdkafka: MB/s against what it reaches with Kafka",
     ("consume-1k", WEIR, LIB), "mb_per_s", ("consume-1k", SHIPPED, LIB), 1, "times", True),
    ("consume, librdkafka: broker CPU per GB",
     ("consume-1k", WEIR, LIB), "broker_cpu_s_per_gb", None, 0.12, "s/GB", False),
    ("the same against Kafka's sendfile",
     ("consume-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("consume-1k", SHIPPED, LIB), 0.5, "times", False),
    ("catch-up from the disk, libweir: MB/s against the disk's own sequential read",
     ("catch-up", WEIR, OURS), "mb_per_s", ("catch-up", *LEAST), 0.8, "times", True),
    ("producers beside a catch-up: p99 against what it is alone",
     ("replay", WEIR, OURS), "ack_p99_us", ("replay", WEIR, OURS, "alone_ack_p99_us"), 1.3, "times", False),
    ("1,000 partitions instead of 1, keyed: broker CPU per GB",
     ("keyed-1000", WEIR, OURS), "broker_cpu_s_per_gb", ("keyed-1", WEIR, OURS), 2, "times", False),
    ("the same at a rate: p99",
     ("paced-keyed-1000", WEIR, OURS), "p99_us", ("paced-keyed-1", WEIR, OURS), 3, "times", False),
    ("libweir against librdkafka, produce of 100 B: messages per client CPU second",
     ("produce-100", WEIR, OURS), "messages_per_client_cpu_s", ("produce-100", WEIR, LIB), 2, "times", True),
    ("the same, consume of 100 B",
     ("consume-100", WEIR, OURS), "messages_per_client_cpu_s", ("consume-100", WEIR, LIB), 2, "times", True),
    ("memory, idle", ("start", WEIR, None), "memory_mb", None, 8, "MB", False),
    ("memory of 10,000 idle partitions", ("partitions", WEIR, None), "memory_mb", None, 200, "MB", False),
    ("memory of an idle connection", ("connections", WEIR, None), "kb_per_connection", None, 16, "KB", False),
    ("most memory, produce of 1 KiB by librdkafka, of the configured budget",
     ("produce-1k", WEIR, LIB), "of_budget", None, 1, "times", False),
    ("the same, produce of 100 B by libweir", ("produce-100", WEIR, OURS), "of_budget", None, 1, "times", False),
    ("the same, consume by librdkafka", ("consume-1k", WEIR, LIB), "of_budget", None, 1, "times", False),
    ("the same, catch-up by libweir", ("catch-up", WEIR, OURS), "of_budget", None, 1, "times", False),
    ("ready, empty", ("start", WEIR, None), "ready_ms", None, 20, "ms", False),
    ("ready with 10,000 partitions after a clean stop", ("partitions", WEIR, None), "ready_ms", None, 300, "ms", False),
    ("two shards, all traffic remote, produce: broker CPU against all local",
     ("cross-shard", WEIR, OURS), "remote_produce", ("cross-shard", WEIR, OURS, "local_produce"), 1.15, "times", False),
    ("the same, consume",
     ("cross-shard", WEIR, OURS), "remote_consume", ("cross-shard", WEIR, OURS, "local_consume"), 1.15, "times", False),
    ("the same, 10,000 messages/s one by one",
     ("cross-shard", WEIR, OURS), "remote_paced", ("cross-shard", WEIR, OURS, "local_paced"), 1.15, "times", False))


def needed():
    """The (work, peer, client) that the targets are about."""
    found = set()
    for _, whose, _, other, *_ in TARGETS:
        found.update({whose, other[:3] if other else whose})
    return {one for one in found if one[1:] != LEAST}


# Why a target is missed where it is, as far as known: (work, figure, compared with whom) of TARGETS.
WHY = {
    ("single", "p50_us", "roofline"):
        "one sleeping thread more has to be woken: the ring's write completes on a kernel thread",
    ("single", "p50_us", SHIPPED):
        "Kafka as shipped does not wait for the device; processors that sleep meanwhile cost librdkafka's two threads a "
        "wake-up each. Kept awake, Weir takes 118 us (performance.md)",
    ("paced-10k", "p999_us", None): "stalls of one tick of the scheduler (4 ms) and of the device",
    ("paced-10k", "p99_us", SHIPPED): "the device: Kafka as shipped does not wait for it",
    ("consume-1k", "mb_per_s", "roofline"):
        "the least work throws the bytes away, libweir decodes every record, and both have two processors",
    ("consume-1k", "broker_cpu_s_per_gb", None):
        "the kernel's sending to loopback is 98 % of it; the least work needs more than that here",
    ("replay", "ack_p99_us", WEIR):
        "with two processors for the broker and three clients, whoever waits for one waits for a tick (4 ms); p50 is not touched",
    ("keyed-1000", "broker_cpu_s_per_gb", WEIR):
        "small batches go through the journal, so they are copied, summed up and written twice",
    ("cross-shard", "remote_consume", WEIR): "wake-ups of the other shard",
    ("cross-shard", "remote_paced", WEIR): "two wake-ups of the other shard for a message",
}


def target_lines(results):
    """Those for which there are figures. Ratios are medians of the ratios round by round."""
    rows = []
    for what, whose, figure, other, limit, unit, at_least in TARGETS:
        if other:
            found = results.ratio((*whose, figure), (*other, figure)[:4])
        else:
            values = list(results.values(*whose, figure).values())
            found = statistics.median(values) if values else None
        if found is None:
            continue
        met = found >= limit if at_least else found <= limit
        verdict = "met" if met else f"**missed by {abs(found - limit) / limit * 100:.0f} %**"
        why = WHY.get((whose[0], figure, other[1] if other else None))
        if not met and why:
            verdict += f": {why}"
        digits = 0 if found >= 1000 else 2
        rows.append(f"| {what} | **{found:,.{digits}f}** {unit} | {'at least' if at_least else 'at most'} "
                    f"{f'{limit:,.2f}'.rstrip('0').rstrip('.')} {unit} | {verdict} |")
    if not rows:
        return []
    return ["### Targets", "", "Ratios are medians of the ratios round by round. The reasons are what is known, not measurements.", "", "| | measured | target | |",
            "|---|---|---|---|", *rows, ""]


def rounds_of(results, run):
    rounds = {record["round"] for record in results.records if record["run"] == run["run"]}
    text = f"{len(rounds)} round{'s' if len(rounds) > 1 else ''}"
    if run.get("once") in rounds and len(rounds) > 1:
        text = f"rounds: {len(rounds) - 1} of what targets are about, one of the rest"
    amount = "" if run["amount"] == 1 else f", {run['amount']:g} of the full amounts"
    return text + amount


def head(results):
    lines = ["### How it is measured", "",
             "Every broker is installed from a package registry and runs alone on loopback, with the settings below, in a "
             "fresh directory for each measurement. In every round each work goes through all brokers in turn. Before a "
             "measurement what is dirty is written out and the machine must be quiet (a row that began with more than "
             f"{QUIET * 100:.0f} % of the processors busy says so). Client and broker share the machine; the kernel accounts "
             "their processor time apart. GB are 10^9 bytes of values. Median (smallest to largest) of the rounds; a row with "
             "one figure was measured once.", "",
             "Before a produce is measured, every broker gets 1 GB of the same messages in another topic (a slow one its share "
             "of that), then the topic that counts. So virtual machines have compiled what is hot, and Weir has touched as "
             "much memory as it uses for this work: the first touch costs as much as the work itself. What others store in "
             "the page cache or in a growing heap is new memory every time; that is how they work, and counts.", "",
             "Most memory is the peak of what is resident, all processes of the broker together, from its start (VmHWM). The "
             "configured budget of Weir is weir.buffer.bytes (512 MiB as shipped; receiving, storing, reading and all caches "
             "come out of it) and 8 MB for the process itself.", "",
             "Brokers that acknowledge what is durable and brokers that do not are never in one table: the second may lose "
             "what they acknowledged when the machine fails.", ""]
    for run in results.used.values():
        quick = ", **a quick run of small amounts**" if run["quick"] else ""
        lines.append(f"- {run['date']}, {rounds_of(results, run)}{quick}: {run['system']}, {run['filesystem']}. "
                     f"Again: `{run['command']}`")
    lines += ["", "Processor time of brokers is counted in " + " and ".join(sorted({
        run.get("cpu_source", "ticks of 10 ms, from /proc") for run in results.used.values()})) + "; what threads that have "
              "ended used is part of it. That of clients is what the kernel says when they are waited for."]
    lines += ["", "| broker | version | settings |", "|---|---|---|"]
    lines += [f"| {p['label']} | {p['version']} | {p['settings']} |" for p in results.about("peers").values()]
    lines += [f"| {label} | not to be had | {' '.join(reason.split())[:200]} |" for label, reason in results.absent.items()]
    lines += ["", "| client | version |", "|---|---|"]
    used = {record["client"] for record in results.records}
    lines += [f"| {c['label']} | {c['version']} |" for c in results.about("clients").values() if c["key"] in used]
    return lines + [""]


def commands(results, works):
    """One command of each (work, client), as it ran in the last round."""
    seen = {}
    for record in results.records:
        if record["kind"] == "figures" and record["figures"].get("command"):
            seen[record["work"], record["client"] or record["peer"]] = record["figures"]["command"]
    lines = ["### Commands", "", "| work | client | command |", "|---|---|---|"]
    order = {work.name: place for place, work in enumerate(works)}
    for (work, client), command in sorted(seen.items(), key=lambda item: order[item[0][0]]):
        lines.append(f"| {work} | {client} | `{command.replace('|', '/')}` |")
    return lines + [""]


def make(path, works):
    """The report's text and its plots, {file name: SVG}."""
    results = Results(path)
    lines = ["## Beside other brokers", "",
             "The same work done by Weir and by other brokers, in turns on the same machine. What was aimed at comes first, "
             "then how it is measured, then every work with its tables.", ""]
    lines += target_lines(results) + head(results)
    plots = {}
    for work in works:
        if any(record["work"] == work.name for record in results.records):
            more, made = section(results, work)
            lines += more
            plots.update(made)
    return "\n".join(lines + commands(results, works)), plots


def kept(path):
    """The part of a file between the marks, marks included; or nothing."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        text = file.read()
    if BEGIN not in text or END not in text:
        return ""
    return "\n" + BEGIN + text.split(BEGIN, 1)[1].split(END, 1)[0] + END + "\n"


def write(docs, text, plots):
    """Puts the text into benchmarks.md between its marks, and the plots beside it."""
    path = os.path.join(docs, "benchmarks.md")
    before, after = "# Benchmarks\n", ""
    if os.path.exists(path):
        with open(path) as file:
            before = file.read()
        if BEGIN in before and END in before:
            before, rest = before.split(BEGIN, 1)
            after = rest.split(END, 1)[1]
    os.makedirs(docs, exist_ok=True)
    with open(path, "w") as file:
        file.write(f"{before.rstrip()}\n\n{BEGIN}\n{text.rstrip()}\n{END}\n{after.lstrip()}")
    os.makedirs(os.path.join(docs, "plots"), exist_ok=True)
    for name, svg in plots.items():
        with open(os.path.join(docs, "plots", name), "w") as file:
            file.write(svg)
