# SPDX-License-Identifier: Apache-2.0
"""Long work in front of a person: how far it is, at what rate, and how long the rest will take."""
import os
import re
import signal
import subprocess
import tempfile
import time

from command import CommandTest
from harness import script
from terminal import PATIENCE, Terminal

ERASED = b"\r\x1b[K"


class Progress(CommandTest):
    def watched(self, *arguments, **streams):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        return Terminal(self.command(*arguments), self.environment(), streams=("stderr",), **streams)

    def wait_for(self, terminal, pattern):
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, terminal.shown):
            self.assertLess(time.monotonic(), deadline, terminal.shown[-1000:])
            self.assertIsNone(terminal.process.poll(), terminal.shown[-1000:])
            terminal.read(0.1)

    def test_produce_from_a_file(self):
        self.weir("topic", "create", "filed")
        # One small batch at a time: nobody is fast enough to do that before the line is drawn.
        slowly = ("-X", "batch.size=1k", "-X", "max.in.flight.requests.per.connection=1", "-X", "buffer.memory=256k")
        pattern = rb"produced [\d,]+ records, \d+\.\d of 20\.0 MB \(\d+ %\), [\d,]+/s, \d+\.\d MB/s, \d+:\d\d left"
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"a line of twenty b.\n" * 1_000_000)
            file.flush()
            for how in (("--file", file.name), ()):
                with self.subTest(how=how), open(file.name, "rb") as data, \
                        self.watched("produce", "filed", *slowly, *how,
                                     stdin=subprocess.DEVNULL if how else data) as terminal:
                    self.wait_for(terminal, pattern)
                    terminal.process.send_signal(signal.SIGINT)
                    self.assertEqual(terminal.end(), 130)
                    self.assertTrue(terminal.shown.endswith(ERASED), terminal.shown[-100:])

    def test_benchmarks(self):
        """What the last second brought; it runs until it is interrupted."""
        rates = rb" [\d,]+, [\d,]+/s, \d+\.\d MB/s"
        paced = rates + rb", p99 [\d,]+ us, [\d,]+ in flight"
        for pattern, arguments in (
                (rb"produced" + rates + rb", [\d,]+ in flight", ("produce", "--in-flight", "100")),
                (rb"produced" + paced, ("produce", "--rate", "2000")),
                (rb"produced" + paced, ("produce", "--rate", "2000", "--clients", "2", "--consumers", "1")),
                (rb"measured" + rates, ("roundtrip",))):
            with self.subTest(arguments=arguments), \
                    self.watched("bench", *arguments, "--size", "100", "--duration", "600s") as terminal:
                self.wait_for(terminal, pattern)
                terminal.process.send_signal(signal.SIGINT)
                self.assertEqual(terminal.end(), 130)
                self.assertTrue(terminal.shown.endswith(ERASED), terminal.shown[-100:])
        silent = subprocess.run(self.command("bench", "produce", "--rate", "1000", "--count", "1000"), env=self.environment(),
                                stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=PATIENCE)
        self.assertEqual(silent.stderr, b"")

    def test_a_member_that_reads_to_the_end(self):
        self.weir("produce", "grouped", data=b"some line\n" * 200_000)
        with self.watched("consume", "-g", "watched", "grouped", "-e", stdout=subprocess.PIPE) as terminal:
            out = terminal.process.stdout
            self.assertTrue(os.read(out.fileno(), 100))
            # The pipe is full: the work stands still until the line has been drawn.
            lines = 0
            while not re.search(rb"read [\d,]+ records \(\d+ %\), .* left", terminal.shown):
                self.assertTrue(os.read(out.fileno(), 4096))
                terminal.read(0.005)
                lines += 1
            self.assertLess(lines, 200_000 * 10 // 4096)
            while os.read(out.fileno(), 1 << 20):
                terminal.read()
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(terminal.shown.endswith(ERASED), terminal.shown[-100:])
            out.close()

    def test_many_steps(self):
        # Groups that do not exist: each is a question of its own, and leaves nothing behind.
        names = [f"one-of-many-{i}" for i in range(20_000)]
        with self.watched("group", "delete", "--if-exists", *names, "") as terminal:
            self.wait_for(terminal, rb"deleted [\d,]+ of 20,001 groups \(\d+ %\), [\d,]+/s, \d+:\d\d left")
            self.assertEqual(terminal.end(2 * PATIENCE), 1)
            self.assertEqual(terminal.shown.count(b"\n"), 1)
            self.assertRegex(terminal.shown, rb"\x1b\[Kweir group delete: group ''",
                             "an error stands on a line of its own")


if __name__ == "__main__":
    script.main()
