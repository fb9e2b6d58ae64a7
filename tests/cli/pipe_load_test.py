# SPDX-License-Identifier: Apache-2.0
"""What weir pipe shows on a terminal, and what it keeps in memory when its command is slow."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S as PATIENCE
from harness.broker import binary

LINE = r"\r\x1b\[Kread %s \([0-9,]+/s\), wrote 40, rejected 1, lag %s\r"
RECORD = 1000  # bytes
MEMORY = 1 << 20  # what --memory is given, the least there is
# The process itself; and a member reads ahead: an answer with 1 MiB of each of four partitions is
# there, and another on its way.
REST = 32 << 20


class Load(CommandTest):
    settings = ("num.partitions=1", "group.initial.rebalance.delay.ms=0")

    def start(self, *arguments, **more):
        process = subprocess.Popen(self.command("-o", "json", "pipe", *arguments), env=self.environment(),
                                   stdout=subprocess.PIPE, **more)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def watch(self, terminal, pattern):
        """Reads what is shown until it matches; all of it."""
        shown = ""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, shown):
            self.assertLess(time.monotonic(), deadline, f"waited for {pattern}, saw {shown[-500:]}")
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536).decode()
        return shown

    def test_a_terminal_shows_rates_rejects_and_lag(self):
        self.weir("topic", "create", "shown", "out", "dead")
        self.weir("produce", "shown", data=b"bad\n" + b"good\n" * 100)
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)  # not before: what nobody has open cannot be read to its end
        # It stops working in the middle, so that there is something left to do.
        process = self.start("--from", "shown", "--to", "out", "--group", "g", "--dead-letter", "dead",
                             "--retries", "0", "--timeout", "1h", "--grace", "0s", "--", "sh", "-c",
                             "n=0; while read -r line; do [ $line = good ] || exit 1; n=$((n + 1)); "
                             "[ $n -le 40 ] || sleep 1000; echo $line; done",
                             stderr=slave)
        self.watch(master, LINE % ("101", "60"))
        self.weir("produce", "shown", data=b"good\n" * 1000)
        self.watch(master, LINE % ("1,101", "1,060"))
        process.send_signal(signal.SIGTERM)
        self.watch(master, r"\r\x1b\[K$")
        summary = json.loads(process.communicate(timeout=PATIENCE)[0])
        self.assertEqual((process.returncode, summary["written"], summary["rejected"]), (0, 40, 1))

    def test_a_slow_command_fills_no_memory(self):
        self.weir("topic", "create", "much", "little", "--partitions", "4")
        self.weir("produce", "much", data=(b"x" * (RECORD - 1) + b"\n") * 60000, timeout=PATIENCE)
        process = self.start("--from", "much", "--to", "little", "--group", "g", "--memory", "1M", "--workers", "4",
                             "--grace", "0s", "--timeout", "1h", "--", "sh", "-c",
                             "read -r line; echo one; sleep 1; echo two; sleep 1000")
        # By then each of the partitions has been read for a second.
        deadline = time.monotonic() + PATIENCE
        while self.weir("consume", "little", "--until-end").count(b"two") < 4:
            self.assertLess(time.monotonic(), deadline, "waited for the second outputs of all workers")
        with open(f"/proc/{process.pid}/status") as status:
            kilobytes = int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1])
        process.send_signal(signal.SIGTERM)
        summary = json.loads(process.communicate(timeout=PATIENCE)[0])
        self.assertGreater(summary["read"], 4)
        # Each of four partitions has its share, and the records' own books.
        self.assertLess(summary["read"] * RECORD, MEMORY + 4 * 2 * RECORD)
        if "asan" not in binary("weir"):
            self.assertLess(kilobytes * 1024, REST + MEMORY)

    @unittest.skipIf("asan" in binary("weir"), "sanitizers take more address space than there is")
    def test_without_memory_it_stops_and_the_next_run_goes_on(self):
        count = 20000
        self.weir("topic", "create", "scarce", "kept")
        self.weir("produce", "scarce", data=b"".join(b"%d %s\n" % (n, b"x" * RECORD) for n in range(count)))
        codes = []
        for megabytes in [*range(12, 26, 2), 0]:
            # With next to nothing it waits for memory to receive with, as it waits for a broker.
            limit = ["timeout", "10", "prlimit", f"--as={megabytes << 20}"] if megabytes else []
            done = subprocess.run([*limit, *self.command("pipe", "--from", "scarce", "--to", "kept", "--group", "g",
                                                         "--memory", "1G", "--until-end", "--", "cat")],
                                  env=self.environment(), capture_output=True, timeout=PATIENCE)
            codes.append(done.returncode)
            if done.returncode != 124:
                self.assertEqual(done.stderr.count(b"\n"), int(done.returncode != 0), done.stderr)
        self.assertEqual(codes[-1], 0)
        self.assertGreater(sum(codes), 0)
        numbers = {int(line.split()[0]) for line in self.weir("consume", "kept", "--until-end").splitlines()}
        self.assertEqual(numbers, set(range(count)))


if __name__ == "__main__":
    script.main()
