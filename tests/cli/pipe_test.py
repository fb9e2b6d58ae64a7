# SPDX-License-Identifier: Apache-2.0
"""weir pipe as people run it: formats, failures, dead letters, stopping."""
import json
import os
import signal
import subprocess
import tempfile
import textwrap
import time
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S


class Pipe(CommandTest):
    settings = ("num.partitions=1", "group.initial.rebalance.delay.ms=0")
    count = 0

    def topics(self, *lines):
        """A topic with these records, and one for the outputs."""
        Pipe.count += 1
        source, target = f"in{Pipe.count}", f"out{Pipe.count}"
        self.weir("topic", "create", source, target, "dead" + target)
        if lines:
            self.weir("produce", source, "-k", "~", data="".join(f"{line}\n" for line in lines).encode())
        return source, target

    def script(self, text):
        handle = tempfile.NamedTemporaryFile("w", suffix=".py", delete=False)
        self.addCleanup(os.unlink, handle.name)
        with handle:
            handle.write(textwrap.dedent(text))
        return ["python3", "-u", handle.name]

    def arguments(self, source, target, *more):
        return ["pipe", "--from", source, "--to", target, "--group", "g", *more]

    def pipe(self, source, target, *more, code=0, command=()):
        """Runs to the end; the summary as a dictionary, and what was said on standard error."""
        done = subprocess.run(self.command("-o", "json", *self.arguments(source, target, "--until-end", *more),
                                           *(["--", *command] if command else [])),
                              capture_output=True, timeout=PATIENCE_S, env=self.environment(), text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout) if done.stdout else None, done.stderr

    def values(self, topic, form="%s\\n"):
        return self.weir("consume", topic, "--until-end", "--format", form).decode().splitlines()

    def test_outputs_keep_key_and_headers(self):
        source, target = self.topics()
        self.weir("produce", source, "-k", "~", "-H", "color=red", data=b"k~v\n")
        summary, _ = self.pipe(source, target, command=["sed", "-u", "s/v/w/"])
        self.assertEqual((summary["read"], summary["written"], summary["failures"]), (1, 1, 0))
        self.assertEqual(self.values(target, "%k %s %h\\n"), ["k w color=red"])

    def test_an_empty_line_is_no_output_and_the_next_run_goes_on(self):
        source, target = self.topics("a", "b", "c")
        summary, _ = self.pipe(source, target, command=["sed", "-u", "s/b//"])
        self.assertEqual((summary["written"], summary["dropped"]), (2, 1))
        self.weir("produce", source, data=b"d\n")
        summary, _ = self.pipe(source, target, command=["sed", "-u", "s/b//"])
        self.assertEqual((summary["read"], summary["written"]), (1, 1))
        self.assertEqual(self.values(target), ["a", "c", "d"])

    def test_json_envelopes_fan_out_and_change_keys(self):
        source, target = self.topics('k~{"a": [1, 2]}', "x~[]", "y~not json")
        command = self.script("""
            import json, sys
            for line in sys.stdin:
                record = json.loads(line)
                print(json.dumps([{"key": record["key"] + str(n), "value": n} for n in record["value"]["a"]]
                                 if record["value"] else []))
            """)
        summary, _ = self.pipe(source, target, "--format", "json", "--envelope", "-d", "dead" + target,
                               command=command)
        self.assertEqual(self.values(target, "%k %s\\n"), ["k1 1", "k2 2"])
        self.assertEqual((summary["dropped"], summary["rejected"], summary["failures"]), (1, 1, 0))
        self.assertIn("weir.reason=the value is not JSON", self.values("dead" + target, "%h\\n")[0])

    def test_poison_is_retried_alone_and_set_aside(self):
        source, target = self.topics(*(f"{n}" if n != 40 else "poison" for n in range(100)))
        for more in ((), ("--batch", "30")):
            self.weir("group", "reset", "g", "-t", source, "--to", "beginning", "--execute") if more else None
            name = target + str(len(more))
            self.weir("topic", "create", name, "dead" + name)
            summary, said = self.pipe(source, name, "-d", "dead" + name, "--retries", "2",
                                      "--retry-pause", "1ms", *more,
                                      command=["sed", "-u", "/poison/{w /dev/stderr\nQ7\n}"])
            self.assertEqual((summary["written"], summary["rejected"]), (99, 1))
            self.assertEqual(said.count("poison"), summary["failures"])
            self.assertEqual(sorted(map(int, self.values(name))), [n for n in range(100) if n != 40])
            self.assertEqual(self.values("dead" + name, "%s %h\\n"),
                             ["poison weir.reason=the command ended with exit code 7: poison,"
                              f"weir.topic={source},weir.partition=0,weir.offset=40,weir.attempts=3,"
                              "weir.group=g"])

    def test_a_slow_record_is_timed_out(self):
        source, target = self.topics("a", "slow", "b")
        # The others have five seconds, twice, also on a machine that is busy.
        summary, _ = self.pipe(source, target, "-d", "dead" + target, "--retries", "1", "--timeout", "5s",
                               command=["sh", "-c", "while read -r line; do [ $line != slow ] || sleep 100; "
                                        "echo $line; done"])
        self.assertEqual(summary["rejected"], 1)
        self.assertGreaterEqual(summary["timeouts"], 2)
        self.assertEqual(self.values(target), ["a", "b"])
        self.assertIn("gave no answer for 5000 ms", self.values("dead" + target, "%h\\n")[0])

    def test_fields_are_checked_and_named(self):
        source, target = self.topics('{"id": 1}', '{"id": "x"}', "{}")
        summary, _ = self.pipe(source, target, "--format", "json", "--check", "id:integer", "-d", "dead" + target)
        self.assertEqual((summary["written"], summary["rejected"], summary["processes"]), (1, 2, 0))
        headers = self.values("dead" + target, "%h\\n")
        self.assertIn("weir.reason=field 'id' is string, not integer,weir.field=id", headers[0])
        self.assertIn("weir.reason=field 'id' is missing", headers[1])
        self.assertIn("weir.attempts=0", headers[1])

    def test_without_dead_letters_it_stops_at_the_record(self):
        source, target = self.topics("a", "bad", "b")
        _, said = self.pipe(source, target, "--retries", "0", code=1, command=["sed", "-u", "/bad/Q3"])
        self.assertIn(f"{source} partition 0 offset 1: the command ended with exit code 3; --dead-letter", said)
        self.assertEqual(self.values(target), ["a"])
        summary, _ = self.pipe(source, target, command=["cat"])
        self.assertEqual(summary["read"], 2, "it begins at the record that stopped it")

    def test_a_broken_command_does_not_set_everything_aside(self):
        source, target = self.topics(*range(50))
        summary, said = self.pipe(source, target, "-d", "dead" + target, "--retries", "0", "--give-up", "5",
                                  "--retry-pause", "1ms", code=1, command=["false"])
        self.assertIn("the command has failed for 5 records in a row", said)
        self.assertEqual(summary["rejected"], 5)

    def test_more_lines_than_records_stop_it(self):
        source, target = self.topics("a")
        _, said = self.pipe(source, target, code=1, command=["sed", "-u", "p"])
        self.assertIn("more than one line per record", said)

    def test_commands_that_cannot_run_and_lines_that_make_no_sense(self):
        source, target = self.topics("a")
        _, said = self.pipe(source, target, code=2, command=["/nowhere/x"])
        self.assertIn("cannot run '/nowhere/x': No such file", said)
        for says, more in (("cannot write to the topic it reads", ("--to", source)),
                           ("cannot write to the topic it reads", ("--dead-letter", source)),
                           ("give another topic than --to", ("--dead-letter", target)),
                           ("goes with --format lines", ("--format", "json", "-k", ":")),
                           ("goes with --format json or msgpack", ("--envelope",)),
                           ("there is no type 'int'", ("--format", "json", "--check", "a:int")),
                           ("needs a COMMAND", ("--batch", "5"))):
            self.refused(2, *self.arguments(source, target, *more), says=says)
        self.refused(2, "pipe", "--from", "a", says="something is missing")
        self.refused(2, *self.arguments(source, ""), says="something is missing")
        self.refused(3, *self.arguments("nosuch", target), says="nosuch: there is no such topic")
        self.refused(3, *self.arguments(source, "nosuch"), says="nosuch: there is no such topic")
        self.refused(3, *self.arguments(source, target, "-d", "nosuch"), says="nosuch: there is no such topic")
        self.refused(4, "-b", "127.0.0.1:1", *self.arguments(source, target))

    def test_outputs_too_large_for_the_topic_are_set_aside(self):
        source, target = self.topics("small", "x" * 5000)
        self.weir("topic", "alter", target, "--set", "max.message.bytes=2000")
        summary, _ = self.pipe(source, target, "-d", "dead" + target, command=["cat"])
        self.assertEqual((self.values(target), summary["rejected"]), (["small"], 1))
        self.assertIn("weir.reason=an output was refused", self.values("dead" + target, "%h\\n")[0])

    def test_a_record_with_several_outputs_too_large_is_set_aside_once(self):
        source, target = self.topics('{"n": 1}', '{"n": 3000}', '{"n": 2}')
        self.weir("topic", "alter", target, "--set", "max.message.bytes=2000")
        command = self.script("""
            import json, sys
            for line in sys.stdin:
                record = json.loads(line)
                n = record["value"]["n"]
                print(json.dumps([{"value": letter * n} for letter in "abc"]))
            """)
        summary, _ = self.pipe(source, target, "-d", "dead" + target, "--format", "json", "--envelope",
                               command=command)
        self.assertEqual(self.values(target), ['"a"', '"b"', '"c"', '"aa"', '"bb"', '"cc"'])
        self.assertEqual(summary["rejected"], 1)
        (header,) = self.values("dead" + target, "%h\n")
        self.assertIn("weir.reason=an output was refused", header)

    def test_commands_that_do_not_read_or_do_not_stop_writing(self):
        source, target = self.topics(*("x" * 100000 for _ in range(20)))
        endless = "while :; do echo " + "y" * 100 + "; done"
        for says, more, command in (
                ("gave no answer for 300 ms", ("--timeout", "300ms"), "sleep 100"),
                ("gave no answer for 300 ms", ("--timeout", "300ms"), "exec <&-; sleep 100"),
                ("gave no answer for 300 ms", ("--timeout", "300ms"), "exec >&-; sleep 100"),
                ("gave no answer for 300 ms", ("--timeout", "300ms", "--batch", "5"), endless),
                ("an answer beyond --max-bytes", (), "head -c 3000000 /dev/zero; sleep 100"),
                ("an answer that is no map", ("--format", "msgpack", "--envelope"), "echo")):
            if "msgpack" in more:
                self.weir("produce", source, "--format", "msgpack", data=b"\x81\xa5value\xc4\x01\x07")
                self.weir("group", "reset", "g", "-t", source, "--to", "20", "--execute")
            _, said = self.pipe(source, target, "--retries", "0", *more, code=1,
                                command=["sh", "-c", command])
            self.assertIn(says, said)
            silent = "no answer" in says and "--batch" not in more
            self.assertEqual(said.count("needs --batch"), silent, said)
            self.assertEqual(said.count("\n"), 1 + silent, said)
        self.assertEqual(self.values(target), [])

    def test_records_beyond_max_bytes_still_reach_the_dead_letters(self):
        source, target = self.topics("k~" + "x" * 200000)
        summary, _ = self.pipe(source, target, "-d", "dead" + target, "--max-bytes", "1000", "--retries", "0",
                               command=["cat"])
        self.assertEqual((summary["written"], summary["rejected"]), (0, 1))
        self.assertEqual(self.values("dead" + target, "%k %S\n"), ["k 200000"])

    def test_dead_letters_go_back_as_ordinary_records(self):
        source, target = self.topics("k~bad")
        self.pipe(source, target, "-d", "dead" + target, "--retries", "0", command=["sed", "-u", "/bad/Q1"])
        self.pipe("dead" + target, source)
        self.assertEqual(self.values(source, "%k %s %h\\n"), ["k bad ", "k bad "])

    def test_ctrl_c_finishes_what_is_under_way(self):
        source, target = self.topics(*range(1000))
        process = subprocess.Popen(self.command(*self.arguments(source, target), "--", *self.script("""
            import sys, time
            for line in sys.stdin:
                time.sleep(0.02)
                print(line, end="")
            """)), env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(self.values(target)) < 100:
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, said), (0, b""))
        self.assertIn(b"rejected 0; the command failed 0 times", out)
        before = len(self.values(target))
        self.assertLess(before, 1000)
        self.pipe(source, target, command=["cat"])
        self.assertEqual(self.values(target), [str(n) for n in range(1000)], "nothing twice, in order")

    def test_it_waits_for_a_broker_that_is_away(self):
        source, target = self.topics("a")
        process = subprocess.Popen(self.command(*self.arguments(source, target), "--", "cat"),
                                   env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not self.values(target):
            self.assertIsNone(process.poll())
        self.broker.kill()
        time.sleep(0.5)
        self.broker.start()
        self.weir("produce", source, data=b"b\n")
        while self.values(target) != ["a", "b"]:
            self.assertIsNone(process.poll(), process.stderr)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, said), (0, b""))


if __name__ == "__main__":
    script.main()
