# SPDX-License-Identifier: Apache-2.0
"""Topics, producing, consuming: what goes in comes out, and what cannot be done says so."""
import csv
import io
import json
import os
import socket
import subprocess
import tempfile
import time
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S


class Topics(CommandTest):
    def test_create_list_describe_delete(self):
        self.weir("topic", "create", "life", "-p", "3", "--set", "retention.ms=3600000")
        listed = self.weir("topic", "list").decode().splitlines()
        self.assertEqual(listed[0].split(), ["TOPIC", "PARTITIONS", "REPLICAS"])
        self.assertIn(["life", "3", "1"], [line.split() for line in listed])
        described = self.weir("topic", "describe", "life").decode()
        self.assertIn("retention.ms", described)
        self.assertIn("3600000", described)
        self.weir("topic", "delete", "life")
        names = [topic["topic"] for topic in json.loads(self.weir("topic", "list", "-o", "json"))]
        self.assertNotIn("life", names)
        self.refused(3, "topic", "describe", "life", says="life")

    def test_json_lists(self):
        self.weir("topic", "create", "shape", "-p", "2")
        self.weir("produce", "shape", "-p", "1", data=b"a\nb\n")
        topics = json.loads(self.weir("topic", "list", "-o", "json"))
        shape = next(topic for topic in topics if topic["topic"] == "shape")
        self.assertEqual(shape["partitions"], 2)
        self.assertEqual(shape["internal"], False)
        (described,) = json.loads(self.weir("-o", "json", "topic", "describe", "shape"))
        records = {row["partition"]: (row["first"], row["next"], row["records"])
                   for row in described["partitions"]}
        self.assertEqual(records, {0: (0, 0, 0), 1: (0, 2, 2)})

    def test_internal_topics_are_shown_on_request_only(self):
        plain = {topic["topic"] for topic in json.loads(self.weir("topic", "list", "-o", "json"))}
        every = {topic["topic"]: topic["internal"]
                 for topic in json.loads(self.weir("topic", "list", "-a", "-o", "json"))}
        self.assertLessEqual(plain, set(every))
        self.assertFalse(any(every[name] for name in plain))

    def test_alter(self):
        self.weir("topic", "create", "change")
        self.weir("topic", "alter", "change", "-p", "4", "--set", "retention.ms=1000000")
        (topic,) = json.loads(self.weir("topic", "describe", "change", "-o", "json"))
        self.assertEqual(len(topic["partitions"]), 4)
        self.assertEqual([setting["value"] for setting in topic["settings"]
                          if setting["name"] == "retention.ms"], ["1000000"])
        self.weir("topic", "alter", "change", "--unset", "retention.ms")
        (topic,) = json.loads(self.weir("topic", "describe", "change", "-o", "json"))
        self.assertEqual([setting for setting in topic["settings"]
                          if setting["name"] == "retention.ms"], [])
        self.refused(1, "topic", "alter", "change", "-p", "2")
        self.refused(1, "topic", "alter", "change", "-p", "4", "--set", "retention.ms=7", says="nothing was changed")
        (topic,) = json.loads(self.weir("topic", "describe", "change", "-o", "json"))
        self.assertNotIn("retention.ms", [setting["name"] for setting in topic["settings"]])
        self.refused(3, "topic", "alter", "nothing", "-p", "4", "--set", "retention.ms=7", says="topic list")
        self.refused(1, "topic", "alter", "change", "--set", "no.such.setting=1")
        self.refused(2, "topic", "alter", "change", says="nothing to change")

    def test_existing_and_missing_topics(self):
        self.weir("topic", "create", "twice")
        self.refused(1, "topic", "create", "twice", says="--if-not-exists")
        self.weir("topic", "create", "twice", "--if-not-exists")
        self.refused(3, "topic", "delete", "never-was", says="never-was")
        self.weir("topic", "delete", "never-was", "--if-exists")
        self.refused(1, "topic", "create", "a b")
        self.weir("topic", "create", "only-asked", "--validate")
        self.refused(3, "topic", "describe", "only-asked")

    def test_very_many_at_once(self):
        names = [f"crowd-{i}" for i in range(120)]
        self.weir("topic", "create", *names, "-p", "2")
        there = {topic["topic"]: topic["partitions"] for topic in json.loads(self.weir("topic", "list", "-o", "json"))}
        self.assertEqual([there.get(name) for name in names], [2] * len(names))
        self.weir("topic", "delete", *names[:119], "never-was", "--if-exists")
        left = self.weir("topic", "list").decode().split()
        self.assertEqual([name for name in names if name in left], names[119:])
        self.refused(1, "topic", "create", "same", "other", "same", says="there twice")

    def test_one_failure_does_not_stop_the_others(self):
        self.refused(1, "topic", "create", "first-of-two", "bad name", "second-of-two")
        self.weir("topic", "describe", "first-of-two", "second-of-two")


class Records(CommandTest):
    def test_lines_come_back_as_they_were(self):
        lines = b"first\n\n  spaces  \ttabs\r\nzero \x00 and \xff\xfe\nlast without newline"
        self.weir("produce", "lines", data=lines)
        self.assertEqual(self.weir("consume", "lines", "--until-end"), lines + b"\n")
        self.assertEqual(self.weir("consume", "lines", "-e", "--format", "raw"),
                         lines.replace(b"\n", b""))

    def test_many_lines_in_every_codec(self):
        lines = b"".join(b"line number %d\n" % i for i in range(50000))
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec=codec):
                self.weir("produce", f"codec-{codec}", "-z", codec, data=lines)
                self.assertEqual(self.weir("consume", f"codec-{codec}", "-e"), lines)

    def test_file(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"from\na file")
            file.flush()
            self.weir("produce", "file", "--file", file.name)
        self.assertEqual(self.weir("consume", "file", "-e"), b"from\na file\n")
        self.refused(1, "produce", "file", "--file", "/no/such/file", says="/no/such/file")

    def test_nothing_in_nothing_out(self):
        self.weir("topic", "create", "nothing")
        self.weir("produce", "nothing", data=b"")
        self.assertEqual(self.weir("consume", "nothing", "-e"), b"")
        self.assertEqual(self.weir("tail", "nothing", "-e"), b"")

    def test_keys_headers_and_format(self):
        before = int(time.time() * 1000)
        self.weir("produce", "rich", "-k", "::", "-H", "origin=shell", "-H", "note=a=b",
                  data=b"alpha::one::more\nno delimiter\n::empty key\n")
        after = int(time.time() * 1000)
        printed = self.weir("consume", "rich", "-e", "--format", r"%t/%p/%o %K[%k] %S[%s] %h\n")
        self.assertEqual(printed.decode().splitlines(), [
            "rich/0/0 5[alpha] 9[one::more] origin=shell,note=a=b",
            "rich/0/1 -1[] 12[no delimiter] origin=shell,note=a=b",
            "rich/0/2 0[] 9[empty key] origin=shell,note=a=b"])
        times = self.weir("consume", "rich", "-e", "--format", r"%T\n").split()
        self.assertTrue(all(before <= int(time_ms) <= after for time_ms in times), times)

    def test_json(self):
        self.weir("produce", "json", "-k", "=", "-H", "h=v", data=b"k=v\n\xff\xfe\n")
        lines = self.weir("consume", "json", "-e", "-o", "json").decode().splitlines()
        first, second = (json.loads(line) for line in lines)
        self.assertEqual((first["topic"], first["partition"], first["offset"]), ("json", 0, 0))
        self.assertEqual((first["key"], first["value"]), ("k", "v"))
        self.assertEqual(first["headers"], [{"name": "h", "value": "v"}])
        self.assertIsNone(second["key"])
        self.assertEqual(second["value_base64"], "//4=")
        same = self.weir("consume", "json", "-e", "--format", "json")
        self.assertEqual(same.decode().splitlines(), lines)

    def test_csv(self):
        self.weir("produce", "csv", "-k", "=", "-H", "h=v",
                  data=b'k={"n": 1, "t": "a,b"}\n\xff=plain "text"\nnone\n')
        rows = list(csv.reader(io.StringIO(
            self.weir("consume", "csv", "-e", "-F", "csv").decode("latin-1"))))
        self.assertEqual(rows[0], ["topic", "partition", "offset", "timestamp", "key", "value", "headers"])
        self.assertEqual([row[4:6] for row in rows[1:]],
                         [["k", '{"n": 1, "t": "a,b"}'], ["\xff", 'plain "text"'], ["", "none"]])
        self.assertEqual(json.loads(rows[1][6]), [{"name": "h", "value": "v"}])
        self.assertEqual(self.weir("consume", "csv", "-e", "-F", "csv:key,value.t,header.h,offset"),
                         b'key,value.t,header.h,offset\nk,"a,b",v,0\n\xff,,v,1\n,,v,2\n')
        self.refused(2, "consume", "csv", "-e", "-F", "csv:key,no", says="'no' is no field")

    def test_where(self):
        self.weir("produce", "where", "-k", "=", data=b"".join(
            b'user-%d={"n": %d, "kind": "%s"}\n' % (i, i, b"odd" if i % 2 else b"even") for i in range(20)))

        def kept(expression, *more):
            lines = self.weir("consume", "where", "-e", "-w", expression, "-F", r"%{value.n}\n", *more)
            return [int(line) for line in lines.split()]

        self.assertEqual(kept("value.n >= 17"), [17, 18, 19])
        self.assertEqual(kept("value.kind == 'odd' and value.n < 6 or key == 'user-18'"), [1, 3, 5, 18])
        self.assertEqual(kept(r"key ~ '-1\d$' and not value.kind == 'odd'"), [10, 12, 14, 16, 18])
        self.assertEqual(kept("value.kind == 'odd'", "-n", "2"), [1, 3])
        self.assertEqual(kept("value.missing"), [])
        self.refused(2, "consume", "where", "-e", "-w", "size > 1", says="'size' is no field")
        self.refused(2, "consume", "where", "-e", "-w", "value.n >", says="--where")
        self.weir("produce", "where", data=b"a" * 50 + b"\n")
        self.refused(1, "consume", "where", "-e", "-w", "value ~ '^(a|aa)+[cd]'",
                     says="too many steps on where partition 0 offset 20")

    def test_tombstones(self):
        self.weir("produce", "tombs", "-k", ":", "-Z", data=b"gone:\nkept:x\n")
        self.assertEqual(self.weir("consume", "tombs", "-e", "--format", r"%k %S\n"),
                         b"gone -1\nkept 1\n")

    def test_places_to_start_from(self):
        self.weir("produce", "places", data=b"".join(b"%d\n" % i for i in range(10)))
        time.sleep(0.05)
        between = int(time.time() * 1000)
        time.sleep(0.05)
        self.weir("produce", "places", data=b"".join(b"%d\n" % i for i in range(10, 20)))

        def read(place, *more):
            printed = self.weir("consume", "places", "--from", place, "-e", *more)
            return [int(line) for line in printed.split()]

        self.assertEqual(read("beginning"), list(range(20)))
        self.assertEqual(read("end"), [])
        self.assertEqual(read("15"), list(range(15, 20)))
        self.assertEqual(read("20"), [])
        self.assertEqual(read("-3"), [17, 18, 19])
        self.assertEqual(read("-100"), list(range(20)))
        self.assertEqual(read(f"@{between}"), list(range(10, 20)))
        self.assertEqual(read("@2001-01-01"), list(range(20)))
        self.assertEqual(read("@-1h"), list(range(20)))
        self.assertEqual(read(f"@{between + 3600000}"), [])
        self.assertEqual(read("5", "-n", "2"), [5, 6])
        self.refused(3, "consume", "places", "--from", "21", "-e", says="0 to 20")
        self.refused(2, "consume", "places", "--from", "somewhere", says="beginning, end")

    def test_partitions(self):
        self.weir("topic", "create", "parts", "-p", "3")
        for partition in range(3):
            self.weir("produce", "parts", "-p", str(partition), data=b"in %d\n" % partition)
        self.assertEqual(self.weir("consume", "parts", "-p", "2", "-e"), b"in 2\n")
        self.assertEqual(sorted(self.weir("consume", "parts", "-e").splitlines()),
                         [b"in 0", b"in 1", b"in 2"])
        self.refused(3, "consume", "parts", "-p", "3", "-e", says="0 to 2")
        self.refused(3, "produce", "parts", "-p", "7", data=b"x\n")

    def test_keys_decide_the_partition(self):
        self.weir("topic", "create", "keyed", "-p", "5")
        data = b"".join(b"key%d:%d\n" % (i % 20, i) for i in range(200))
        self.weir("produce", "keyed", "-k", ":", data=data)
        places = {}
        printed = self.weir("consume", "keyed", "-e", "--format", r"%k %p %s\n")
        for line in printed.splitlines():
            key, partition, value = line.split()
            places.setdefault(key, []).append((partition, int(value)))
        self.assertEqual(len(places), 20)
        for key, seen in places.items():
            self.assertEqual(len({partition for partition, _ in seen}), 1, key)
            self.assertEqual([value for _, value in seen], sorted(value for _, value in seen))
        self.assertGreater(len({seen[0][0] for seen in places.values()}), 1)

    def test_long_lines(self):
        big = b"x" * 900_000
        self.weir("produce", "long", data=b"short\n" + big + b"\nend\n")
        self.assertEqual(self.weir("consume", "long", "-e"), b"short\n" + big + b"\nend\n")
        said = self.refused(1, "produce", "long", "--max-bytes", "10",
                            data=b"ok\n" + b"y" * 11 + b"\nfine\n", says="1 of 3")
        self.assertIn("line 2", said)
        self.assertEqual(self.weir("consume", "long", "--from", "3", "-e"), b"ok\nfine\n")

    def test_what_the_broker_refuses_is_told(self):
        self.weir("topic", "create", "small", "--set", "max.message.bytes=1000")
        self.refused(1, "produce", "small", data=b"z" * 5000 + b"\n", says="1 of 1")

    def test_tail(self):
        self.weir("topic", "create", "tailed", "-p", "3")
        for i in range(30):
            self.weir("produce", "tailed", "-p", str(i % 3), data=b"%d\n" % i)
            time.sleep(0.003)
        self.assertEqual(self.weir("tail", "tailed", "-e").split(),
                         [b"%d" % i for i in range(20, 30)])
        self.assertEqual(self.weir("tail", "tailed", "-e", "-n", "4", "-p", "1").split(),
                         [b"19", b"22", b"25", b"28"])
        self.assertEqual(self.weir("tail", "tailed", "-e", "-n", "0"), b"")
        self.assertEqual(self.weir("tail", "tailed", "-e", "-w", "value >= 25 and partition != 1",
                                   "-F", "%p-%s "), b"2-26 0-27 2-29 ")
        self.assertEqual(self.weir("tail", "tailed", "-e", "-n", "2", "-F", "csv:value"), b"value\n28\n29\n")
        self.refused(2, "tail", "tailed", "-w", "value >", says="--where")
        self.refused(2, "tail", "tailed", "-F", "%q", says="--format")

    def test_acks(self):
        for acks in ("all", "1", "0"):
            self.weir("produce", f"acks-{acks}", "--acks", acks, data=b"x\ny\n")
            deadline = time.monotonic() + PATIENCE_S
            while self.weir("consume", f"acks-{acks}", "-e") != b"x\ny\n":
                self.assertLess(time.monotonic(), deadline)


class Refusals(CommandTest):
    settings = ("auto.create.topics.enable=false",)

    def test_usage(self):
        for arguments in (["frob"], ["topic", "frob"], ["topic", "create"], ["topic", "list", "x"],
                          ["produce"], ["consume", "a", "b"], ["consume", "a", "--nonsense"],
                          ["consume", "a", "-n"], ["consume", "a", "--part", "0"], ["topic", "creat"], ["consume", "a", "-n", "x"],
                          ["consume", "a", "--format", "%q"], ["produce", "a", "-z", "rar"],
                          ["produce", "a", "-H", "nothing"], ["produce", "a", "-p", "-1"],
                          ["produce", "a", "-X", "no.such.setting=1"],
                          ["-o", "xml", "topic", "list"], ["--timeout", "5", "topic", "list"],
                          ["-b", "localhost:port", "topic", "list"]):
            with self.subTest(arguments=arguments):
                self.refused(2, *arguments)
        for arguments in ([], ["topic"]):
            done = subprocess.run(self.command(*arguments), capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"Commands:", done.stderr)
            self.assertEqual(done.stdout, b"")

    def test_help_and_version(self):
        overview = self.weir("--help").decode()
        self.assertIn("Exit codes:", overview)
        commands = [line[7:].split("  ")[0] for line in overview.splitlines()
                    if line.startswith("  weir ")]
        self.assertGreaterEqual(len(commands), 11)
        for command in commands:
            text = self.weir(*command.split(), "--help").decode()
            self.assertTrue(text.startswith(f"Usage: weir {command}"), text)
            self.assertIn("Examples:", text)
            self.assertTrue(all(len(line) <= 100 for line in text.splitlines()), command)
        self.assertRegex(self.weir("--version"), rb"^weir \d+\.\d+\.\d+\n$")

    def test_unknown_topics(self):
        self.refused(3, "consume", "unknown", "-e", says="unknown")
        self.refused(3, "tail", "unknown", says="unknown")
        self.refused(3, "topic", "describe", "unknown", says="unknown")
        self.refused(3, "topic", "alter", "unknown", "--set", "retention.ms=1", says="unknown")
        self.refused(3, "produce", "unknown", "-X", "topic.metadata.propagation.max.ms=300",
                     data=b"x\n", says="unknown")

    def test_unreachable_brokers(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % nobody.getsockname()[1]
            for command in (["topic", "list"], ["produce", "x"], ["consume", "x"],
                            ["bench", "produce", "-n", "1"]):
                with self.subTest(command=command):
                    self.refused(4, "-b", address, "--timeout", "500ms", *command,
                                 says="is the broker running there?")
        self.refused(4, "-b", "no-such-host.invalid", "--timeout", "500ms", "topic", "list")

    def test_a_broker_that_never_answers(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            self.refused(4, "-b", address, "--timeout", "300ms", "topic", "list")

    def test_the_address_comes_from_option_before_environment(self):
        done = subprocess.run(self.command("-b", self.broker.address, "topic", "list"),
                              capture_output=True, timeout=60,
                              env={**os.environ, "WEIR_BROKERS": "127.0.0.1:1"})
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    script.main()
