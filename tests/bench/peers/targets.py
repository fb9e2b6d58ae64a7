# SPDX-License-Identifier: Apache-2.0
"""What is aimed at, whether it was reached, and why not. All figures come from the measurements, those in
the reasons too."""
import statistics

WEIR, SHIPPED, FLUSHED, REDIS = "weir-synced", "kafka-unsynced", "kafka-synced", "redis-synced"
LIB, OURS, DISCARD = "librdkafka", "libweir", "discard"
LEAST = ("roofline", None)
OUT_OF_REACH = "out of reach on this machine"

# What, (work, whose figure), the figure, (work, compared with whose[, figure]) or None, limit, unit, at least.
TARGETS = (
    ("durable produce, 1 KiB, librdkafka: MB/s against Kafka unsynced",
     ("produce-1k", WEIR, LIB), "mb_per_s", ("produce-1k", SHIPPED, LIB), 1, "times", True),
    ("durable produce, 1 KiB, librdkafka: broker CPU per GB against Kafka unsynced",
     ("produce-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-1k", SHIPPED, LIB), 0.2, "times", False),
    ("durable produce, 1 KiB, librdkafka: broker CPU per GB against the least work",
     ("produce-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-1k", *LEAST), 1.5, "times", False),
    ("durable produce, 100 B, librdkafka: messages/s against Kafka unsynced",
     ("produce-100", WEIR, LIB), "messages_per_s", ("produce-100", SHIPPED, LIB), 1, "times", True),
    ("durable produce, 100 B, librdkafka: broker CPU per GB against Kafka unsynced",
     ("produce-100", WEIR, LIB), "broker_cpu_s_per_gb", ("produce-100", SHIPPED, LIB), 0.2, "times", False),
    ("durable produce, 100 B, libweir", ("produce-100", WEIR, OURS), "messages_per_s", None, 6e6, "messages/s", True),
    ("durable produce, 100 B, libweir: messages/s against Kafka synced with librdkafka",
     ("produce-100", WEIR, OURS), "messages_per_s", ("produce-100", FLUSHED, LIB), 2.5, "times", True),
    ("durable produce, 100 B, libweir: messages/s against Redis with appendfsync always",
     ("produce-100", WEIR, OURS), "messages_per_s", ("produce-100", REDIS, "redis"), 8, "times", True),
    ("single durable 1 KiB message, libweir: p50 against the least work",
     ("single", WEIR, OURS), "p50_us", ("single", *LEAST), 1.25, "times", False),
    ("single durable 1 KiB message, libweir: p99 against the least work",
     ("single", WEIR, OURS), "p99_us", ("single", *LEAST), 2, "times", False),
    ("single durable 1 KiB message, librdkafka: p50 against Kafka unsynced",
     ("single", WEIR, LIB), "p50_us", ("single", SHIPPED, LIB), 1.3, "times", False),
    ("single durable 1 KiB message, librdkafka: p50 against Kafka synced",
     ("single", WEIR, LIB), "p50_us", ("single", FLUSHED, LIB), 1 / 3, "times", False),
    ("single durable 1 KiB message, libweir: p50 against Redis with appendfsync always",
     ("single", WEIR, OURS), "p50_us", ("single", REDIS, "redis"), 1, "times", False),
    ("end to end at 10,000 messages/s: p99", ("paced-10k", WEIR, OURS), "p99_us", None, 1000, "us", False),
    ("end to end at 10,000 messages/s: p99.9", ("paced-10k", WEIR, OURS), "p999_us", None, 3000, "us", False),
    ("end to end at 10,000 messages/s: p99 against Kafka unsynced",
     ("paced-10k", WEIR, OURS), "p99_us", ("paced-10k", SHIPPED, OURS), 0.1, "times", False),
    ("consume, a client that discards: MB/s against the least work",
     ("consume-1k", WEIR, DISCARD), "mb_per_s", ("consume-1k", *LEAST), 0.6, "times", True),
    ("consume, librdkafka: MB/s against what it reaches with Kafka",
     ("consume-1k", WEIR, LIB), "mb_per_s", ("consume-1k", SHIPPED, LIB), 1, "times", True),
    ("consume, librdkafka: broker CPU per GB",
     ("consume-1k", WEIR, LIB), "broker_cpu_s_per_gb", None, 0.12, "s/GB", False),
    ("consume, librdkafka: broker CPU per GB against Kafka's sendfile",
     ("consume-1k", WEIR, LIB), "broker_cpu_s_per_gb", ("consume-1k", SHIPPED, LIB), 0.5, "times", False),
    ("catch-up from the disk, libweir: MB/s against the disk's own sequential read",
     ("catch-up", WEIR, OURS), "mb_per_s", ("catch-up", *LEAST), 0.8, "times", True),
    ("producers beside a catch-up: p99 against what it is alone",
     ("replay", WEIR, OURS), "ack_p99_us", ("replay", WEIR, OURS, "alone_ack_p99_us"), 1.3, "times", False),
    ("1,000 partitions instead of 1, keyed: broker CPU per GB",
     ("keyed-1000", WEIR, OURS), "broker_cpu_s_per_gb", ("keyed-1", WEIR, OURS), 2, "times", False),
    ("1,000 partitions instead of 1, keyed, at a rate: p99",
     ("paced-keyed-1000", WEIR, OURS), "p99_us", ("paced-keyed-1", WEIR, OURS), 3, "times", False),
    ("libweir against librdkafka, produce of 100 B: messages per client CPU second",
     ("produce-100", WEIR, OURS), "messages_per_client_cpu_s", ("produce-100", WEIR, LIB), 2, "times", True),
    ("libweir against librdkafka, consume of 100 B: messages per client CPU second",
     ("consume-100", WEIR, OURS), "messages_per_client_cpu_s", ("consume-100", WEIR, LIB), 2, "times", True),
    ("memory, idle", ("start", WEIR, None), "memory_mb", None, 8, "MB", False),
    ("memory of 10,000 idle partitions", ("partitions", WEIR, None), "memory_mb", None, 200, "MB", False),
    ("memory of an idle connection", ("connections", WEIR, None), "kb_per_connection", None, 16, "KB", False),
    ("most memory of the configured budget, produce of 1 KiB by librdkafka",
     ("produce-1k", WEIR, LIB), "of_budget", None, 1, "times", False),
    ("most memory of the configured budget, produce of 100 B by libweir", ("produce-100", WEIR, OURS), "of_budget", None, 1, "times", False),
    ("most memory of the configured budget, consume by librdkafka", ("consume-1k", WEIR, LIB), "of_budget", None, 1, "times", False),
    ("most memory of the configured budget, catch-up by libweir", ("catch-up", WEIR, OURS), "of_budget", None, 1, "times", False),
    ("ready, empty", ("start", WEIR, None), "ready_ms", None, 20, "ms", False),
    ("ready with 10,000 partitions after a clean stop", ("partitions", WEIR, None), "ready_ms", None, 300, "ms", False),
    ("two shards, all traffic remote, produce: broker CPU against all local",
     ("cross-shard", WEIR, OURS), "remote_produce", ("cross-shard", WEIR, OURS, "local_produce"), 1.15, "times", False),
    ("two shards, all traffic remote, consume: broker CPU against all local",
     ("cross-shard", WEIR, OURS), "remote_consume", ("cross-shard", WEIR, OURS, "local_consume"), 1.15, "times", False),
    ("two shards, all traffic remote, 10,000 messages/s one by one: broker CPU against all local",
     ("cross-shard", WEIR, OURS), "remote_paced", ("cross-shard", WEIR, OURS, "local_paced"), 1.15, "times", False))


# No target is about these, but what stands beside them makes targets' rows understood.
BESIDE = {("consume-1k", WEIR, OURS), ("consume-1k", SHIPPED, DISCARD)}


def needed():
    """The (work, peer, client) that the targets are about, and what is to be seen beside them."""
    found = set(BESIDE)
    for _, whose, _, other, *_ in TARGETS:
        found.update({whose, other[:3] if other else whose})
    return {one for one in found if one[1:] != LEAST}


def median(results, *which):
    """Of one (work, peer, client, figure); None when it was not measured."""
    values = list(results.values(*which).values())
    return statistics.median(values) if values else None


def measured(results, whose, figure, other):
    """The figure, or its ratio to another's; or None."""
    return results.ratio((*whose, figure), (*other, figure)[:4]) if other else median(results, *whose, figure)


def reached(found, limit, at_least):
    return found >= limit if at_least else found <= limit


def number(value):
    return f"{value:,.{0 if value >= 100 else 2}f}"


def beyond(results, target, found):
    """What to say when the least work itself, measured beside that work, misses the limit; or nothing."""
    _, whose, figure, other, limit, unit, at_least = target
    if other and other[1:3] == LEAST:
        return ""
    least = measured(results, (whose[0], *LEAST), figure, other)
    if least is None or reached(least, limit, at_least):
        return ""
    text = f"{OUT_OF_REACH}: the least work possible is at {number(least)} {unit}"
    if other and figure.endswith("_us"):
        text += f" ({median(results, whose[0], *LEAST, figure):,.0f} us, and {median(results, *other[:3], figure):,.0f} us)"
    return text + (", and Weir is below that" if reached(found, least, at_least) else "")


def beside_a_replay(results):
    """Its own median beside what it is alone."""
    alone, beside = (median(results, "replay", WEIR, OURS, figure) for figure in ("alone_p50_us", "p50_us"))
    text = ("stalls of 2 to 3 ms, most of them the virtual machine's, and steps of the shard between which a message waits "
            "(performance.md)")
    return text + (f"; p50 goes from {number(alone)} to {number(beside)} us" if alone and beside else "")


def beside_unsynced_end_to_end(results):
    """A message that comes while a write is under way waits for that one and for its own."""
    theirs = median(results, "paced-10k", SHIPPED, OURS, "p99_us")
    p50, p99 = (median(results, "single", *LEAST, figure) for figure in ("p50_us", "p99_us"))
    if not theirs or not p50 or not p99:
        return "the device: Kafka as shipped does not wait for it"
    return (f"Kafka as shipped does not wait for the device. A tenth of its p99 is {number(theirs / 10)} us; one durable "
            f"write alone takes {number(p50)} us and at p99 {number(p99)} (the least work, one message at a time), and most "
            "messages wait for the write under way, then for their own, and then go to the consumer")


# Why a target is missed where it is, as far as known: (work, figure, compared with whom) of TARGETS. Where the
# least work itself misses it, that is said first.
WHY = {
    ("produce-1k", "broker_cpu_s_per_gb", LEAST[0]):
        "a second copy and a second checksum of every byte (performance.md); runs differ by a tenth",
    ("single", "p50_us", "roofline"):
        "one sleeping thread more has to be woken: the ring's write completes on a kernel thread",
    ("single", "p50_us", SHIPPED):
        "Kafka as shipped does not wait for the device",
    ("paced-10k", "p99_us", None):
        "stalls of the device and of the virtual machine, in some rounds more than in others (the range is in its table)",
    ("paced-10k", "p999_us", None): "stalls of one tick of the scheduler (4 ms) and of the device",
    ("paced-10k", "p99_us", SHIPPED): beside_unsynced_end_to_end,
    ("consume-1k", "mb_per_s", LEAST[0]):
        "a request and a wake-up for each answer of 1 MiB; with answers of 2 MiB it is nearer, see the tail fetch above",
    ("consume-1k", "broker_cpu_s_per_gb", None): "all but a little of it is the kernel's sending to loopback (performance.md)",
    ("replay", "ack_p99_us", WEIR): beside_a_replay,
    ("keyed-1000", "broker_cpu_s_per_gb", WEIR):
        "small batches go through the journal, so they are copied, summed up and written twice",
    ("cross-shard", "remote_consume", WEIR): "wake-ups of the other shard",
    ("cross-shard", "remote_paced", WEIR): "two wake-ups of the other shard for a message",
}


def verdict(results, target, found):
    """Whether a target is met; if not by how much, and why, as far as known."""
    _, whose, figure, other, limit, _, at_least = target
    if reached(found, limit, at_least):
        return "met"
    why = WHY.get((whose[0], figure, other[1] if other else None), "")
    reasons = [beyond(results, target, found), why(results) if callable(why) else why]
    return "; ".join([f"**missed by {abs(found - limit) / limit * 100:.0f} %**", *filter(None, reasons)])


def judged(results):
    """[(target, figure, verdict)] of those for which there are figures."""
    found = [(target, measured(results, *target[1:4])) for target in TARGETS]
    return [(target, figure, verdict(results, target, figure)) for target, figure in found if figure is not None]


def target_lines(results):
    rows = []
    for (what, _, _, _, limit, unit, at_least), found, verdict_text in judged(results):
        digits = 0 if found >= 1000 else 2
        rows.append(f"| {what} | **{found:,.{digits}f}** {unit} | {'at least' if at_least else 'at most'} "
                    f"{f'{limit:,.2f}'.rstrip('0').rstrip('.')} {unit} | {verdict_text} |")
    if not rows:
        return []
    return ["### What was aimed at", "", "Ratios are medians of the ratios round by round.", "",
            "| | measured | target | |", "|---|---|---|---|", *rows, ""]
