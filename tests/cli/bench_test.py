# SPDX-License-Identifier: Apache-2.0
"""weir bench: its counts must be right and its report complete. How fast it is, is no test."""
import json
import subprocess
import unittest

from command import CommandTest
from harness import script


class Bench(CommandTest):
    def bench(self, *arguments):
        return json.loads(self.weir("bench", *arguments, "-o", "json"))

    def topics(self):
        return [topic["topic"] for topic in json.loads(self.weir("topic", "list", "-o", "json"))]

    def check(self, result, messages, size):
        self.assertEqual(result["messages"], messages)
        self.assertEqual(result["failed"], 0)
        self.assertEqual(result["bytes"], messages * size)
        self.assertGreater(result["messages_per_second"], 0)

    def check_latency(self, latency, samples, origin):
        self.assertEqual(latency["samples"], samples)
        self.assertEqual(latency["from"], origin)
        self.assertGreater(latency["p50_us"], 0)
        self.assertLessEqual(latency["p50_us"], latency["p99_us"])
        self.assertLessEqual(latency["p99_us"], latency["p999_us"])
        self.assertLessEqual(latency["p999_us"], latency["max_us"])

    def test_produce(self):
        result = self.bench("produce", "-n", "3000", "-s", "100")["produce"]
        self.check(result, 3000, 100)
        self.check_latency(result["latency"], 3000, "send")
        self.assertEqual(self.topics(), [], "the topic made for the purpose is gone")

    def test_produce_at_a_rate(self):
        result = self.bench("produce", "-n", "500", "--rate", "1000")["produce"]
        self.check(result, 500, 1024)
        self.check_latency(result["latency"], 500, "intended send time")
        # The last message is due 499 ms after the first: no machine is fast enough to be earlier.
        self.assertGreaterEqual(result["seconds"], 0.499)

    def test_a_ramp(self):
        # 100 messages while the rate grows to 200/s within a second, then one each 5 ms.
        result = self.bench("produce", "-n", "120", "--rate", "200", "--ramp", "1s")["produce"]
        self.check(result, 120, 1024)
        self.assertGreaterEqual(result["seconds"], 1.09)
        self.refused(2, "bench", "produce", "--ramp", "1s", says="--rate")

    def test_several_clients(self):
        both = self.bench("produce", "-n", "1001", "-s", "100", "--clients", "3", "--consumers", "2", "--rate", "5000")
        self.check(both["produce"], 1001, 100)
        self.check_latency(both["produce"]["latency"], 1001, "intended send time")
        self.check(both["consume"], 2002, 100)
        self.check_latency(both["consume"]["latency"], 2002, "stamp of the producer")
        self.check(self.bench("consume", "-n", "500", "-s", "100", "--clients", "2")["consume"], 1000, 100)
        for arguments in (["consume", "--consumers", "1"], ["roundtrip", "--clients", "2"]):
            self.refused(2, "bench", *arguments)

    def test_failures_of_several_clients_are_reported_once(self):
        self.weir("topic", "create", "narrow-for-two", "--set", "max.message.bytes=1000")
        self.refused(1, "bench", "produce", "narrow-for-two", "-n", "10", "-s", "5000", "--clients", "2",
                     says="not stored")
        self.weir("topic", "delete", "narrow-for-two")
        self.refused(3, "bench", "consume", "no-such-topic", "--clients", "2", says="no-such-topic")

    def test_keys(self):
        self.weir("topic", "create", "keyed", "-p", "3")
        self.bench("produce", "keyed", "-n", "200", "--keys", "4")
        lines = self.weir("consume", "keyed", "-e", "--format", r"%k %p\n").decode().split("\n")[:-1]
        self.assertEqual(len(lines), 200)
        keys = {line.split()[0] for line in lines}
        self.assertLessEqual(len(keys), 4)
        self.assertEqual(len(set(lines)), len(keys), "a key is in one partition")
        self.weir("topic", "delete", "keyed")

    def test_the_distribution(self):
        latency = self.bench("produce", "-n", "1000", "--percentiles")["produce"]["latency"]
        steps = latency["distribution"]
        self.assertEqual([step["quantile"] for step in steps[:3]], [0, 0.5, 0.75])
        self.assertEqual(steps[-1], {"quantile": 1, "us": latency["max_us"]})
        self.assertEqual(sorted(step["us"] for step in steps), [step["us"] for step in steps])
        self.assertRegex(self.weir("bench", "produce", "-n", "100", "--percentiles").decode(), r"100\.0+ ")

    def test_every_message_is_in_the_topic(self):
        self.weir("topic", "create", "kept", "-p", "4")
        for arguments in (["-i", "1"], ["--acks", "1"], ["-z", "zstd"], ["--linger", "5ms"],
                          ["--batch", "16K"]):
            self.bench("produce", "kept", "-n", "100", "-s", "500", *arguments)
        sizes = self.weir("consume", "kept", "-e", "--format", r"%S\n").split()
        self.assertEqual(sizes, [b"500"] * 500)
        self.weir("topic", "delete", "kept")

    def test_consume(self):
        result = self.bench("consume", "-n", "5000", "-s", "200", "-p", "3")["consume"]
        self.check(result, 5000, 200)
        self.weir("produce", "given", data=b"12345\n" * 1000)
        result = self.bench("consume", "given")["consume"]
        self.check(result, 1000, 5)
        self.assertIsNone(result["latency"], "old records do not tell how long they were under way")
        self.weir("topic", "delete", "given")

    def test_roundtrip(self):
        result = self.bench("roundtrip", "-n", "50", "-s", "64")
        for name in ("acknowledged", "received"):
            self.check(result[name], 50, 64)
            self.check_latency(result[name]["latency"], 50, "send")
        result = self.bench("roundtrip", "-n", "20", "--rate", "200")
        self.check_latency(result["received"]["latency"], 20, "intended send time")

    def test_text(self):
        printed = self.weir("bench", "produce", "-n", "100").decode()
        self.assertRegex(printed,
                         r"produce: 100 messages in [\d.]+ s: [\d,]+ messages/s, [\d.]+ MB/s")
        self.assertRegex(printed, r"latency from the send:  p50 .* p99 .* p99\.9 .* max ")

    def test_failures_are_reported(self):
        self.weir("topic", "create", "narrow", "--set", "max.message.bytes=1000")
        self.refused(1, "bench", "produce", "narrow", "-n", "10", "-s", "5000", says="not stored")
        self.refused(2, "bench", "roundtrip", "-s", "8", says="stamp")
        self.weir("topic", "delete", "narrow")


if __name__ == "__main__":
    script.main()
