# SPDX-License-Identifier: Apache-2.0
"""Groups: listed, described, moved and deleted as a person does it."""
import json
import shutil
import subprocess
import time
import unittest

from command import CommandTest
from harness import script
from harness.wire import wait_until
from terminal import Terminal


class Groups(CommandTest):
    settings = ("num.partitions=2", "group.initial.rebalance.delay.ms=0")

    def topic(self, name, records=10):
        """A topic with so many records in each of its two partitions."""
        lines = b"".join(b"%d\n" % i for i in range(records))
        for partition in ("0", "1"):
            self.weir("produce", name, "-p", partition, data=lines)
        return name

    def describe(self, group):
        (described,) = json.loads(self.weir("group", "describe", group, "-o", "json"))
        return described

    def committed(self, group):
        return {(row["topic"], row["partition"]): row["committed"]
                for row in self.describe(group)["partitions"]}

    def reset(self, *arguments):
        return json.loads(self.weir("group", "reset", *arguments, "-o", "json"))

    def test_list(self):
        self.reset("listed", "--to", "end", "-t", self.topic("list"), "--execute")
        lines = self.weir("group", "list").decode().splitlines()
        self.assertEqual(lines[0].split(), ["GROUP", "STATE", "TYPE", "PROTOCOL"])
        self.assertIn("listed", [line.split()[0] for line in lines[1:]])
        names = {group["group"] for group in json.loads(self.weir("group", "list", "-o", "json"))}
        self.assertIn("listed", names)
        stable = json.loads(self.weir("group", "list", "-s", "Stable", "-o", "json"))
        self.assertNotIn("listed", {group["group"] for group in stable})

    def test_a_long_name_does_not_make_the_other_lines_wrap(self):
        topic = self.topic("named")
        long = "a-long-name" * 20
        for group in ("short", long):
            self.reset(group, "--to", "end", "-t", topic, "--execute")
        with Terminal(self.command("group", "list"), self.environment(), columns=60) as terminal:
            self.assertEqual(terminal.end(), 0)
            lines = terminal.shown.decode().splitlines()
        (named,) = (line for line in lines if line.startswith("short "))
        self.assertLessEqual(len(named), 60)
        self.assertTrue(any(line.startswith(long + "  Empty") for line in lines), lines)
        (piped,) = (line for line in self.weir("group", "list").decode().splitlines() if line.startswith("short "))
        self.assertGreater(len(piped), len(long))

    def test_lag_per_partition(self):
        self.reset("slow", "-t", self.topic("lags") + ":0", "--to", "3", "--execute")
        described = self.describe("slow")
        self.assertEqual(described["lag"], 7)
        (row,) = described["partitions"]
        self.assertEqual([row[name] for name in ("topic", "partition", "committed", "end", "lag", "member")],
                         ["lags", 0, 3, 10, 7, None])
        lines = self.weir("group", "describe", "slow").decode().splitlines()
        self.assertTrue(lines[0].startswith("group slow  state Empty"), lines)
        self.assertEqual(lines[1].split()[:5], ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"])
        self.assertEqual(lines[2].split()[:5], ["lags", "0", "3", "10", "7"])

    def test_a_dry_run_changes_nothing(self):
        topic = self.topic("dry")
        self.reset("careful", "-t", topic, "--to", "4", "--execute")
        shown = self.reset("careful", "--to", "beginning")
        self.assertFalse(shown["executed"])
        self.assertEqual({row["partition"]: (row["committed"], row["to"]) for row in shown["partitions"]},
                         {0: (4, 0), 1: (4, 0)})
        self.assertIn(b"nothing has been changed", self.weir("group", "reset", "careful", "--to", "end"))
        self.assertEqual(self.committed("careful"), {(topic, 0): 4, (topic, 1): 4})

    def test_reset_in_every_way(self):
        topic = self.topic("moves")
        time.sleep(0.05)
        between = f"@{int(time.time() * 1000)}"
        time.sleep(0.05)
        self.weir("produce", topic, "-p", "1", data=b"late\n")

        def moved(*how):
            self.assertTrue(self.reset("mover", *how, "--execute")["executed"])
            return tuple(self.committed("mover")[topic, partition] for partition in (0, 1))

        self.assertEqual(moved("-t", topic, "--to", "beginning"), (0, 0))
        self.assertEqual(moved("--to", "end"), (10, 11))
        self.assertEqual(moved("--to", "5"), (5, 5))
        self.assertEqual(moved("--shift", "2"), (7, 7))
        self.assertEqual(moved("--shift", "-4"), (3, 3))
        self.assertEqual(moved("--shift", "100"), (10, 11))
        self.assertEqual(moved("--shift", "-100"), (0, 0))
        self.assertEqual(moved("--to", "-2"), (8, 9))
        self.assertEqual(moved("--to", between), (10, 10))
        self.assertEqual(moved("--to", "1", "-t", topic + ":1"), (10, 1))

    def test_resets_that_make_no_sense(self):
        topic = self.topic("senseless")
        self.refused(2, "group", "reset", "g", says="--to or --shift")
        self.refused(2, "group", "reset", "g", "--to", "end", "--shift", "1", says="--to or --shift")
        self.refused(2, "group", "reset", "g", "--to", "noon", says="@TIME")
        self.refused(2, "group", "reset", "g", "--shift", "much", says="--shift")
        self.refused(3, "group", "reset", "g", "--to", "end", says="-t")
        self.refused(3, "group", "reset", "g", "--shift", "1", "-t", topic, says="--to")
        self.refused(3, "group", "reset", "g", "--to", "11", "-t", topic, "--execute", says="not 11")
        self.refused(3, "group", "reset", "g", "--to", "end", "-t", "never-made", says="never-made")
        self.refused(3, "group", "describe", "g", says="weir group list")

    def test_delete(self):
        topic = self.topic("deletes")
        self.reset("doomed", "-t", topic, "--to", "end", "--execute")
        self.weir("group", "delete-offsets", "doomed", topic + ":1")
        self.assertEqual(self.committed("doomed"), {(topic, 0): 10})
        self.weir("group", "delete", "doomed")
        self.refused(3, "group", "describe", "doomed", says="doomed")
        self.refused(3, "group", "delete", "doomed", says="weir group list")
        self.weir("group", "delete", "doomed", "--if-exists")

    @unittest.skipUnless(shutil.which("kcat"), "needs kcat")
    def test_a_group_at_work(self):
        topic = self.topic("busy")
        member = subprocess.Popen(["kcat", "-q", "-b", self.broker.address, "-G", "workers", topic],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        def works():
            self.assertIsNone(member.poll())
            listed = json.loads(self.weir("group", "list", "--state", "Stable", "-o", "json"))
            return "workers" in {group["group"] for group in listed}
        try:
            wait_until(works, "kcat is a member")
            described = self.describe("workers")
            (only,) = described["members"]
            self.assertEqual([row["partition"] for row in only["assigned"]], [0, 1])
            self.assertEqual({row["member"] for row in described["partitions"]}, {only["member"]})
            self.refused(1, "group", "delete", "workers", says="stop them first")
            self.refused(1, "group", "reset", "workers", "-t", topic, "--to", "end", "--execute",
                         says="stop them first")
            self.refused(1, "group", "delete-offsets", "workers", topic, says="stop them first")
            self.refused(3, "group", "remove-member", "workers", "nobody", says="INSTANCE")
            self.refused(3, "group", "remove-member", "workers", "--id", "nobody", says="MEMBER")
            self.refused(2, "group", "remove-member", "workers", says="whom?")
            self.refused(2, "group", "remove-member", "workers", "nobody", "--all", says="whom?")
        finally:
            member.kill()
            member.wait()

    @unittest.skipUnless(shutil.which("kcat"), "needs kcat")
    def test_members_that_died_are_removed(self):
        topic = self.topic("dead")
        for how in "--id", "--all":
            member = subprocess.Popen(["kcat", "-q", "-b", self.broker.address, "-X", "session.timeout.ms=300000",
                                       "-G", "mourned", topic], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                def works():
                    self.assertIsNone(member.poll())
                    group = self.describe_or_none("mourned")
                    return group and group["state"] == "Stable" and len(group["members"]) == 1
                wait_until(works, "kcat is a member")
            finally:
                member.kill()
                member.wait()
            (only,) = self.describe("mourned")["members"]
            self.weir("group", "remove-member", "mourned", how, *([only["member"]] if how == "--id" else []))
            self.assertEqual(self.describe("mourned")["members"], [])
        self.weir("group", "remove-member", "mourned", "--all")
        self.refused(3, "group", "remove-member", "never-was", "--all", says="weir group list")

    def test_consume_goes_on_where_the_group_has_got_to(self):
        topic = self.topic("continues")
        first = self.weir("consume", "-g", "readers", topic, "-n", "7").split()
        self.assertEqual(len(first), 7)
        self.assertEqual(sum(self.committed("readers").values()), 7)
        rest = self.weir("consume", "-g", "readers", topic, "--until-end").split()
        self.assertEqual(sorted(first + rest), sorted(2 * [b"%d" % i for i in range(10)]))
        self.assertEqual(self.describe("readers")["lag"], 0)
        self.assertEqual(self.weir("consume", "-g", "readers", topic, "-e"), b"")

    def test_consume_several_topics_and_patterns(self):
        topics = [self.topic("several-a", 1), self.topic("several-b", 1)]
        lines = self.weir("consume", "-g", "several", *topics, "-e", "-F", r"%t %p\n").decode().splitlines()
        self.assertEqual(sorted(lines), [f"{topic} {partition}" for topic in topics for partition in (0, 1)])
        lines = self.weir("consume", "-g", "patterns", "--pattern", "several-.", "-n", "4", "-F", r"%t %p\n")
        self.assertEqual(len(set(lines.splitlines())), 4)

    def test_consume_from_the_end(self):
        topic = self.topic("ends")
        self.assertEqual(self.weir("consume", "-g", "late", topic, "--from", "end", "-e"), b"")

    def test_consume_where_commits_what_it_passes_over(self):
        topic = self.topic("filtered")
        self.assertEqual(self.weir("consume", "-g", "picky", topic, "-e", "-w", "value == 3"), b"3\n3\n")
        self.assertEqual(self.describe("picky")["lag"], 0)

    def test_two_share_the_work(self):
        topic = self.topic("shared", 200)
        members = [subprocess.Popen(self.command("consume", "-g", "pair", topic, "-F", r"%p:%o\n"),
                                    stdout=subprocess.PIPE, env=self.environment()) for _ in range(2)]
        def done():
            group = self.describe_or_none("pair")
            # The lag of a partition of which nothing is committed yet is None, and 0 in the sum.
            return (group and len(group["members"]) == 2
                    and [row["lag"] for row in group["partitions"]] == [0, 0])
        try:
            wait_until(done, "both are members, and everything is committed")
        finally:
            for member in members:
                member.terminate()
        seen = b"".join(member.communicate()[0] for member in members).split()
        self.assertEqual([member.returncode for member in members], [0, 0])
        self.assertEqual(set(seen), {b"%d:%d" % (p, o) for p in (0, 1) for o in range(200)})

    def describe_or_none(self, group):
        names = {row["group"] for row in json.loads(self.weir("group", "list", "-o", "json"))}
        return self.describe(group) if group in names else None

    def test_members_that_make_no_sense(self):
        topic = self.topic("nonsense")
        self.refused(2, "consume", "-g", "g", topic, "-p", "0", says="--partition")
        self.refused(2, "consume", "-g", "g", topic, "--from", "5", says="weir group reset")
        self.refused(2, "consume", topic, "other", says="--group")
        self.refused(2, "consume", topic, "--pattern", says="--group")
        self.refused(3, "consume", "-g", "g", "never-made", "-e", says="weir topic list")
        self.refused(1, "consume", "-g", "g", "--pattern", "(", "-e")


if __name__ == "__main__":
    script.main()
