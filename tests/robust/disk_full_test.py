# SPDX-License-Identifier: Apache-2.0
"""A device without space: producing gets an error that clients may retry, everything else goes on, and
producing resumes by itself when there is space again.

Needs a file system of its own, so it runs as root only, in a mount namespace that ends with it."""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from kafka.protocol.commit import OffsetCommitRequest

from harness import script
from harness.broker import Broker
from harness.mounts import enter_own_mounts
from harness.wire import (KAFKA_STORAGE_ERROR, NONE, batch, call, commit, committed, create, delete, fetch,
                          offset_at, LATEST, produce, wait_until)

MEBIBYTE = 1 << 20
DEVICE = 64 * MEBIBYTE


def mount(kind, directory, image):
    if kind == "ext4":
        with open(image, "wb") as file:
            file.truncate(DEVICE)
        command = ["mkfs.ext4", "-q", "-F", image]
        if not shutil.which(command[0]) or subprocess.run(command, capture_output=True).returncode:
            return False
        command = ["mount", "-o", "loop", image, directory]
    else:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DEVICE}", "none", directory]
    return subprocess.run(command, capture_output=True).returncode == 0


class DiskFull(unittest.TestCase):
    def setUp(self):
        self.outside = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.outside, True)

    def start(self, kind):
        device = os.path.join(self.outside, "device")
        os.mkdir(device)
        if not mount(kind, device, os.path.join(self.outside, "image")):
            self.skipTest(f"{kind} cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", device], capture_output=True)
        self.broker = Broker(shards=2, directory=os.path.join(device, "data"),
                             settings=["log.segment.bytes=8388608"])
        self.broker.log_path = os.path.join(self.outside, "log")
        self.begun = time.monotonic()
        self.broker.start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.connect()

    def connect(self):
        self.connection = self.broker.connect(timeout=60)
        self.addCleanup(self.connection.close)

    def assert_told(self, words, shards, every_s, why):
        """At least once, and by each shard once in so many seconds at most."""
        told = self.broker.log().count(words)
        self.assertGreaterEqual(told, 1)
        self.assertLessEqual(told, shards * (1 + (time.monotonic() - self.begun) // every_s), why)

    def fill(self):
        """Produces until there is an error; returns the number of records that were stored."""
        records = batch(os.urandom(MEBIBYTE - 1000))
        for number in range(DEVICE // MEBIBYTE + 1):
            error, offset = produce(self.connection, "big", records)
            if error:
                self.assertEqual(error, KAFKA_STORAGE_ERROR)
                return number
            self.assertEqual(offset, number)
        self.fail("the device takes more than it holds")

    def check(self, kind):
        self.start(kind)
        for topic in ("big", "other"):
            self.assertEqual(create(self.connection, topic)[0], NONE)
        self.assertEqual(commit(self.connection, "group", "big", 0), NONE)
        stored = self.fill()
        self.assertGreater(stored, 10)
        for _ in range(3):
            self.assertEqual(produce(self.connection, "big", batch(bytes(MEBIBYTE - 1000)))[0],
                             KAFKA_STORAGE_ERROR)
        self.assert_told("No space left on device", 1, 60, "once a minute, however many records are refused")
        self.check_everything_else(stored)
        self.broker.kill()
        self.broker.start()
        self.connect()
        self.assertEqual(committed(self.connection, "group", "big"), 29)
        self.assertEqual(offset_at(self.connection, "big", LATEST), (NONE, stored))
        self.check_that_it_resumes()

    def check_everything_else(self, stored):
        """Reading, committing offsets, creating and deleting topics."""
        for offset in range(stored):
            got = fetch(self.connection, "big", offset, max_bytes=1)
            self.assertEqual(got.error, NONE, offset)
            self.assertGreater(len(got.records), MEBIBYTE - 1000)
        for offset in range(30):
            self.assertEqual(commit(self.connection, "group", "big", offset), NONE, offset)
        self.assertEqual(committed(self.connection, "group", "big"), 29)
        for number in range(40):  # enough for every partition of the offsets to have its first
            self.assertEqual(commit(self.connection, f"late {number}", "big", number), NONE, number)
            self.assertEqual(committed(self.connection, f"late {number}", "big"), number)
        self.assertEqual(create(self.connection, "new")[0], NONE)
        self.assertEqual(delete(self.connection, "new"), NONE)

    def check_that_it_resumes(self):
        self.assertEqual(produce(self.connection, "other", batch(bytes(MEBIBYTE - 1000)))[0],
                         KAFKA_STORAGE_ERROR)
        self.assertEqual(delete(self.connection, "big"), NONE)
        wait_until(lambda: produce(self.connection, "other", batch(b"again"))[0] == NONE,
                   "records are accepted after a topic was deleted")
        wait_until(lambda: produce(self.connection, "other", batch(bytes(MEBIBYTE - 1000)))[0] == NONE,
                   "large records too")
        error, offset = produce(self.connection, "other", batch(b"once more"))
        self.assertEqual(error, NONE)
        self.assertTrue(b"once more" in fetch(self.connection, "other", offset).records)
        self.assertEqual(self.broker.stop(), 0)

    def hammer(self):
        """Another producer, that does not give up."""
        with self.broker.connect(timeout=60) as connection:
            while not self.enough.is_set():
                error, _ = produce(connection, "other", batch(os.urandom(20000)))
                self.assertIn(error, (NONE, KAFKA_STORAGE_ERROR))
                if error:
                    time.sleep(0.001)  # the others, too, need the processor

    def check_without_end(self, kind):
        """Many times what is held in reserve, while producers take every byte that they can get."""
        self.start(kind)
        for topic in ("big", "other"):
            self.assertEqual(create(self.connection, topic)[0], NONE)
        self.fill()
        self.enough = threading.Event()
        producer = threading.Thread(target=self.hammer)
        producer.start()
        try:
            note = "x" * 4000
            for offset in range(3500):
                answer = call(self.connection, OffsetCommitRequest[2](
                    "group", -1, "", -1, [("big", [(0, offset, note)])]))
                self.assertEqual(answer.topics[0][1][0][1], NONE, offset)
            for number in range(50):
                self.assertEqual(create(self.connection, f"short-lived-{number}")[0], NONE)
                self.assertEqual(delete(self.connection, f"short-lived-{number}"), NONE)
        finally:
            self.enough.set()
            producer.join()
        self.assert_told("goes to the broker's own topics", 2, 5, "each shard may get its reserve back after a while")
        self.broker.kill()
        self.broker.start()
        self.connect()
        self.assertEqual(committed(self.connection, "group", "big"), 3499)
        self.check_that_it_resumes()

    def test_tmpfs(self):
        self.check("tmpfs")

    def test_tmpfs_without_end(self):
        self.check_without_end("tmpfs")

    def test_ext4_without_end(self):
        self.check_without_end("ext4")

    def test_ext4(self):
        self.check("ext4")


if __name__ == "__main__":
    if not enter_own_mounts():
        print("needs root and a mount namespace of its own: nothing was tested")
        sys.exit(77)
    script.main(patience=2)  # thousands of commits, on a device that others may use
