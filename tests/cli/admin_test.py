# SPDX-License-Identifier: Apache-2.0
"""Settings, places in logs and the cluster, as a person looks after them."""
import json
import time
import unittest

from command import CommandTest
from harness import script


class Settings(CommandTest):
    def test_get_set_unset(self):
        self.weir("topic", "create", "tuned")
        self.weir("config", "set", "topic", "tuned", "retention.ms=3600000", "segment.ms=60000")
        lines = [line.split() for line in self.weir("config", "get", "topic", "tuned").decode().splitlines()]
        self.assertEqual(lines[0], ["SETTING", "VALUE", "FROM"])
        self.assertEqual({line[0]: line[1] for line in lines[1:]},
                         {"retention.ms": "3600000", "segment.ms": "60000"})
        (one,) = json.loads(self.weir("config", "get", "topic", "tuned", "retention.ms", "-o", "json"))
        self.assertEqual((one["name"], one["value"], one["default"]), ("retention.ms", "3600000", False))
        self.weir("config", "unset", "topic", "tuned", "retention.ms", "segment.ms")
        self.assertEqual(json.loads(self.weir("config", "get", "topic", "tuned", "-o", "json")), [])
        every = json.loads(self.weir("config", "get", "topic", "tuned", "--all", "-o", "json"))
        self.assertIn("cleanup.policy", {setting["name"] for setting in every})

    def policy(self, topic):
        (setting,) = json.loads(self.weir("config", "get", "topic", topic, "cleanup.policy", "-o", "json"))
        return setting["value"]

    def test_append_and_subtract(self):
        self.weir("topic", "create", "listed")
        self.weir("config", "set", "topic", "listed", "retention.ms=5000000", "--append", "cleanup.policy=compact")
        self.assertEqual(self.policy("listed"), "delete,compact")
        self.weir("config", "set", "topic", "listed", "--subtract", "cleanup.policy=delete")
        self.assertEqual(self.policy("listed"), "compact")
        self.weir("topic", "alter", "listed", "--append", "cleanup.policy=delete")
        self.assertEqual(self.policy("listed"), "compact,delete")
        self.weir("topic", "alter", "listed", "--subtract", "cleanup.policy=compact", "--unset", "retention.ms")
        self.assertEqual(self.policy("listed"), "delete")
        self.refused(1, "config", "set", "topic", "listed", "--append", "retention.ms=1", says="not a list")
        self.refused(2, "topic", "alter", "listed", "--append", "compact", says="--append: 'compact' will not do")

    def test_validate(self):
        self.weir("topic", "create", "asked", "-p", "2")
        self.weir("topic", "alter", "asked", "-p", "4", "--set", "retention.ms=5000000", "--validate")
        self.weir("config", "set", "topic", "asked", "retention.ms=5000000", "--validate")
        self.refused(1, "config", "set", "topic", "asked", "retention.ms=often", "--validate", says="retention.ms")
        self.refused(1, "topic", "alter", "asked", "-p", "1", "--validate", says="2 partitions")
        (topic,) = json.loads(self.weir("topic", "describe", "asked", "-o", "json"))
        self.assertEqual((len(topic["partitions"]), topic["settings"]), (2, []))
        self.weir("config", "set", "topic", "asked", "retention.ms=5000000")
        self.weir("config", "unset", "topic", "asked", "retention.ms", "--validate")
        self.assertIn(b"5000000", self.weir("config", "get", "topic", "asked"))

    def test_docs(self):
        self.weir("topic", "create", "explained", "--set", "max.message.bytes=2000000")
        lines = self.weir("config", "get", "topic", "explained", "--docs").decode().splitlines()
        self.assertEqual(lines[0], "max.message.bytes = 2000000  (topic, int)")
        self.assertEqual(lines[1:3], ["    topic: max.message.bytes = 2000000",
                                      "    default: message.max.bytes = 1048588"])
        self.assertGreater(len(lines), 3)
        self.assertTrue(all(line.startswith("    ") and len(line) <= 80 for line in lines[1:]), lines)
        (one,) = json.loads(self.weir("config", "get", "topic", "explained", "cleanup.policy", "-o", "json"))
        self.assertEqual((one["type"], one["synonyms"]),
                         ("list", [{"name": "log.cleanup.policy", "value": "delete", "source": "default"}]))
        self.assertIn("compact", one["documentation"])
        self.assertIn("read only", self.weir("config", "get", "broker", "1", "--all", "--docs").decode())

    def test_a_refused_setting_leaves_the_others_alone(self):
        self.weir("topic", "create", "whole")
        self.refused(1, "config", "set", "topic", "whole", "retention.ms=1000000", "no.such=1")
        self.assertEqual(json.loads(self.weir("config", "get", "topic", "whole", "-o", "json")), [])

    def test_brokers(self):
        self.weir("topic", "create", "led")
        (topic,) = json.loads(self.weir("topic", "describe", "led", "-o", "json"))
        broker = str(topic["partitions"][0]["leader"])
        every = json.loads(self.weir("config", "get", "broker", broker, "--all", "-o", "json"))
        self.assertIn("num.partitions", {setting["name"] for setting in every})

    def test_what_makes_no_sense(self):
        self.weir("topic", "create", "sense")
        self.refused(2, "config", "get", "queue", "x", says="topic NAME or broker ID")
        self.refused(2, "config", "set", "topic", "sense", "retention.ms", says="NAME=VALUE")
        self.refused(2, "config", "set", "topic", "sense", says="missing")
        self.refused(3, "config", "get", "topic", "sense", "no.such", says="no.such")
        self.refused(3, "config", "get", "topic", "never-made")


class Cluster(CommandTest):
    def test_brokers_and_what_they_serve(self):
        lines = self.weir("cluster").decode().splitlines()
        self.assertTrue(lines[0].startswith("cluster "))
        self.assertEqual(lines[1].split(), ["BROKER", "HOST", "PORT", "RACK", "CONTROLLER"])
        self.assertEqual(lines[2].split()[2:], [self.broker.address.split(":")[1], "-", "yes"])
        (broker,) = json.loads(self.weir("cluster", "--apis", "-o", "json"))["brokers"]
        apis = {api["name"]: (api["min"], api["max"]) for api in broker["apis"]}
        self.assertGreaterEqual(apis["Fetch"][1], 11)
        self.assertIn("Produce", self.weir("cluster", "--apis").decode())


class Places(CommandTest):
    settings = ("num.partitions=2",)

    def offsets(self, *arguments):
        rows = json.loads(self.weir("topic", "offsets", *arguments, "-o", "json"))
        return {row["partition"]: row for row in rows}

    def test_offsets(self):
        self.weir("produce", "spread", "-p", "1", data=b"a\nb\n")
        time.sleep(0.05)
        between = f"@{int(time.time() * 1000)}"
        time.sleep(0.05)
        self.weir("produce", "spread", "-p", "1", data=b"c\n")
        rows = self.offsets("spread", "--at", between, "--at", "-1")
        self.assertEqual([rows[1][name] for name in ("first", "next", between, "-1")], [0, 3, 2, 2])
        self.assertEqual([rows[0][name] for name in ("first", "next", between, "-1")], [0, 0, 0, 0])
        self.assertEqual(set(self.offsets("spread:1")), {1})
        table = self.weir("topic", "offsets", "spread:0-1", "--at", "@-1h").decode().splitlines()
        self.assertEqual(table[0].split(), ["TOPIC", "PARTITION", "FIRST", "NEXT", "@-1h"])
        self.assertEqual(len(table), 3)

    def test_the_newest_record(self):
        for timestamp in (2000, 5000, 3000):
            line = json.dumps({"value": str(timestamp), "timestamp": timestamp}) + "\n"
            self.weir("produce", "newest", "-p", "0", "-F", "json", data=line.encode())
        rows = self.offsets("newest", "--at", "newest")
        self.assertEqual([rows[0]["newest"], rows[1]["newest"]], [1, 0])
        self.assertEqual(self.weir("consume", "newest", "--from", "newest", "-n", "1"), b"5000\n")
        self.weir("group", "reset", "newest-first", "-t", "newest:0", "--to", "newest", "--execute")
        self.assertEqual(self.weir("consume", "-g", "newest-first", "newest", "-e"), b"5000\n3000\n")

    def test_choices_that_make_no_sense(self):
        self.weir("topic", "create", "chosen")
        for choice in ("chosen:", "chosen:x", "chosen:1-", "chosen:2-1", "chosen:0,", ":0"):
            self.refused(2, "topic", "offsets", choice, says="TOPIC:0,2,5-7")
        self.refused(3, "topic", "offsets", "chosen:0-2", says="no partition 2")
        self.refused(3, "topic", "offsets", "never-made", says="weir topic list")
        self.refused(2, "topic", "offsets", "chosen", "--at", "noon", says="--at")
        self.refused(3, "topic", "offsets", "chosen", "--at", "7", says="not 7")

    def test_delete_records(self):
        lines = b"".join(b"%d\n" % i for i in range(10))
        self.weir("produce", "shrinks", "-p", "0", data=lines)
        self.weir("produce", "shrinks", "-p", "1", data=lines)
        self.weir("topic", "delete-records", "shrinks:0", "--before", "4")
        self.assertEqual([(row["first"], row["next"]) for row in self.offsets("shrinks").values()],
                         [(4, 10), (0, 10)])
        self.weir("topic", "delete-records", "shrinks", "--before", "-3")
        self.assertEqual(self.weir("consume", "shrinks", "-e", "-p", "1"), b"7\n8\n9\n")
        self.weir("topic", "delete-records", "shrinks", "--before", "end")
        self.assertEqual(self.weir("consume", "shrinks", "-e"), b"")
        self.refused(2, "topic", "delete-records", "shrinks", says="--before")
        self.refused(3, "topic", "delete-records", "shrinks", "--before", "11", says="11")


if __name__ == "__main__":
    script.main()
