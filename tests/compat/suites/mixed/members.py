# SPDX-License-Identifier: Apache-2.0
"""The members of a mixed group, as processes, and what they have said.

Every kind is a program of its own with the arguments BROKERS GROUP TOPIC [SETTING=VALUE...]. It
subscribes, and for each record it prints, before it commits, "P partition offset value"; for each
partition given to it "A partition", taken "R partition", lost "L partition". It commits five
times a second and, where its client allows, before it gives partitions up; it ends in good order with
SIGTERM."""
import os
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
COMPAT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, COMPAT)
import install  # noqa: E402

JAVA_ASSIGNORS = {"range": "RangeAssignor", "sticky": "StickyAssignor",
                  "cooperative-sticky": "CooperativeStickyAssignor"}
DEBIAN_PYTHON = "/usr/bin/python3"


def java_command():
    """Compiled once: a member is started dozens of times."""
    classes = os.path.join(install.place("java"), "mixed")
    jars = os.path.join(install.place("java"), "jars", "*")
    install.call("javac", "-cp", jars, "-d", classes, os.path.join(HERE, "Member.java"), cwd=HERE)
    return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
            classes + ":" + jars, "Member"]


def go_command():
    where = install.place("franz-go")
    shutil.copytree(os.path.join(HERE, "franz"), os.path.join(where, "mixed"), dirs_exist_ok=True)
    install.call("go", "build", "-o", "mixed_member", "./mixed", cwd=where)
    return [os.path.join(where, "mixed_member")]


def node_command():
    os.environ["NODE_PATH"] = os.path.join(install.place("kafkajs"), "node_modules")
    return ["node", os.path.join(HERE, "member_kafkajs.js")]


OWN_COMMANDS = {"java": java_command, "franz-go": go_command, "kafkajs": node_command}


def commands(kinds, debian):
    """{kind: command}, with what is needed installed; Debian's packages are taken as they are."""
    found = {}
    for kind in set(kinds):
        if kind == "weir":
            found[kind] = [os.path.join(os.environ["WEIR_BUILD"], "tests", "compat", "mixed_member")]
            continue
        if not debian:
            install.install(kind)
        if kind in OWN_COMMANDS:
            found[kind] = OWN_COMMANDS[kind]()
        else:
            program = os.path.join(HERE, f"member_{kind.replace('-', '_')}.py")
            found[kind] = [DEBIAN_PYTHON if debian else python_of(kind), "-B", program]
    return found


def python_of(client):
    return os.path.join(install.place(client), "venv", "bin", "python")


def settings(kind, protocol, assignor):
    """The same for every kind, in the words of each. With the newer protocol the broker decides."""
    if protocol == "consumer":
        return ["auto.offset.reset=earliest", "group.protocol=consumer", "max.poll.interval.ms=30000"]
    if kind == "java":
        assignor = "org.apache.kafka.clients.consumer." + JAVA_ASSIGNORS[assignor]
    words = ["auto.offset.reset=earliest", "session.timeout.ms=3000", "heartbeat.interval.ms=300",
             "max.poll.interval.ms=30000"]
    words += ["group.protocol=classic"] if kind == "weir" else []
    return words + (["partition.assignment.strategy=" + assignor] if assignor else [])


class Process:
    """A program whose output goes to a file, so that nothing is lost when it is killed."""

    def __init__(self, name, command, directory):
        self.name = name
        self.path = os.path.join(directory, name + ".out")
        self.errors_path = os.path.join(directory, name + ".err")
        with open(self.path, "wb") as out, open(self.errors_path, "wb") as errors:
            self.process = subprocess.Popen(command, stdout=out, stderr=errors, stdin=subprocess.DEVNULL)
        self.frozen = False
        self.reader = open(self.path, "rb")

    def lines(self):
        """Complete lines written since the last time."""
        while True:
            at = self.reader.tell()
            line = self.reader.readline()
            if not line.endswith(b"\n"):
                self.reader.seek(at)
                return
            yield line.decode().split()

    def send(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self.send(signal.SIGCONT)
        self.frozen = False

    def kill(self):
        self.send(signal.SIGKILL)
        self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def errors(self):
        with open(self.errors_path, errors="replace") as file:
            return file.read()


class Ledger:
    """What all processes of one run have said together."""

    def __init__(self, partitions):
        self.processes = []
        self.written = [{} for _ in range(partitions)]  # by offset: what the producer was told
        self.seen = [{} for _ in range(partitions)]     # by offset: what members have processed
        self.done = [0] * partitions                    # every offset below is processed
        self.count = {}                                 # records by name of the process

    def add(self, process):
        self.processes.append(process)
        return process

    def read(self):
        for process in self.processes:
            for kind, partition, *rest in process.lines():
                self.take(process.name, kind, int(partition), rest)
            if not process.alive() and not list(process.lines()):
                process.reader.close()
        self.processes = [p for p in self.processes if not p.reader.closed]

    def take(self, name, kind, partition, rest):
        if kind in "PW":
            table = self.seen if kind == "P" else self.written
            offset, value = int(rest[0]), int(rest[1])
            known = table[partition].setdefault(offset, value)
            assert known == value, f"offset {offset} of {partition} is {known}, and for {name} {value}"
            self.count[name] = self.count.get(name, 0) + 1
            while kind == "P" and self.done[partition] in self.seen[partition]:
                self.done[partition] += 1

    def check(self):
        """What was acknowledged is what was processed, at the same place."""
        for partition, written in enumerate(self.written):
            for offset, value in written.items():
                seen = self.seen[partition].get(offset)
                assert seen == value, f"record {value}, offset {offset} of {partition}: processed was {seen}"
