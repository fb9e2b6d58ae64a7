# SPDX-License-Identifier: Apache-2.0
"""Spoils the files of a data directory, in the ways that disks and people do, and asks the command
line what it thinks of them."""
import glob
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from harness.broker import Broker, binary
from harness.wire import NONE, batch, create, produce

RECORDS = 40
SEGMENT = 32 * 1024


def value_of(number):
    return b"%04d " % number + b"x" * 3000


def without_journal():
    """Settings with which every record goes to its segment before it is acknowledged."""
    listed = subprocess.run([binary("weir-broker"), "--list-settings"], capture_output=True, text=True,
                            check=True).stdout
    return ("weir.journal.bytes=0",) if "weir.journal.bytes" in listed else ()


class DataDirectory:
    def __init__(self, path):
        self.path = path

    def copy_to(self, path):
        shutil.copytree(self.path, path)
        return DataDirectory(path)

    def files(self, topic, kind="log"):
        return sorted(glob.glob(f"{self.path}/topics/{topic}/*/*.{kind}"))

    def journals(self):
        return sorted(glob.glob(f"{self.path}/journal/*.journal"))

    def below(self, path):
        return os.path.relpath(path, self.path)

    def weir(self, *arguments):
        """Runs `weir log ...`: exit code, standard output, standard error."""
        done = subprocess.run([binary("weir"), "log", *arguments], capture_output=True, timeout=120)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def verify(self, *options):
        """What is wrong: findings, and those that are no reason to worry."""
        code, out, err = self.weir("verify", self.path, "-o", "json", *options)
        report = json.loads(out) if out else None
        if report is None or code != (0 if report["sound"] else 1):
            raise AssertionError(f"exit code {code}: {out}{err}")
        findings = [f for f in report["findings"] if not f["harmless"]]
        return findings, [f for f in report["findings"] if f["harmless"]]

    def dump(self, path, *options):
        """The lines about one file, as objects."""
        code, out, err = self.weir("dump", path, "-o", "json", *options)
        if code != 0:
            raise AssertionError(f"exit code {code}: {err}")
        return [json.loads(line) for line in out.splitlines()]

    def frames(self, path):
        return [line for line in self.dump(path, "--frames") if line["kind"] == "frame"]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def read(path, at, size):
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(size)


def swap(one, other):
    os.rename(one, one + ".swap")
    os.rename(other, one)
    os.rename(one + ".swap", other)


class SpoiltDirectories(unittest.TestCase):
    """Tests that take a copy of a broker's directory and spoil it: `killed` is that of a broker that
    was killed, `stopped` of one that was stopped. Both hold RECORDS records in each of two topics."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="weir-spoilt-")
        cls.killed = cls.make("killed", Broker.kill)
        cls.stopped = cls.make("stopped", Broker.stop)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch)

    @classmethod
    def make(cls, name, end):
        with Broker(directory=os.path.join(cls.scratch, name), settings=without_journal()) as broker:
            with broker.connect() as connection:
                for topic in ("t", "other"):
                    assert create(connection, topic, segment_bytes=SEGMENT)[0] == NONE
                    for number in range(RECORDS):
                        assert produce(connection, topic, batch(value_of(number))) == (NONE, number)
            end(broker)
        return DataDirectory(broker.directory)

    def take(self, original):
        path = os.path.join(self.scratch, self._testMethodName)
        if os.path.exists(path):
            shutil.rmtree(path)
        self.data = original.copy_to(path)
        self.logs = self.data.files("t")
        return self.logs

    def first_of(self, path):
        return int(os.path.basename(path).split(".")[0])

    def frame_of(self, offset):
        """The file and the frame that hold an offset."""
        path = [path for path in self.logs if self.first_of(path) <= offset][-1]
        (frame,) = [frame for frame in self.data.frames(path)
                    if frame["base_offset"] <= offset < frame["next_offset"]]
        return path, frame
