# SPDX-License-Identifier: Apache-2.0
"""Whether a consumer that replays a log larger than the broker's memory is felt by producers."""
import statistics
import subprocess
import threading

from pairs import cell

RATE = "2000"


class Replay:
    def __init__(self, bench):
        self.bench = bench
        self.rows = {"alone": [], "beside a replay": []}
        self.replayed = []

    def produce(self, broker):
        seconds = 2 if self.bench.options.quick else 2 * self.bench.options.seconds
        (result,) = self.bench.weir(broker, "bench", "produce", "live", "--size", "1K", "--rate", RATE,
                                    "--duration", f"{seconds}s").values()
        return result["latency"]

    def replay_until(self, broker, over):
        """Reads the old topic from its beginning, again and again."""
        command = self.bench.weir_command(broker, "bench", "consume", "old")
        while not over.is_set():
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            while process.poll() is None and not over.wait(0.02):
                pass
            if process.poll() is None:
                process.kill()
                process.communicate()
            elif process.returncode == 0:
                self.replayed.append(self.bench_result(process.communicate()[0]))

    @staticmethod
    def bench_result(text):
        import json
        (result,) = json.loads(text).values()
        return result["mb_per_second"]

    def round(self):
        size = 512 << 20 if self.bench.options.quick else 4 << 30
        memory = 128 << 20
        with self.bench.broker(f"weir.buffer.bytes={memory}", f"weir.tail.cache.bytes={memory // 4}") as broker:
            self.bench.create(broker, "old", 1)
            self.bench.create(broker, "live", 1)
            self.bench.weir(broker, "bench", "produce", "old", "--size", "16K", "--count", str(size // 16384))
            self.produce(broker)  # warms up
            for _ in range(1 if self.bench.options.quick else 2):
                self.rows["alone"].append(self.produce(broker))
                over = threading.Event()
                reader = threading.Thread(target=self.replay_until, args=(broker, over))
                reader.start()
                try:
                    self.rows["beside a replay"].append(self.produce(broker))
                finally:
                    over.set()
                    reader.join()

    def finish(self):
        lines = ["## Producers beside a replay", "",
                 f"{RATE} messages of 1 KiB a second, each at its own moment, durable; the broker has 128 MiB of "
                 "buffers. Beside it, a consumer reads 4 GB of older records from the device as fast as it can"
                 + (f" ({statistics.median(self.replayed):,.0f} MB/s)" if self.replayed else "")
                 + ". Both clients share the processors with the broker.", "",
                 "| | p50 us | p99 us |", "|---|---|---|"]
        for name, results in self.rows.items():
            lines.append(f"| {name} | {cell([r['p50_us'] for r in results])} | {cell([r['p99_us'] for r in results])} |")
        return lines + [""]
