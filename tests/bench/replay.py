# SPDX-License-Identifier: Apache-2.0
"""How fast a log larger than the broker's memory is read from disk, and whether a consumer that does so
is felt by producers and by consumers at the tail."""
import glob
import json
import os
import statistics
import subprocess
import threading
import time

from machine import behind_all_others, cpu_seconds, process_read
from pairs import cell

RATE = "2000"
MEMORY = 128 << 20
OLD_RECORD = 16 << 10


class Replay:
    def __init__(self, bench):
        self.bench = bench
        quick = bench.options.quick
        self.rounds = min(3, bench.options.rounds)  # of several pairs each
        self.size = (512 << 20) if quick else 2 << 30
        self.pairs = 1 if quick else 2
        self.seconds = 2 if quick else bench.options.seconds
        self.rows = {"alone": [], "beside a replay": []}
        self.replayed = []
        self.device = []
        self.catch_up = []
        self.catch_up_cpu = []
        self.topics = 0

    def read_directly(self, broker):
        """The segments as `dd` reads them, past the page cache: MB/s."""
        paths = glob.glob(f"{broker.directory}/topics/old/*/*.log")
        size = sum(os.path.getsize(path) for path in paths)
        start = time.monotonic()
        for path in sorted(paths):
            subprocess.run(["dd", f"if={path}", "of=/dev/null", "iflag=direct", "bs=1M", "status=none"], check=True)
        return size / 1e6 / (time.monotonic() - start)

    def consume_alone(self, broker):
        before = cpu_seconds(broker.process)
        (result,) = self.bench.weir(broker, "bench", "consume", "old").values()
        self.catch_up.append(result["mb_per_second"])
        self.catch_up_cpu.append((cpu_seconds(broker.process) - before) / (result["bytes"] / 1e9))

    def live(self, broker):
        """Latencies of a producer and of a consumer at the tail, in a topic of their own."""
        self.topics += 1
        topic = f"live-{self.topics}"
        self.bench.create(broker, topic, 1)
        command = self.bench.weir_command(broker, "bench", "consume", topic, "--duration", f"{self.seconds}s")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as consumer:
            try:
                (produced,) = self.bench.weir(broker, "bench", "produce", topic, "--size", "1K", "--rate", RATE,
                                              "--duration", f"{self.seconds}s").values()
            except BaseException:
                consumer.kill()
                raise
            (consumed,) = json.loads(consumer.communicate()[0]).values()
        return {"produce": produced["latency"], "consume": consumed["latency"]}

    def replay_until(self, broker, over):
        """Reads the old topic from its beginning, again and again. The client has what processor
        time the others leave: what it does with the records is no matter of the broker's."""
        command = behind_all_others(self.bench.weir_command(broker, "bench", "consume", "old"))
        while not over.is_set():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            while process.poll() is None and not over.wait(0.02):
                pass
            if process.poll() is None:
                process.kill()
                process.communicate()
            else:
                process.communicate()

    def round(self):
        with self.bench.broker(f"weir.buffer.bytes={MEMORY}", f"weir.tail.cache.bytes={MEMORY // 4}") as broker:
            self.bench.create(broker, "old", 1)
            self.bench.weir(broker, "bench", "produce", "old", "--size", str(OLD_RECORD),
                            "--count", str(self.size // OLD_RECORD))
            self.live(broker)  # warms up
            for _ in range(self.pairs):
                self.device.append(self.read_directly(broker))
                self.consume_alone(broker)
                self.rows["alone"].append(self.live(broker))
                over = threading.Event()
                reader = threading.Thread(target=self.replay_until, args=(broker, over))
                reader.start()
                start, before = time.monotonic(), process_read(broker.process)
                try:
                    self.rows["beside a replay"].append(self.live(broker))
                    read = process_read(broker.process) - before
                    self.replayed.append(read / 1e6 / (time.monotonic() - start))
                finally:
                    over.set()
                    reader.join()

    def ratio(self, who, key):
        pairs = zip(self.rows["beside a replay"], self.rows["alone"])
        return statistics.median(beside[who][key] / alone[who][key] for beside, alone in pairs)

    def finish(self):
        lines = self.bench.section(
            "Producers and consumers beside a replay", "replay",
            f"`weir bench produce --size 1K --rate {RATE}`: durable messages, each at its own moment, whose latency "
            "counts from then; and a `weir bench consume` of the same topic, whose latency counts from the same "
            f"moment. The broker has {MEMORY >> 20} MiB of buffers and reads past the page cache. Beside it a second "
            f"`weir bench consume` reads {self.size / 2**30:g} GiB of older records from the device, as fast as it can "
            f"({statistics.median(self.replayed):,.0f} MB/s). All clients share the processors with the broker; the replay's has what the others leave of them. "
            f"{self.rounds * self.pairs} pairs.")
        lines += ["| | produce p50 us | p99 us | consume p50 us | p99 us |", "|---|---|---|---|---|"]
        columns = [(who, key) for who in ("produce", "consume") for key in ("p50_us", "p99_us")]
        for name, results in self.rows.items():
            cells = [cell([r[who][key] for r in results]) for who, key in columns]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        ratios = [f"{self.ratio(who, key):.2f}" for who, key in columns]
        caught_up = statistics.median(ours / least for ours, least in zip(self.catch_up, self.device))
        return lines + ["| beside / alone | " + " | ".join(ratios) + " |", "",
                        self.bench.target("producers' p99 beside a replay, against the same alone",
                                          self.ratio("produce", "p99_us"), 1.3, "times"), "",
                        "The same records read alone, in turns with `dd iflag=direct bs=1M` of their segments: "
                        f"{cell(self.catch_up)} MB/s beside {cell(self.device)} MB/s; "
                        f"{cell(self.catch_up_cpu, 2)} CPU seconds of the broker per GB.", "",
                        self.bench.target("catch-up from disk, MB/s against the device read directly", caught_up, 0.8,
                                          "times", at_least=True), "",
                        "What is aimed at: undisturbed. The replay has a quarter of the time, in pieces of "
                        "256 KiB: a write may wait for one of them on the device, for one while it is sent, and, where "
                        "the processors are fewer than those who want one, for a client that takes one in.", ""]
