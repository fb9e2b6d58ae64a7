# SPDX-License-Identifier: Apache-2.0
"""Pipes, signals and terminals: weir among other programs."""
import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S


class Pipes(CommandTest):
    def start(self, *arguments, **streams):
        streams.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(*arguments), env=self.environment(), **streams)

    def read_line(self, process):
        """The next line, for which the process may take its time."""
        self.assertTrue(select.select([process.stdout], [], [], PATIENCE_S)[0], "no output came")
        return process.stdout.readline()

    def test_records_arrive_while_the_writer_goes_on(self):
        self.weir("topic", "create", "live")
        reader = self.start("consume", "live", stdout=subprocess.PIPE, bufsize=0)
        writer = self.start("produce", "live", stdin=subprocess.PIPE, bufsize=0)
        for i in range(5):
            writer.stdin.write(b"line %d\n" % i)
            self.assertEqual(self.read_line(reader), b"line %d\n" % i)
        writer.stdin.close()
        self.assertEqual(writer.wait(PATIENCE_S), 0)
        reader.send_signal(signal.SIGINT)
        self.assertEqual(reader.wait(PATIENCE_S), 0, "Ctrl-C is how following is left")
        reader.stdout.close()

    def test_tail_follows(self):
        self.weir("produce", "followed", data=b"old 1\nold 2\nold 3\n")
        tail = self.start("tail", "followed", "-n", "2", stdout=subprocess.PIPE, bufsize=0)
        self.assertEqual(self.read_line(tail), b"old 2\n")
        self.assertEqual(self.read_line(tail), b"old 3\n")
        self.weir("produce", "followed", data=b"new\n")
        self.assertEqual(self.read_line(tail), b"new\n")
        tail.send_signal(signal.SIGTERM)
        self.assertEqual(tail.wait(PATIENCE_S), 0)
        tail.stdout.close()

    def test_a_closed_pipe_ends_quietly(self):
        self.weir("produce", "many", data=b"a line of some length\n" * 200000)
        reader = self.start("consume", "many", "-e", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        reader.stdout.read(100)
        reader.stdout.close()
        self.assertEqual(reader.wait(PATIENCE_S), -signal.SIGPIPE)
        self.assertEqual(reader.stderr.read(), b"")
        reader.stderr.close()

    def test_a_closed_pipe_ends_a_reader_that_waits(self):
        self.weir("produce", "quiet", data=b"only one\n")
        for command in (("consume", "quiet"), ("tail", "quiet")):
            reader = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
            self.addCleanup(reader.kill)
            self.assertEqual(self.read_line(reader), b"only one\n")
            reader.stdout.close()
            self.assertEqual(reader.wait(PATIENCE_S), -signal.SIGPIPE)
            self.assertEqual(reader.stderr.read(), b"")
            reader.stderr.close()

    def test_a_member_whose_reader_leaves_gives_its_partitions_back(self):
        self.weir("produce", "member", data=b"only one\n")
        reader = self.start("consume", "-g", "leavers", "member", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            bufsize=0)
        self.addCleanup(reader.kill)
        self.assertEqual(self.read_line(reader), b"only one\n")
        reader.stdout.close()
        self.assertEqual(reader.wait(PATIENCE_S), -signal.SIGPIPE)
        self.assertEqual(reader.stderr.read(), b"")
        reader.stderr.close()
        (group,) = json.loads(self.weir("group", "describe", "leavers", "-o", "json"))
        self.assertEqual((group["state"], group["members"]), ("Empty", []))

    def test_every_command_notices_that_nobody_reads(self):
        self.weir("produce", "printed", data=b"x\n")
        self.weir("group", "reset", "printed", "-t", "printed", "--to", "end", "--execute")
        for command in (("topic", "list"), ("topic", "describe", "printed"), ("topic", "offsets", "printed"),
                        ("group", "list"), ("group", "describe", "printed"), ("cluster", "--apis"),
                        ("config", "get", "broker", "1", "--all"), ("top", "--once", "-i", "100ms"),
                        ("top", "-o", "json", "-i", "1h"), ("manual", "consume"), ("completion", "bash"), ("--help",)):
            with self.subTest(command=command):
                reading, writing = os.pipe()
                os.close(reading)
                writer = self.start(*command, stdout=writing, stderr=subprocess.PIPE)
                os.close(writing)
                self.assertEqual(writer.wait(PATIENCE_S), -signal.SIGPIPE)
                self.assertEqual(writer.stderr.read(), b"")
                writer.stderr.close()

    def test_a_full_disk_is_an_error(self):
        self.weir("produce", "full", data=b"x\n")
        with open("/dev/full", "wb") as full:
            reader = self.start("consume", "full", "-e", stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(reader.wait(PATIENCE_S), 1)
        (line,) = reader.stderr.read().splitlines()
        self.assertIn(b"No space left", line)
        reader.stderr.close()

    def test_interrupted_input_is_still_stored(self):
        self.weir("topic", "create", "cut")
        writer = self.start("produce", "cut", stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                            bufsize=0)
        writer.stdin.write(b"one\ntwo\n")
        deadline = time.monotonic() + PATIENCE_S
        while b"two" not in self.weir("consume", "cut", "-e"):
            self.assertLess(time.monotonic(), deadline)
        writer.stdin.write(b"three\n")
        deadline = time.monotonic() + PATIENCE_S
        while b"three" not in self.weir("consume", "cut", "-e"):
            self.assertLess(time.monotonic(), deadline)
        writer.send_signal(signal.SIGINT)
        self.assertEqual(writer.wait(PATIENCE_S), 130)
        self.assertEqual(writer.stderr.read(), b"")
        self.assertEqual(self.weir("consume", "cut", "-e"), b"one\ntwo\nthree\n")
        writer.stdin.close()
        writer.stderr.close()

    def test_an_interrupted_read_with_an_end_says_so(self):
        self.weir("produce", "endless", data=b"one\n")
        reader = self.start("consume", "endless", "-n", "5", stdout=subprocess.PIPE)
        self.assertEqual(self.read_line(reader), b"one\n")
        reader.send_signal(signal.SIGINT)
        self.assertEqual(reader.wait(PATIENCE_S), 130)
        reader.stdout.close()

    def test_nobody_waits_for_a_broker_after_control_c(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            for command in (("consume", "x"), ("topic", "list"), ("produce", "x")):
                with self.subTest(command=command):
                    waiting = self.start("-b", address, "--timeout", "5m", *command,
                                         stderr=subprocess.PIPE)
                    connection, _ = silent.accept()
                    waiting.send_signal(signal.SIGINT)
                    self.assertEqual(waiting.wait(PATIENCE_S), -signal.SIGINT)
                    self.assertEqual(waiting.stderr.read(), b"")
                    waiting.stderr.close()
                    connection.close()

    def test_through_a_pipeline(self):
        lines = b"".join(b"%d\n" % i for i in range(100000))
        self.weir("produce", "stage-1", data=lines)
        reader = self.start("consume", "stage-1", "-e", stdout=subprocess.PIPE)
        filter_ = subprocess.Popen(["grep", "7$"], stdin=reader.stdout, stdout=subprocess.PIPE)
        writer = self.start("produce", "stage-2", stdin=filter_.stdout)
        reader.stdout.close()
        filter_.stdout.close()
        self.assertEqual([writer.wait(PATIENCE_S), filter_.wait(PATIENCE_S), reader.wait(PATIENCE_S)],
                         [0, 0, 0])
        self.assertEqual(self.weir("consume", "stage-2", "-e"),
                         b"".join(b"%d\n" % i for i in range(7, 100000, 10)))

    def test_the_broker_goes_and_comes_back_while_lines_flow(self):
        writer = self.start("produce", "bumpy", stdin=subprocess.PIPE)
        first = b"".join(b"%d\n" % i for i in range(20000))
        writer.stdin.write(first)
        writer.stdin.flush()
        self.broker.kill()
        writer.stdin.write(b"after\n")
        writer.stdin.flush()
        self.broker.start()
        writer.stdin.close()
        self.assertEqual(writer.wait(PATIENCE_S), 0)
        # A batch whose answer was lost is sent again: lines may repeat, and none is missing.
        seen = self.weir("consume", "bumpy", "-e").splitlines()
        self.assertEqual(set(seen), set(first.splitlines()) | {b"after"})
        self.assertEqual(list(dict.fromkeys(seen)), first.splitlines() + [b"after"])

    def test_a_broker_that_dies_in_the_middle_of_a_read(self):
        self.weir("produce", "torn", "-X", "batch.size=16k",
                  data=b"a line of some length\n" * 500000)
        reader = self.start("consume", "torn", "-e", "--timeout", "3s", "-X",
                            "max.partition.fetch.bytes=16k", stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
        reader.stdout.read(100)
        self.broker.kill()
        try:
            _, said = reader.communicate(timeout=PATIENCE_S)
        finally:
            self.broker.start()
        self.assertEqual(reader.returncode, 4, said)
        self.assertEqual(said.count(b"\n"), 1, said)
        self.assertIn(b"torn", said)

    def test_progress_is_for_terminals(self):
        """A long read with standard error on a terminal shows how far it is, and cleans up."""
        self.weir("produce", "watched", data=b"some line\n" * 300000)
        master, slave = pty.openpty()
        # Slow enough to be drawn at least once: the reader of the pipe takes its time.
        reader = self.start("consume", "watched", "-e", stdout=subprocess.PIPE, stderr=slave)
        shown = b""
        deadline = time.monotonic() + PATIENCE_S
        while reader.poll() is None and time.monotonic() < deadline:
            if select.select([master], [], [], 0)[0]:
                shown += os.read(master, 65536)
            os.read(reader.stdout.fileno(), 20000)
            time.sleep(0.005)
        self.assertEqual(reader.wait(PATIENCE_S), 0)
        reader.stdout.close()
        # Closed here only: a terminal that nobody has open any more cannot be read.
        while select.select([master], [], [], 0)[0]:
            shown += os.read(master, 65536)
        os.close(slave)
        os.close(master)
        self.assertIn(b"records (", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-60:])


if __name__ == "__main__":
    script.main()
