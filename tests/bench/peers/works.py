# SPDX-License-Identifier: Apache-2.0
"""The works that a client does with a broker. Each runs in a fresh broker; `amount` is the share of the
full size that this run does; a slow broker does a share of that, as rates do not depend on it. What comes
before the measurement warms up: JIT compilers, caches, the first touch of memory."""
import socket
import statistics
import threading

from machine import Failure
from peers.clients import Discard
from peers.load import drop_caches, drop_files
from peers.peer import Client

KIB = 1024
WARM_UP_BYTES = 10**9  # more than Weir uses for such a work: none of it is touched first while it is measured
WHOLE = 0.1  # runs of less than this amount are trials, and warm up less
TAIL_BYTES = 80 * 10**6  # of values: what every broker still has in memory


def warm_up_count(peer, size, amount):
    """So many messages are sent before those that count: the same bytes to all but slow brokers."""
    return max(int(WARM_UP_BYTES / size * peer.share * min(amount / WHOLE, 1)), 1000)


def measured(peer, call):
    """The call's figures, the broker's processor time meanwhile, and the most memory it has had."""
    before = peer.cpu_seconds()
    result = call()
    used = peer.cpu_seconds() - before
    budget = peer.memory_budget()
    result["peak_mb"] = peer.peak_memory() / 1e6
    result["of_budget"] = result["peak_mb"] * 1e6 / budget if budget else None
    gigabytes = result.pop("moved_gb", None) or result["mb_per_s"] * result["messages"] / result["messages_per_s"] / 1e3
    return {**result, "broker_cpu_s_per_gb": used / gigabytes, "client_cpu_s_per_gb": result["client_cpu"] / gigabytes,
            "messages_per_client_cpu_s": result["messages"] / result["client_cpu"] if result["client_cpu"] else None}


class Work:
    """name is short, for options and files; title and text are the report's; columns are the figures
    it shows. `least` is roofline's mode for synced and not, chunk and number in flight; least_title is
    the name of its row."""

    clients = ("librdkafka", "java", "libweir", "own")
    peers = None  # all that have such a client
    least, least_title = None, "the least work possible"

    def least_bytes(self, amount):
        """How much roofline does, where that is not a matter of time."""
        return None

    def suits(self, peer, client):
        if client is None or client.protocol != peer.protocol or not hasattr(client, self.needs):
            return False
        if self.peers and peer.name not in self.peers:
            return False
        return client.key in self.clients or (client.protocol != "kafka" and "own" in self.clients)


class Produce(Work):
    needs = "produce"
    columns = ("messages_per_s", "mb_per_s", "broker_cpu_s_per_gb", "client_cpu_s_per_gb", "peak_mb")
    least = ("durable", "memory", KIB * KIB, 8)

    def __init__(self, name, size, count, partitions=1, producers=1, clients=Work.clients):
        self.name, self.size, self.count = name, size, count
        self.partitions, self.producers, self.clients = partitions, producers, clients
        where = "one partition" if partitions == 1 else f"{partitions:,} partitions, spread evenly"
        who = "" if producers == 1 else f", {producers} producers"
        self.title = f"Produce, {size_text(size)}, {where}{who}"
        self.text = f"{count:,} messages with acks=all where the protocol has that, as fast as they go."
        if producers > 1:
            self.text += " Each librdkafka is a process of its own; of the others each producer is a connection of its own."

    def run(self, peer, client, amount):
        count = max(int(self.count * amount * peer.share), 1000)
        client.create(peer, "warm", self.partitions)
        client.produce(peer, "warm", self.size, warm_up_count(peer, self.size, amount), self.partitions, 1)
        client.create(peer, "load", self.partitions)
        return measured(peer, lambda: client.produce(peer, "load", self.size, count, self.partitions, self.producers))


class Keyed(Work):
    """The same bytes with keys, to many partitions and to one."""
    needs = "produce"
    clients = ("libweir",)
    columns = ("messages_per_s", "mb_per_s", "broker_cpu_s_per_gb", "client_cpu_s_per_gb")
    size, count, keys = 100, 8000000, 100000

    def __init__(self, name, partitions):
        self.name, self.partitions = name, partitions
        where = "one partition" if partitions == 1 else f"{partitions:,} partitions"
        self.title = f"Produce, 100 B with keys, {where}"
        self.text = (f"{self.count:,} messages with one of {self.keys:,} keys each, chosen at random, to a topic that has had "
                     "as many as warm up: what is measured is not the making of 1,000 partitions' files.")

    def run(self, peer, client, amount):
        count = max(int(self.count * amount * peer.share), 1000)
        client.create(peer, "load", self.partitions)
        client.produce(peer, "load", self.size, warm_up_count(peer, self.size, amount), self.partitions,
                       keys=self.keys)
        return measured(peer, lambda: client.produce(peer, "load", self.size, count, self.partitions, keys=self.keys))


class PacedKeyed(Work):
    """Acknowledged latency of keyed messages at a rate, to many partitions and to one."""
    needs = "paced_produce"
    clients = ("libweir",)
    columns = ("p50_us", "p99_us", "p999_us", "broker_cpu_s_per_gb")
    rate, size, keys = 20000, 100, 100000

    def __init__(self, name, partitions):
        self.name, self.partitions = name, partitions
        where = "one partition" if partitions == 1 else f"{partitions:,} partitions"
        self.title = f"Acknowledged at {self.rate:,} messages a second, 100 B with keys, {where}"
        self.text = ("From the moment a message was due until it is acknowledged, linger 0; every partition has had messages "
                     "before.")

    def run(self, peer, client, amount):
        client.create(peer, "load", self.partitions)
        client.paced_produce(peer, "load", self.size, self.rate, 2, self.keys)
        return measured(peer, lambda: client.paced_produce(peer, "load", self.size, self.rate, max(int(10 * amount), 2),
                                                           self.keys))


class Consume(Work):
    """Of what every broker has in memory. A client that starts quickly reads it again and again."""
    needs = "consume"
    columns = ("messages_per_s", "mb_per_s", "broker_cpu_s_per_gb", "client_cpu_s_per_gb", "peak_mb")
    least = ("fetch", "fetch", Discard.fetch_bytes, Discard.in_flight)
    clients = (*Work.clients, Discard.key)

    def __init__(self, name, size, count):
        self.name, self.size, self.count = name, size, count
        self.tail = TAIL_BYTES // size
        self.title = f"Consume what was just written, {size_text(size)}"
        self.text = (f"{self.tail:,} messages in one partition, which every broker still has in memory, read again and "
                     f"again, a new client each time, until it is {count:,}, after as many to warm up. Clients whose start takes seconds "
                     f"(Java's, and the others' own) read {count:,} different ones once instead, after reading them once to "
                     "warm up; of those Weir, which reads past the page cache, has most on the disk. The client that "
                     f"discards looks at the heads of batches and at no record; like the least work it asks for "
                     f"{size_text(Discard.fetch_bytes)} at a time, has {Discard.in_flight} requests in flight and goes on for 4 s; "
                     "its MB and GB are those of record batches.")

    def run(self, peer, client, amount):
        if getattr(client, "reads_again", False):
            return self.run_once(peer, client)
        count = max(int(self.count * amount * peer.share), 1000)
        passes = max(count // self.tail, 1) if getattr(client, "starts_quickly", False) else 1
        if passes > 1:
            count = self.tail
        client.create(peer, "load", 1)
        client.produce(peer, "load", self.size, count)
        for _ in range(passes):
            client.consume(peer, "load", self.size, count)
        return measured(peer, lambda: summed([client.consume(peer, "load", self.size, count) for _ in range(passes)]))

    def run_once(self, peer, client):
        """With a client that reads what is there again and again by itself."""
        client.create(peer, "load", 1)
        client.produce(peer, "load", self.size, self.tail)
        client.consume(peer, "load", self.size, self.tail)
        return measured(peer, lambda: client.consume(peer, "load", self.size, self.tail))


def summed(results):
    """One result of several runs one after the other, the time between them left out."""
    messages = sum(one["messages"] for one in results)
    seconds = sum(one["messages"] / one["messages_per_s"] for one in results)
    megabytes = sum(one["mb_per_s"] * one["messages"] / one["messages_per_s"] for one in results)
    return {**results[0], "messages": messages, "messages_per_s": messages / seconds, "mb_per_s": megabytes / seconds,
            "client_cpu": sum(one["client_cpu"] for one in results)}


class CatchUp(Work):
    needs = "consume"
    name = "catch-up"
    clients = ("librdkafka", "libweir")
    columns = ("messages_per_s", "mb_per_s", "broker_cpu_s_per_gb", "client_cpu_s_per_gb", "peak_mb")
    least, least_title = ("disk", "disk", KIB * KIB, 8), "the disk itself"
    size, count = KIB, 4000000
    title = "Catch up from the disk, 1 KiB"
    text = (f"{count:,} messages in one partition, none of them in the page cache nor in the memory of the broker, which was "
            "started again, read once. The disk itself: a file of as many bytes, just written, read from begin to end with "
            "O_DIRECT, 8 pieces of 1 MiB at a time, by nobody's client.")

    def wanted(self, amount, share=1.0):
        return max(int(self.count * amount * share), 1000)

    def least_bytes(self, amount):
        return self.wanted(amount) * self.size

    def run(self, peer, client, amount):
        count = self.wanted(amount, peer.share)
        client.create(peer, "load", 1)
        client.produce(peer, "load", self.size, count)
        peer.stop()
        drop_caches(peer.data())
        peer.start()
        return measured(peer, lambda: client.consume(peer, "load", self.size, count))


class Both(Work):
    needs = "both"
    name = "both"
    columns = ("messages_per_s", "mb_per_s", "consumed_mb_per_s", "broker_cpu_s_per_gb", "client_cpu_s_per_gb")
    size, count = KIB, 1000000
    title = "Produce and consume at once, 1 KiB"
    text = f"{count:,} messages to one partition, and a consumer that reads them meanwhile."

    def run(self, peer, client, amount):
        count = max(int(self.count * amount * peer.share), 1000)
        client.create(peer, "warm", 1)
        client.both(peer, "warm", self.size, warm_up_count(peer, self.size, amount))
        client.create(peer, "load", 1)
        return measured(peer, lambda: client.both(peer, "load", self.size, count))


class Single(Work):
    needs = "single"
    name = "single"
    columns = ("p50_us", "p99_us", "p999_us", "messages_per_s")
    least = ("durable", "memory", KIB, 1)
    title = "One 1 KiB message at a time, until it is acknowledged"
    text = "The next is sent when the one before has been acknowledged; nothing else is under way."

    def run(self, peer, client, amount):
        client.create(peer, "load", 1)
        client.single(peer, "load", KIB, 1)
        return measured(peer, lambda: client.single(peer, "load", KIB, max(int(8 * amount), 1)))


class Paced(Work):
    needs = "paced"
    columns = ("p50_us", "p99_us", "p999_us", "p9999_us", "max_us", "messages_per_s", "broker_cpu_s_per_gb")

    def __init__(self, name, rate):
        self.name, self.rate = name, rate
        self.title = f"End to end at {rate:,} messages a second, 1 KiB"
        self.text = ("From the moment a message was due to be sent until a consumer has it, linger 0; a message that "
                     "waits because the ones before it did counts from when it was due. librdkafka's program does not "
                     "know that moment and counts from the send, its pace is a sleep between messages, and its first second, in "
                     "which it connects, is left out.")

    def run(self, peer, client, amount):
        client.create(peer, "warm", 1)
        client.paced(peer, "warm", KIB, self.rate, 2)
        client.create(peer, "load", 1)
        return measured(peer, lambda: client.paced(peer, "load", KIB, self.rate, max(int(20 * amount), 2)))


class Replay(Work):
    """The live latencies, alone and beside a consumer that reads an old topic from the disk."""
    needs = "paced"
    name = "replay"
    clients = ("libweir",)
    rate, size, count = 2000, 16 * KIB, 250000
    columns = ("alone_p50_us", "alone_p99_us", "alone_ack_p99_us", "p50_us", "p99_us", "ack_p99_us", "replayed_mb_per_s")
    title = "Live traffic beside a replay"
    text = ("End to end at 2,000 messages a second of 1 KiB, alone and while a second consumer, which has what processor time the others leave, reads "
            f"{count:,} old messages of 16 KiB from the disk, again and again. Acknowledged is what the producer sees.")

    def run(self, peer, client, amount):
        client.create(peer, "old", 1)
        client.produce(peer, "old", self.size, max(int(self.count * amount), 1000))
        peer.stop()
        drop_caches(peer.data())
        peer.start()
        seconds = max(int(20 * amount), 2)
        client.create(peer, "warm", 1)
        client.paced(peer, "warm", KIB, self.rate, 2)
        client.create(peer, "alone", 1)
        alone = client.paced(peer, "alone", KIB, self.rate, seconds)
        client.create(peer, "beside", 1)
        over, speeds = threading.Event(), []
        reader = threading.Thread(target=self.replay, args=(peer, client, over, speeds))
        reader.start()
        try:
            beside = measured(peer, lambda: client.paced(peer, "beside", KIB, self.rate, seconds))
        finally:
            over.set()
            reader.join()
        return {**beside, "alone_p50_us": alone.get("p50_us"), "alone_p99_us": alone.get("p99_us"),
                "alone_ack_p99_us": alone.get("ack_p99_us"),
                "replayed_mb_per_s": sum(speeds) / len(speeds) if speeds else None}

    @staticmethod
    def replay(peer, client, over, speeds):
        while not over.is_set():
            drop_files(peer.data())
            reader = Client(client.command(peer, "bench", "consume", "old"), behind=True)
            while reader.running() and not over.wait(0.02):
                pass
            if reader.running():
                reader.kill()
            else:
                speeds.append(client.read(reader.ended.check(), "consume")["mb_per_second"])


class CrossShard(Work):
    """With two shards a connection belongs to the shard that accepted it, and a partition to the one
    that its name gives: which, nobody outside can ask. How often the threads were woken tells it
    afterwards: where only one of the two was the traffic was local, where both were it was remote."""
    needs = "paced_produce"
    name = "cross-shard"
    clients, peers = ("libweir",), ("weir",)
    columns = ("local_produce", "remote_produce", "local_consume", "remote_consume", "local_paced", "remote_paced")
    size, count, topics, rate = KIB, 500000, 4, 10000
    tail, cache = 50 * 10**6 // KIB, 256 << 20
    wanted, tries = 3, 48  # measurements of each kind and place; how often to try for them
    local, remote = 20, 30  # times that the less busy shard's thread was woken: at most, at least
    title = "Traffic between two shards"
    text = (f"Broker CPU s/GB of Weir with two shards: {count:,} messages of 1 KiB produced as fast as they go, {tail:,} that "
            f"are in memory consumed, and {rate:,} a second produced for a while, each by one connection with one partition. "
            "They belong to the same shard (local) or to two (remote); the broker's threads show which it was: every request "
            f"to another shard wakes it, so where the less busy one was woken at most {local} times, for the connections "
            f"themselves, it was local, where at least {remote} times, remote. Each is tried, every time with a new connection to the next of {topics} topics, until both have happened "
            f"{wanted} times; their medians. weir.tail.cache.bytes={cache}, so that all that is consumed is in memory.")

    def run(self, peer, client, amount):
        peer.kill()
        peer.shards, peer.more = 2, ("--set", f"weir.tail.cache.bytes={self.cache}")
        try:
            peer.wipe()
            peer.start()
            return self.measure(peer, client, amount)
        finally:
            peer.shards, peer.more = None, ()

    def measure(self, peer, client, amount):
        count = max(int(self.count * amount), 10000)
        seconds = max(int(6 * amount), 1)
        kinds = {
            "produce": lambda topic: client.produce(peer, topic, self.size, count),
            "consume": lambda topic: client.consume(peer, topic + "-tail", self.size, self.tail),
            "paced": lambda topic: client.paced_produce(peer, topic, self.size, self.rate, seconds, 0)}
        for number in range(self.topics):
            client.create(peer, f"{number}", 1)
            client.produce(peer, f"{number}", self.size, warm_up_count(peer, self.size, amount) // self.topics)
        found = {}
        for kind, call in kinds.items():
            if kind == "consume":
                for number in range(self.topics):
                    client.create(peer, f"{number}-tail", 1)
                    client.produce(peer, f"{number}-tail", self.size, self.tail)
            for place, costs in self.both_places(peer, call, kind).items():
                found[f"{place}_{kind}"] = statistics.median(costs)
        return {**found, "command": "weir bench produce, weir bench consume"}

    def both_places(self, peer, call, kind):
        costs = {"local": [], "remote": []}
        for number in range(self.tries):
            if number // self.topics % 2:  # the shards take connections in turns: the next one goes to the other
                socket.create_connection(("127.0.0.1", peer.port)).close()
            threads = peer.threads()
            result = measured(peer, lambda: call(f"{number % self.topics}"))
            used = sorted((seconds - threads.get(thread, (0, 0))[0], wake_ups - threads.get(thread, (0, 0))[1])
                          for thread, (seconds, wake_ups) in peer.threads().items())
            wake_ups = used[-2][1]  # of the less busy shard
            if wake_ups <= self.local or wake_ups >= self.remote:
                costs["local" if wake_ups <= self.local else "remote"].append(result["broker_cpu_s_per_gb"])
            if min(len(one) for one in costs.values()) >= self.wanted:
                return costs
        raise Failure(f"{kind}: of {self.tries} connections {len(costs['local'])} were local, {len(costs['remote'])} remote")


class Steady(Work):
    """An hour of even load, more than retention keeps."""
    needs = "paced"
    name = "steady"
    clients = ("libweir",)
    optional = True
    rate = 10000
    columns = ("p50_us", "p99_us", "p999_us", "p9999_us", "max_us", "broker_cpu_s_per_gb", "memory_mb")
    title = "One hour steady at 10,000 messages a second, past retention"
    text = "1 KiB each, end to end; the topic keeps 4 GiB in segments of 256 MiB, so that most of it is deleted meanwhile."

    def run(self, peer, client, amount):
        client.create(peer, "load", 1, "retention.bytes=4294967296", "segment.bytes=268435456")
        result = measured(peer, lambda: client.paced(peer, "load", KIB, self.rate, max(int(3600 * amount), 2)))
        return {**result, "memory_mb": peer.memory() / 1e6}


def size_text(size):
    if size >= KIB * KIB:
        return f"{size // (KIB * KIB)} MiB"
    return f"{size} B" if size < KIB else f"{size // KIB} KiB"


def works():
    return [
        Produce("produce-1k", KIB, 2000000),
        Produce("produce-100", 100, 12000000),
        Produce("partitions-12", 100, 6000000, partitions=12, clients=("librdkafka", "libweir")),
        Produce("partitions-1000", 100, 3000000, partitions=1000, clients=("librdkafka", "libweir")),
        Keyed("keyed-1", 1), Keyed("keyed-1000", 1000),
        PacedKeyed("paced-keyed-1", 1), PacedKeyed("paced-keyed-1000", 1000),
        Produce("producers-10", KIB, 1000000, producers=10, clients=("librdkafka", "libweir", "own")),
        Produce("producers-100", KIB, 1000000, producers=100, clients=("librdkafka", "libweir", "own")),
        Consume("consume-1k", KIB, 2000000),
        Consume("consume-100", 100, 12000000),
        Both(),
        CatchUp(),
        Single(),
        Paced("paced-1k", 1000), Paced("paced-10k", 10000), Paced("paced-100k", 100000),
        Replay(), CrossShard(), Steady()]


def check_names(wanted, known):
    for name in wanted:
        if name not in known:
            raise Failure(f"there is no {name}; there are {', '.join(known)}")
