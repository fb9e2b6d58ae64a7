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
    "kb_per_partition": ("KB each", 1), "created_s": ("created s", 2), "join_p50_ms": ("join p50 ms", 1),
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
        """{round: value}."""
        return {r["round"]: r["figures"][figure] for r in self.records
                if r["kind"] == "figures" and r["work"] == work and r["peer"] == peer and r["client"] == client
                and r["figures"].get(figure) is not None}

    def ratio(self, above, below):
        """The median of the ratios round by round of two (work, peer, client, figure); or None."""
        a, b = self.values(*above), self.values(*below)
        ratios = [a[number] / b[number] for number in a if b.get(number)]
        return statistics.median(ratios) if ratios else None


def title_of(results, peer, client):
    if peer == "roofline":
        return "the least work possible"
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
        lines.append(f"| {title_of(results, peer, client)}{mark} | " + " | ".join(cells) + " |")
    return lines + [""]


def plots_of(results, work, rows, synced):
    """{file name: SVG} of the first two figures that are worth a plot."""
    made = {}
    for figure in [name for name in work.columns if name in PLOTTED][:2]:
        bars = []
        for (peer, client), records in rows.items():
            values = [r["figures"][figure] for r in records if r["figures"].get(figure) is not None]
            if values:
                bars.append((title_of(results, peer, client), peer.split("-")[0], statistics.median(values),
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
        lines += [f"Failed: {title_of(results, peer, client)}: {' '.join(reason.split())[:300]}", ""]
    return lines, plots


def targets(results):
    """(sentence, ratio, limit, at least) of what can be computed from the runs."""
    weir, shipped, flushed = "weir-synced", "kafka-unsynced", "kafka-synced"
    lib, ours = "librdkafka", "libweir"

    def between(work, client, figure, other, other_client=None):
        return results.ratio((work, weir, client, figure), (work, other, other_client or client, figure))

    found = [
        ("durable produce, 1 KiB, librdkafka: MB/s against Kafka unsynced",
         between("produce-1k", lib, "mb_per_s", shipped), 1, True),
        ("the same: broker CPU per GB against Kafka unsynced",
         between("produce-1k", lib, "broker_cpu_s_per_gb", shipped), 0.2, False),
        ("the same: broker CPU per GB against the least work",
         results.ratio(("produce-1k", weir, lib, "broker_cpu_s_per_gb"),
                       ("produce-1k", "roofline", None, "broker_cpu_s_per_gb")), 1.5, False),
        ("durable produce, 100 B, librdkafka: messages/s against Kafka unsynced",
         between("produce-100", lib, "messages_per_s", shipped), 1, True),
        ("the same: broker CPU per GB against Kafka unsynced",
         between("produce-100", lib, "broker_cpu_s_per_gb", shipped), 0.2, False),
        ("durable produce, 100 B, libweir: messages/s against Kafka synced with librdkafka",
         between("produce-100", ours, "messages_per_s", flushed, lib), 2.5, True),
        ("the same: messages/s against Redis with appendfsync always",
         between("produce-100", ours, "messages_per_s", "redis-synced", "redis"), 8, True),
        ("single durable 1 KiB message, libweir: p50 against the least work",
         results.ratio(("single", weir, ours, "p50_us"), ("single", "roofline", None, "p50_us")), 1.25, False),
        ("the same: p99 against the least work",
         results.ratio(("single", weir, ours, "p99_us"), ("single", "roofline", None, "p99_us")), 2, False),
        ("the same with librdkafka: p50 against Kafka unsynced", between("single", lib, "p50_us", shipped), 1.3, False),
        ("the same with librdkafka: p50 against Kafka synced", between("single", lib, "p50_us", flushed), 1 / 3, False),
        ("the same, libweir: p50 against Redis with appendfsync always",
         between("single", ours, "p50_us", "redis-synced", "redis"), 1, False),
        ("end to end at 10,000 messages/s: p99 against Kafka unsynced",
         between("paced-10k", ours, "p99_us", shipped), 0.1, False),
        ("consume, librdkafka: broker CPU per GB against Kafka's sendfile",
         between("consume-1k", lib, "broker_cpu_s_per_gb", shipped), 0.5, False),
        ("libweir against librdkafka, same broker, produce of 100 B: messages per client CPU second",
         results.ratio(("produce-100", weir, ours, "messages_per_client_cpu_s"),
                       ("produce-100", weir, lib, "messages_per_client_cpu_s")), 2, True),
        ("the same, consume", results.ratio(("consume-100", weir, ours, "messages_per_client_cpu_s"),
                                            ("consume-100", weir, lib, "messages_per_client_cpu_s")), 2, True)]
    return [row for row in found if row[1] is not None]


def target_lines(results):
    rows = targets(results)
    if not rows:
        return []
    lines = ["### Targets", "", "Medians of the ratios round by round.", "", "| | measured | target | |",
             "|---|---|---|---|"]
    for what, ratio, limit, at_least in rows:
        met = ratio >= limit if at_least else ratio <= limit
        verdict = "met" if met else f"**missed by {abs(ratio - limit) / limit * 100:.0f} %**"
        lines.append(f"| {what} | **{ratio:.2f}** times | {'at least' if at_least else 'at most'} {limit:.2g} | {verdict} |")
    return lines + [""]


def head(results):
    lines = ["## Beside other brokers", "",
             "Every broker is installed from a package registry and runs alone on loopback, with the settings below, in a "
             "fresh directory for each measurement. In every round each work goes through all brokers in turn. Before a "
             "measurement what is dirty is written out and the machine must be quiet (a row that began with more than "
             f"{QUIET * 100:.0f} % of the processors busy says so), and a smaller one warms up. Client and broker share the "
             "machine; the kernel accounts their processor time apart. GB are 10^9 bytes of values. Median (smallest to "
             "largest) of the rounds.", "",
             "Brokers that acknowledge what is durable and brokers that do not are never in one table: the second may lose "
             "what they acknowledged when the machine fails.", ""]
    for run in results.used.values():
        quick = ", **a quick run of small amounts**" if run["quick"] else ""
        lines.append(f"- {run['date']}, {run['rounds']} round{'s' if run['rounds'] > 1 else ''}{quick}: {run['system']}, {run['filesystem']}. "
                     f"Again: `{run['command']}`")
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
    lines = head(results)
    plots = {}
    lines += target_lines(results)
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
    with open(path, "w") as file:
        file.write(f"{before.rstrip()}\n\n{BEGIN}\n{text.rstrip()}\n{END}\n{after.lstrip()}")
    os.makedirs(os.path.join(docs, "plots"), exist_ok=True)
    for name, svg in plots.items():
        with open(os.path.join(docs, "plots", name), "w") as file:
            file.write(svg)
