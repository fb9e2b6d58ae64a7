# SPDX-License-Identifier: Apache-2.0
"""weir pipe and weir consume among other members of a group, which join, leave and die."""
import json
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S
from harness.wire import wait_until

PARTITIONS = 4


def settings(session_ms):
    return (f"num.partitions={PARTITIONS}", "group.initial.rebalance.delay.ms=0",
            "group.consumer.min.session.timeout.ms=3000", f"group.consumer.session.timeout.ms={session_ms}",
            "group.consumer.min.heartbeat.interval.ms=500", "group.consumer.heartbeat.interval.ms=500")


class MembersTest(CommandTest):
    count = 0

    def setUp(self):
        MembersTest.count += 1
        self.source, self.target = f"in{MembersTest.count}", f"out{MembersTest.count}"
        self.gate = os.path.join(tempfile.gettempdir(), f"weir-gate-{os.getpid()}-{MembersTest.count}")
        self.addCleanup(lambda: os.path.exists(self.gate) and os.unlink(self.gate))
        self.weir("topic", "create", self.source, self.target)

    def produce(self, numbers):
        self.weir("produce", self.source, "-k", ":",
                  data="".join(f"k{n % 20}:{n}\n" for n in numbers).encode())

    def start(self, *more, command=("sed", "-u", "s/$/!/")):
        process = subprocess.Popen(
            self.command("-o", "json", "pipe", "--from", self.source, "--to", self.target, "--group",
                         "g", *more, "--", *command),
            env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=0):
        """The summary of a stage that ends by itself, or has been told to."""
        out, said = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, said.decode()), (code, ""))
        return json.loads(out)

    def wait_for(self, what, condition):
        wait_until(condition, what)

    def until_the_gate_opens(self, before):
        """A command that does `before` for each line as long as there is no such file."""
        gate = shlex.quote(self.gate)
        return ("sh", "-c", f"while read -r line; do {before.format(gate=gate)}; echo $line!; done")

    def open_the_gate(self):
        with open(self.gate, "w"):
            pass

    def group(self):
        asked = subprocess.run(self.command("group", "describe", "g", "-o", "json"), timeout=PATIENCE_S,
                               env=self.environment(), capture_output=True)
        groups = json.loads(asked.stdout) if asked.returncode == 0 else []
        return groups[0] if groups else {"state": "", "partitions": []}

    def owners(self):
        """Which member has which partition; None: nobody."""
        return [row["member"] for row in self.group()["partitions"] if row["topic"] == self.source]

    def share(self, *processes):
        """Waits until each of so many members has its part."""
        def shared():
            owners = self.owners()
            return (len(owners) == PARTITIONS and None not in owners
                    and len(set(owners)) == len(processes))
        for process in processes:
            self.assertIsNone(process.poll())
        self.wait_for(f"{len(processes)} members to share {PARTITIONS} partitions", shared)

    def values(self):
        return self.weir("consume", self.target, "--until-end").decode().split()

    def check_all(self, count):
        """Every record is there, and what is repeated is repeated in order."""
        values = [int(value.removesuffix("!")) for value in self.values()]
        for key in range(20):
            first = list(dict.fromkeys(value for value in values if value % 20 == key))
            self.assertEqual(first, list(range(key, count, 20)))


class Members(MembersTest):
    """Some of them die, or stand still for longer than a session lasts."""
    settings = settings(session_ms=3000)

    def test_members_share_the_work_while_they_come_and_go(self):
        enough = threading.Event()
        produced = [0]

        def feed():
            while not enough.is_set():
                self.produce(range(produced[0], produced[0] + 100))
                produced[0] += 100
        producer = threading.Thread(target=feed)
        self.addCleanup(enough.set)
        producer.start()
        first, second = self.start(), self.start()
        self.share(first, second)
        third, fourth = self.start(), self.start()
        self.share(first, second, third, fourth)
        second.send_signal(signal.SIGTERM)
        self.finish(second)
        self.share(first, third, fourth)
        third.kill()
        self.share(first, fourth)
        enough.set()
        producer.join()
        self.produce(range(produced[0], produced[0] + 100))
        self.wait_for("two members to do the rest", lambda: len(set(self.values())) == produced[0] + 100)
        self.finish(self.start("--until-end"))
        self.check_all(produced[0] + 100)
        for process in first, fourth:
            process.send_signal(signal.SIGTERM)
            self.assertGreater(self.finish(process)["written"], 0)
        self.assertEqual(self.owners(), [None] * PARTITIONS)

    def test_until_end_waits_for_the_partitions_of_a_killed_member(self):
        self.produce(range(100))
        killed, left = self.start(), self.start()
        self.share(killed, left)
        killed.kill()
        left.send_signal(signal.SIGTERM)
        self.finish(left)
        self.produce(range(100, 200))
        self.finish(self.start("--until-end"))
        self.check_all(200)

    def test_consume_waits_for_the_partitions_of_a_killed_member(self):
        self.produce(range(100))
        def consume(*more):
            process = subprocess.Popen(self.command("consume", "-g", "g", self.source, *more),
                                       env=self.environment(), stdout=subprocess.PIPE)
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            return process
        killed, left = consume(), consume()
        self.share(killed, left)
        killed.kill()
        left.send_signal(signal.SIGTERM)
        left.communicate(timeout=PATIENCE_S)
        self.produce(range(100, 200))
        out, _ = consume("--until-end").communicate(timeout=PATIENCE_S)
        self.assertLessEqual(set(range(100, 200)), set(map(int, out.split())))

    def test_a_member_that_loses_partitions_it_was_giving_up_goes_on(self):
        self.produce(range(40))
        frozen = self.start("--until-end", "--grace", "1h", "--timeout", "1h", "--workers", "4",
                            command=self.until_the_gate_opens("until [ -e {gate} ]; do sleep 0.1; done"))
        self.share(frozen)
        (before,) = set(self.owners())
        other = self.start()
        self.wait_for("a rebalance", lambda: self.group()["state"] == "Reconciling")
        time.sleep(1)  # two heartbeats: it knows by then, most likely
        frozen.send_signal(signal.SIGSTOP)
        self.wait_for("the other member to have everything",
                      lambda: before not in self.owners() and None not in self.owners())
        self.open_the_gate()
        frozen.send_signal(signal.SIGCONT)
        self.finish(frozen)
        self.check_all(40)
        other.send_signal(signal.SIGTERM)
        self.finish(other)


class UndisturbedMembers(MembersTest):
    """Nobody dies here, and no session ends before its time because the machine is busy."""
    settings = settings(session_ms=60000)

    def test_consume_from_the_end_waits_for_nothing(self):
        self.produce(range(100))
        other = subprocess.Popen(self.command("consume", "-g", "g", self.source, "--from", "end"),
                                 env=self.environment(), stdout=subprocess.DEVNULL)
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        self.share(other)
        self.assertEqual(self.weir("consume", "-g", "g", self.source, "--from", "end", "-e"), b"")
        other.send_signal(signal.SIGTERM)
        self.assertEqual(other.wait(PATIENCE_S), 0)

    def test_until_end_waits_for_what_other_members_work_on(self):
        slow = self.start(command=("sh", "-c", "while read -r line; do sleep 0.02; echo $line!; done"))
        self.share(slow)
        self.produce(range(200))
        self.finish(self.start("--until-end"))
        self.check_all(200)
        slow.send_signal(signal.SIGTERM)
        self.finish(slow)

    def test_until_end_does_not_take_back_what_others_have_committed(self):
        self.produce(range(400))
        until_end = self.start("--until-end", command=self.until_the_gate_opens("[ -e {gate} ] || sleep 0.1"))
        self.share(until_end)
        (slow,) = set(self.owners())
        other = self.start()
        self.share(until_end, other)
        self.produce(range(400, 500))
        self.wait_for("the other member to have done its part", lambda: all(
            row["lag"] == 0 for row in self.group()["partitions"] if row["member"] not in (slow, None)))
        other.send_signal(signal.SIGTERM)
        self.finish(other)
        self.open_the_gate()
        self.finish(until_end)
        self.finish(self.start("--until-end"))
        self.check_all(500)
        self.assertEqual(len(self.values()), 500, "nothing was done twice")

    def test_until_end_does_not_wait_for_records_that_are_gone(self):
        self.produce(range(100))
        self.weir("topic", "delete-records", self.source, "--before", "end")
        other = self.start()
        self.share(other)
        self.finish(self.start("--until-end"))
        self.assertEqual(self.values(), [])
        other.send_signal(signal.SIGTERM)
        self.finish(other)


if __name__ == "__main__":
    script.main()
