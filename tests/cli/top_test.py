# SPDX-License-Identifier: Apache-2.0
"""weir top: for scripts, and on a terminal."""
import json
import signal
import subprocess

from kafka.protocol.commit import OffsetCommitRequest

from command import CommandTest
from harness import script, wire
from terminal import Terminal

# As an xterm sends them when a program has asked for them.
UP, DOWN, HOME, PAGE_DOWN = b"\x1bOA", b"\x1bOB", b"\x1bOH", b"\x1b[6~"
CTRL_L = b"\x0c"


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

    def on_terminal(self, *arguments, **options):
        return Terminal(self.command("top", *arguments), self.environment(), **options)

    def test_on_a_terminal(self):
        with self.on_terminal() as top:
            top.wait_for(b"watched")
            top.wait_for(b"watchers")
            top.type(b"q")
            self.assertEqual(top.end(), 0)
            self.assertTrue(top.is_as_before())

    def test_a_signal_gives_the_terminal_back(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number), self.on_terminal() as top:
                top.wait_for(b"watchers")
                top.process.send_signal(number)
                self.assertEqual(top.end(), 0)
                self.assertTrue(top.is_as_before())

    def test_small_and_resized_terminals(self):
        for rows, columns in ((1, 1), (2, 10), (3, 200), (5, 20), (24, 12)):
            with self.subTest(rows=rows, columns=columns), self.on_terminal(rows=rows, columns=columns) as top:
                top.wait_for(b"w")
                top.resize(24, 80)
                top.wait_for(b"watchers")
                top.resize(rows, columns)
                top.type(b"q")
                self.assertEqual(top.end(), 0)

    def test_an_unknown_terminal(self):
        with Terminal(["env", "TERM=no-such-terminal", *self.command("top")], self.environment()) as top:
            top.wait_for(b"this terminal is unknown (TERM), use --once")
            self.assertEqual(top.end(), 1)


class Away(CommandTest):
    def test_the_view_stays_while_the_broker_is_away(self):
        self.weir("produce", "stays", data=b"a\n")
        with Terminal(self.command("top", "-i", "100ms", "--timeout", "3s"), self.environment(),
                      columns=200) as top:
            top.wait_for(b"stays")
            self.broker.kill()
            top.wait_for(b"is the broker running there?")
            self.broker.start()
            self.weir("produce", "comes", data=b"a\n")
            top.wait_for(b"comes")
            self.broker.kill()
            top.wait_for(b"is the broker running there?")
            top.type(b"q")
            self.assertEqual(top.end(), 0)
            self.assertTrue(top.is_as_before())
        self.refused(4, "top", "--once", "--timeout", "300ms", says="is the broker running there?")
        self.broker.start()


class Many(CommandTest):
    """Thousands of topics and groups: every one is counted, the busiest are shown."""
    settings = ("num.partitions=1",)
    TOPICS, GROUPS = 1000, 2000
    patient = ("--timeout", "3m")  # a look at all of them takes a while on a machine that is busy

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.weir("topic", "create", *(f"topic-{i}" for i in range(cls.TOPICS)), timeout=200)
        with cls.broker.connect() as connection:
            for i in range(cls.GROUPS):
                committed = (f"topic-{i % cls.TOPICS}", [(0, 0, "")])
                wire.call(connection, OffsetCommitRequest[2](f"group-{i}", -1, "", -1, [committed]))
        test.weir("produce", "topic-77", data=b"a\nb\n")

    def test_all_are_counted(self):
        sample = json.loads(self.weir("top", "--once", "-o", "json", "-i", "100ms", *self.patient, timeout=200))
        self.assertEqual((len(sample["topics"]), len(sample["groups"])), (self.TOPICS, self.GROUPS))
        self.assertEqual({group["group"]: group["lag"] for group in sample["groups"] if group["lag"] > 0},
                         {"group-77": 2, "group-1077": 2})

    def test_moving_through_them(self):
        with Terminal(self.command("top", *self.patient), self.environment()) as top:
            top.wait_for(b"1-10 of %d" % self.TOPICS)
            top.wait_for(b"1-10 of %d" % self.GROUPS)
            top.wait_for(b"group-1077")
            # Ctrl-L draws everything anew; else only what changes is sent.
            top.type(PAGE_DOWN + CTRL_L)
            top.wait_for(b"13-22 of %d" % self.TOPICS)
            top.wait_for(b"13-22 of %d" % self.GROUPS)
            top.type(DOWN + UP + DOWN + CTRL_L)
            top.wait_for(b"14-23 of %d" % self.TOPICS)
            top.type(HOME + CTRL_L)
            top.wait_for(b"group-1077")
            top.type(b"q")
            self.assertEqual(top.end(), 0)


if __name__ == "__main__":
    script.main()
