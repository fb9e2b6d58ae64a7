# SPDX-License-Identifier: Apache-2.0
"""Records through three stages of `weir pipe` while workers, stages and the broker are killed:
nothing is lost, the order of every key is kept, and records that make a command fail are in the
dead letters. `pipe_test.py --records 1000000` is the long version."""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from harness import script
from harness.broker import Broker, binary

KEYS = 50
POISON_EVERY = 997
RECORDS = 30000
SECONDS = 15
UNREACHABLE, INTERRUPTED = 4, 130  # exit codes


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as listed:
            return [int(child) for child in listed.read().split()]
    except OSError:
        return []


class Stage:
    """One `weir pipe`, started again whenever it is killed."""

    def __init__(self, broker, source, target, *command, batch=0):
        self.broker = broker
        self.log_path = f"{broker.directory}.{source}.log"
        self.group = f"after-{source}"
        self.arguments = ["--from", source, "--to", target, "--group", self.group,
                          "--dead-letter", "rejected", "--retries", "1", "--retry-pause", "10ms",
                          "--give-up", "0", "--workers", "2"]
        if batch:
            self.arguments += ["--batch", str(batch), "--linger", "20ms"]
        self.command = command
        self.process = None

    def run(self, *more):
        with open(self.log_path, "ab") as log:
            return subprocess.Popen([binary("weir"), "-b", self.broker.address, "--timeout", "60s", "pipe",
                                     *self.arguments, *more, "--", *self.command],
                                    stdout=log, stderr=log)

    def start(self):
        self.process = self.run()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def keep(self):
        """As whoever looks after it would: again, when the broker was away while it began."""
        if self.process.poll() == UNREACHABLE:
            self.start()
        return self.process.poll() is None

    def listens(self):
        """Whether it has come as far as to catch SIGTERM."""
        with open(f"/proc/{self.process.pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt:"))
        return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1

    def stop(self):
        """SIGTERM; 130 is the code of one that was interrupted while it began."""
        deadline = time.monotonic() + 60
        while self.keep() and not self.listens() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60) in (0, INTERRUPTED)

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()[-2000:]


class Pipe(unittest.TestCase):
    records = RECORDS
    seconds = SECONDS
    seed = None

    def setUp(self):
        self.seed = self.seed or random.randrange(1 << 30)
        print(f"seed {self.seed}")
        self.chance = random.Random(self.seed)
        self.broker = Broker(shards=2, settings=(
            "group.initial.rebalance.delay.ms=0", "group.consumer.session.timeout.ms=2000",
            "group.consumer.heartbeat.interval.ms=500", "group.consumer.min.session.timeout.ms=1",
            "group.consumer.min.heartbeat.interval.ms=1")).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.weir("topic", "create", "raw", "middle", "late", "final", "rejected", "--partitions", "4")
        self.stages = [
            Stage(self.broker, "raw", "middle", "sed", "-u", "-e", "/poison/Q3", "-e", "s/$/ a/"),
            Stage(self.broker, "middle", "late", "sed", "-e", "s/$/ b/", batch=500),
            Stage(self.broker, "late", "final", "sed", "-u", "s/$/ c/"),
        ]
        # The one that works in batches has to carry the keys itself.
        self.stages[1].arguments += ["--key-delimiter", ":"]

    def weir(self, *arguments):
        return subprocess.run([binary("weir"), "-b", self.broker.address, *arguments], check=True,
                              capture_output=True, timeout=300).stdout.decode()

    def produce(self):
        """Spread over the time that is to be disturbed."""
        producer = subprocess.Popen([binary("weir"), "-b", self.broker.address, "produce", "raw", "-k", ":"],
                                    stdin=subprocess.PIPE)
        step = max(1, self.records // (20 * self.seconds))
        for first in range(0, self.records, step):
            numbers = range(first, min(first + step, self.records))
            producer.stdin.write("".join(f"k{n % KEYS}:{n}{self.poison(n)}\n" for n in numbers).encode())
            producer.stdin.flush()
            time.sleep(0.04)
        producer.stdin.close()
        self.produced = producer.wait(300)

    @staticmethod
    def poison(number):
        return " poison" if number % POISON_EVERY == 5 else ""

    def disturb(self):
        what = self.chance.random()
        stage = self.chance.choice(self.stages)
        if what < 0.5:
            for worker in children(stage.process.pid):
                try:
                    os.kill(worker, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        elif what < 0.8:
            stage.kill()
            time.sleep(self.chance.random() * 0.2)
            stage.start()
        else:
            self.broker.kill()
            time.sleep(self.chance.random() * 0.3)
            self.broker.start()
        return "worker" if what < 0.5 else "stage" if what < 0.8 else "broker"

    def read(self, topic):
        """(partition, key, value) in order."""
        lines = self.weir("consume", topic, "--until-end", "--format", "%p %k:%s\\n").splitlines()
        return [line.split(":", 1) for line in lines]

    def test_nothing_is_lost_and_order_is_kept(self):
        for stage in self.stages:
            stage.start()
        self.produced = None
        producer = threading.Thread(target=self.produce)
        producer.start()
        # One that finds no broker when it begins gives up; later it waits.
        self.weir("consume", "raw", "-n", "1")
        kills = {"worker": 0, "stage": 0, "broker": 0}
        while producer.is_alive():
            time.sleep(0.1 + self.chance.random() * 0.5)
            kills[self.disturb()] += 1
            for stage in self.stages:
                self.assertTrue(stage.keep(), stage.log())
        producer.join()
        self.assertEqual(self.produced, 0)
        for stage in self.stages:
            self.assertTrue(stage.stop(), stage.log())
            self.assertEqual(stage.run("--until-end").wait(300), 0, stage.log())
            (group,) = json.loads(self.weir("-o", "json", "group", "describe", stage.group))
            self.assertEqual(group["lag"], 0, f"ended before the end, seed {self.seed}: {group}")
        print(kills)
        self.check_final(self.check_rejected())

    def check_final(self, unlucky):
        seen = {f"k{key}": [] for key in range(KEYS)}
        total = 0
        for place, value in self.read("final"):
            number, rest = value.split(" ", 1)
            self.assertEqual(rest, "a b c")
            seen[place.split(" ")[1]].append(int(number))
            total += 1
        for key, numbers in seen.items():
            expected = [n for n in range(int(key[1:]), self.records, KEYS)
                        if not self.poison(n) and n not in unlucky]
            # What is repeated is repeated in order: a number comes first only after all before it.
            first = [n for n in dict.fromkeys(numbers) if n not in unlucky]
            self.assertEqual(first, expected, f"{key} of seed {self.seed}")
        print(f"{total} records for {self.records}")

    def check_rejected(self):
        """The poison is in the dead letters. Returns the records that are there by bad luck."""
        lines = self.weir("consume", "rejected", "--until-end", "--format", "%s|%h\\n").splitlines()
        poison = {n for n in range(self.records) if self.poison(n)}
        rejected = [line for line in lines if "poison" in line]
        self.assertEqual({int(line.split(" ")[0]) for line in rejected}, poison)
        for line in rejected:
            self.assertIn("weir.topic=raw", line)
            self.assertIn("weir.attempts=2", line)
        print(f"{len(rejected)} dead letters for {len(poison)}")
        # Killed workers look like failing commands: twice on the same record alone is possible.
        others = [line for line in lines if "poison" not in line]
        for line in others:
            self.assertIn("signal 9", line)
        return {int(line.split(" ")[0]) for line in others}

    def tearDown(self):
        for stage in self.stages:
            if stage.process and stage.process.poll() is None:
                stage.kill()
            if os.path.exists(stage.log_path):
                os.unlink(stage.log_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long to disturb")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    Pipe.records, Pipe.seconds, Pipe.seed = options.records, options.seconds, options.seed
    script.main(sys.argv[:1], patience=max(1, options.seconds // 30))
