# SPDX-License-Identifier: Apache-2.0
"""kcat, unmodified: what a person at a shell does."""
import json
import os
import subprocess
import tempfile
import time
import unittest

from harness import script
from harness.broker import PATIENCE_S, Broker


class Kcat(unittest.TestCase):
    shards = 1

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(shards=cls.shards, settings=["num.partitions=3"]).start()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def kcat(self, *arguments, data=b""):
        done = subprocess.run(["kcat", "-b", self.broker.address, *arguments], input=data,
                              capture_output=True, timeout=PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done

    def consume(self, topic, *arguments):
        return self.kcat("-C", "-t", topic, "-e", "-q", *arguments).stdout

    def test_lines_come_back_in_order(self):
        lines = b"".join(b"line %d\n" % i for i in range(20000))
        self.kcat("-P", "-t", "lines", "-p", "1", data=lines)
        self.assertEqual(self.consume("lines", "-p", "1", "-o", "beginning"), lines)

    def test_every_codec(self):
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec=codec):
                lines = b"".join(b"%s record number %d\n" % (codec.encode(), i) for i in range(3000))
                done = self.kcat("-P", "-t", f"codec-{codec}", "-p", "0", "-z", codec, data=lines)
                self.assertNotIn(b"not compress", done.stderr)
                self.assertEqual(self.consume(f"codec-{codec}", "-p", "0"), lines)

    def test_compressed_topics_are_smaller_on_disk(self):
        lines = b"the same sentence again and again and again\n" * 20000
        self.kcat("-P", "-t", "small", "-p", "0", "-z", "zstd", data=lines)
        path = os.path.join(self.broker.directory, "topics", "small")
        used = sum(os.stat(os.path.join(folder, name)).st_blocks * 512
                   for folder, _, names in os.walk(path) for name in names)
        self.assertGreater(used, 0)
        self.assertEqual(self.consume("small", "-p", "0"), lines)
        self.assertLess(used, 2 * len(lines))

    def test_keys_headers_and_timestamps(self):
        before = int(time.time() * 1000)
        self.kcat("-P", "-t", "rich", "-p", "2", "-K", ":", "-H", "origin=shell", "-H", "empty=",
                  data=b"alpha:one\nbeta:two\n")
        after = int(time.time() * 1000)
        rows = [json.loads(line) for line in self.consume("rich", "-p", "2", "-J").splitlines()]
        self.assertEqual([(row["key"], row["payload"], row["offset"]) for row in rows],
                         [("alpha", "one", 0), ("beta", "two", 1)])
        for row in rows:
            self.assertEqual(row["headers"], ["origin", "shell", "empty", ""])
            self.assertEqual(row["tstype"], "create")
            self.assertTrue(before <= row["ts"] <= after, row)

    def test_null_values(self):
        self.kcat("-P", "-t", "nulls", "-p", "0", "-K", ":", "-Z", data=b"gone:\nkept:x\n")
        rows = [json.loads(line) for line in self.consume("nulls", "-p", "0", "-J").splitlines()]
        self.assertEqual([(row["key"], row["payload"]) for row in rows], [("gone", None), ("kept", "x")])

    def test_offsets_from_both_ends(self):
        self.kcat("-P", "-t", "ends", "-p", "0", data=b"".join(b"%d\n" % i for i in range(1000)))
        self.assertEqual(self.consume("ends", "-p", "0", "-o", "990"),
                         b"".join(b"%d\n" % i for i in range(990, 1000)))
        self.assertEqual(self.consume("ends", "-p", "0", "-o", "-3"), b"997\n998\n999\n")
        self.assertEqual(self.consume("ends", "-p", "0", "-o", "end"), b"")

    def test_offsets_by_time(self):
        self.kcat("-P", "-t", "times", "-p", "0", data=b"early\n")
        time.sleep(0.02)  # record timestamps count milliseconds; the two must differ
        middle = int(time.time() * 1000)
        time.sleep(0.02)
        self.kcat("-P", "-t", "times", "-p", "0", data=b"late\n")
        self.assertEqual(self.consume("times", "-p", "0", "-o", f"s@{middle}"), b"late\n")

    def test_large_messages(self):
        with tempfile.NamedTemporaryFile() as file:
            payload = os.urandom(950000).replace(b"\n", b"n")
            file.write(payload)
            file.flush()
            self.kcat("-P", "-t", "large", "-p", "0", file.name)
            self.assertEqual(self.consume("large", "-p", "0", "-D", ""), payload)

    def test_metadata(self):
        self.kcat("-P", "-t", "listed", data=b"x\n")
        listing = json.loads(self.kcat("-L", "-J").stdout)
        self.assertEqual(len(listing["brokers"]), 1)
        self.assertEqual(listing["brokers"][0]["name"], self.broker.address)
        topics = {topic["topic"]: topic for topic in listing["topics"]}
        self.assertEqual(len(topics["listed"]["partitions"]), 3)

    def test_unknown_partition_is_named(self):
        self.kcat("-P", "-t", "three", data=b"x\n")
        done = subprocess.run(["kcat", "-b", self.broker.address, "-P", "-t", "three", "-p", "77"],
                              input=b"x\n", capture_output=True, timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"artition", done.stderr)


class KcatTwoShards(Kcat):
    shards = 2


if __name__ == "__main__":
    script.main()
