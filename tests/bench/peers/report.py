# SPDX-License-Identifier: Apache-2.0
"""Tables and plots from the file of measurements. Synced and unsynced brokers never share a table or a
plot. The report is one part of docs/benchmarks.md, between two marks; the rest of the file is not
touched."""
import json
import os
import re
import statistics

from machine import Failure
from pairs import cell
from peers import plot
from peers.load import QUIET
from peers.targets import LIB, OURS, OUT_OF_REACH, judged, median, target_lines

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
PLOTTED = ("messages_per_s", "broker_cpu_s_per_gb", "p50_us", "p99_us", "ready_ms", "memory_mb")
CLIENTS = {"discard": "a client that discards"}  # what a row calls it, where that is not its name
# The columns of the tables that begin the report: work, figure, heading, digits. A row's client is the same in
# all of them: brokers of Kafka's protocol are driven by librdkafka, and Weir by libweir as well.
SUMMARY = (
    ("produce-1k", "mb_per_s", "produce 1 KiB, MB/s", 0), ("produce-1k", "broker_cpu_s_per_gb", "its CPU s/GB", 2),
    ("produce-100", "messages_per_s", "produce 100 B, messages/s", 0), ("single", "p50_us", "one at a time, p50 us", 0),
    ("single", "p99_us", "p99 us", 0), ("consume-1k", "mb_per_s", "consume 1 KiB, MB/s", 0),
    ("consume-1k", "broker_cpu_s_per_gb", "its CPU s/GB", 2), ("start", "memory_mb", "idle, MB", 0),
    ("start", "ready_ms", "start, ms", 0))


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
        """{(peer, client): [figures of each round]}: the least work first, then what one client did with all
        brokers, then the next client."""
        found = {}
        for record in self.records:
            if record["work"] == work and record["synced"] == synced and record["kind"] == "figures":
                found.setdefault((record["peer"], record["client"]), []).append(record)
        peers, clients = (["roofline", *self.about("peers")], [None, *self.about("clients")])
        return dict(sorted(found.items(), key=lambda row: (row[0][0] != "roofline", clients.index(row[0][1]),
                                                           peers.index(row[0][0]))))

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
    return f"{label}; {CLIENTS.get(client, client)}"


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
    """{file name: SVG} of the first two figures that are worth a plot, where there are two brokers to compare."""
    made = {}
    if len({peer for peer, _ in rows} - {"roofline"}) < 2:
        return made
    for figure in [name for name in work.columns if name in PLOTTED][:2]:
        bars = []
        for (peer, client), records in rows.items():
            values = [r["figures"][figure] for r in records if r["figures"].get(figure) is not None]
            if values:
                bars.append((title_of(results, work, peer, client), peer.split("-")[0], statistics.median(values),
                             min(values), max(values)))
        if len(bars) > 2:
            name = f"{work.name}-{figure.replace('_', '-')}-{'synced' if synced else 'unsynced'}.svg"
            made[name] = plot.bars(f"{work.title}: {'synced' if synced else 'not synced'}", FIGURES[figure][0], bars)
    return made


def sentence(words):
    return words[0].upper() + words[1:]


def summary_client(peer):
    """The client whose figures the first tables have of a broker."""
    broker = peer.rsplit("-", 1)[0]
    return LIB if broker in ("weir", "kafka") else broker


def in_summary(work, peer, client):
    return any(work == one for one, *_ in SUMMARY) and client in (None, summary_client(peer))


def summary_row(results, title, peer, client):
    """The figures of SUMMARY, or nothing where there are none."""
    cells = []
    for work, figure, _, digits in SUMMARY:
        value = median(results, work, peer, None if work == "start" else client, figure)
        cells.append("-" if value is None else f"{value:,.{digits}f}")
    return [f"| {title} | " + " | ".join(cells) + " |"] if set(cells) != {"-"} else []


def summary(results):
    """Who did what, in a few lines: medians of what was measured further down."""
    verdicts = [text for _, _, text in judged(results)]
    beyond = sum(OUT_OF_REACH in text for text in verdicts)
    lines = ["### In short", "",
             f"{verdicts.count('met')} of {len(verdicts)} targets are met; the table below says by how much the others are missed, "
             f"and why. Where even the least work possible misses one ({beyond} of them), it says that, too.", "",
             "Medians of what is measured further down. Kafka and Weir are driven by the same librdkafka, Weir by its own libweir "
             "as well, the others by their own clients. A dash is what was not measured.", ""]
    heads = "| | " + " | ".join(heading for _, _, heading, _ in SUMMARY) + " |"
    for synced, words in CLASSES:
        rows = []
        for peer in results.about("peers").values():
            if peer["synced"] != synced:
                continue
            broker = peer["key"].rsplit("-", 1)[0]
            if broker == "weir":
                rows += summary_row(results, f"{peer['label']}; {OURS}", peer["key"], OURS)
            rows += summary_row(results, title_of(results, None, peer["key"], summary_client(peer["key"])), peer["key"],
                                summary_client(peer["key"]))
        if rows:
            lines += [f"**{sentence(words)}**", "", heads, "|---" * (len(SUMMARY) + 1) + "|", *rows, ""]
    return lines


def section(results, work):
    lines, plots = [f"### {work.title}", "", work.text, ""], {}
    for synced, words in CLASSES:
        rows = results.rows(work.name, synced)
        if not [peer for peer, _ in rows if peer != "roofline"]:
            continue
        made = plots_of(results, work, rows, synced)
        plots.update(made)
        lines += [f"**{sentence(words)}**", "", *table(results, work, rows)]
        lines += [f"![{work.title}](plots/{name})\n" for name in made]
    reasons = {(r["peer"], r["client"]): r["reason"] for r in results.failures(work.name)}
    for (peer, client), reason in reasons.items():
        lines += [f"Failed: {title_of(results, work, peer, client)}: {' '.join(reason.split())[:300]}", ""]
    return lines, plots


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
             "come out of it) and 8 MB for the process itself.", ""]
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
            who = record["client"] or record["peer"]
            seen[record["work"], who, record["synced"] and who == "roofline"] = record["figures"]["command"]
    lines = ["### Commands", "", "| work | client | command |", "|---|---|---|"]
    order = {work.name: place for place, work in enumerate(works)}
    for (work, client, _), command in sorted(seen.items(), key=lambda item: order[item[0][0]]):
        line = f"| {work} | {client} | `{command.replace('|', '/')}` |"
        if line not in lines:
            lines.append(line)
    return lines + [""]


def make(path, works):
    """The report's text and its plots, {file name: SVG}."""
    results = Results(path)
    lines = ["## Beside other brokers", "",
             "The same work done by Weir and by other brokers, in turns on the same machine: in short, what was aimed at, how it "
             "is measured, then every work with its tables. Brokers that acknowledge what is durable and brokers that do not "
             "are never in one table: the second may lose what they acknowledged when the machine fails.", ""]
    lines += summary(results) + target_lines(results) + head(results)
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
    """Puts the text into benchmarks.md between its marks, and the plots beside it; those that only the text
    before had are removed."""
    path = os.path.join(docs, "benchmarks.md")
    before, after = "# Benchmarks\n", ""
    old = set(re.findall(r"\(plots/([\w-]+\.svg)\)", kept(path))) - set(plots)
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
    for name in old:
        if os.path.exists(os.path.join(docs, "plots", name)):
            os.remove(os.path.join(docs, "plots", name))
    for name, svg in plots.items():
        with open(os.path.join(docs, "plots", name), "w") as file:
            file.write(svg)
