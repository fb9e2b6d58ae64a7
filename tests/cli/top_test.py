# SPDX-License-Identifier: Apache-2.0
"""weir top: for scripts, and on a terminal."""
import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import unittest

from command import CommandTest
from harness import script


class Top(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.weir("produce", "watched", data=b"a\nb\nc\n")
        test.weir("group", "reset", "watchers", "-t", "watched", "--to", "1", "--execute")

    def test_once(self):
        lines = self.weir("top", "--once", "-i", "100ms").decode().splitlines()
        self.assertEqual(lines[0].split(), ["TOPIC", "PARTITIONS", "RECORDS", "RECORDS/S"])
        self.assertIn(["watched", "1", "3", "0.0"], [line.split() for line in lines])
        self.assertIn(["watchers", "Empty", "0", "2", "0.0"], [line.split() for line in lines])

    def test_json(self):
        sample = json.loads(self.weir("top", "--once", "-o", "json", "-i", "100ms"))
        (topic,) = sample["topics"]
        self.assertEqual((topic["topic"], topic["end"], topic["rate"]), ("watched", 3, 0))
        (group,) = sample["groups"]
        self.assertEqual((group["group"], group["lag"], group["state"]), ("watchers", 2, "Empty"))

    def test_every_interval(self):
        top = subprocess.Popen(self.command("top", "-o", "json", "-i", "100ms"),
                               stdout=subprocess.PIPE, env=self.environment())
        for _ in range(2):
            self.assertIn("topics", json.loads(top.stdout.readline()))
        top.terminate()
        self.assertEqual(top.wait(), 0)
        top.stdout.close()

    def test_without_a_terminal(self):
        self.refused(2, "top", says="--once")

    def test_on_a_terminal(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        top = subprocess.Popen(self.command("top"), stdin=theirs, stdout=theirs, stderr=theirs,
                               env={**self.environment(), "TERM": "xterm"})
        os.close(theirs)
        shown = b""
        while b"watchers" not in shown:
            shown += os.read(ours, 4096)
        self.assertIn(b"watched", shown)
        os.write(ours, b"q")
        try:
            while os.read(ours, 4096):
                pass
        except OSError:
            pass  # how a terminal says that nobody has it open any more
        self.assertEqual(top.wait(), 0)
        os.close(ours)


if __name__ == "__main__":
    script.main()
