# SPDX-License-Identifier: Apache-2.0
"""Stored bytes that changed: damage is named, kept to the records it has hit, and never served; a torn
end that nobody was told of is cut; what is sound goes on."""
import glob
import os
import subprocess
import unittest

from harness import script
from harness.broker import PATIENCE_S, Broker, binary
from harness.damage import without_journal
from harness.wire import (EARLIEST, KAFKA_STORAGE_ERROR, LATEST, NONE, batch, create, fetch, offset_at,
                          produce)

RECORDS = 24
BLOCK = 4096  # frames start on multiples of it


def value_of(number):
    return b"%04d " % number + b"x" * 3000  # one block each, with its batch and its frame


class Damage(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(shards=1, settings=without_journal()).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        self.fill()

    def fill(self, topic="t"):
        """Several segments of seven records."""
        with self.broker.connect() as connection:
            self.assertEqual(create(connection, topic, segment_bytes=8 * BLOCK)[0], NONE)
            for number in range(RECORDS):
                self.assertEqual(produce(connection, topic, batch(value_of(number))), (NONE, number))

    def files(self, kind="log"):
        return sorted(glob.glob(f"{self.broker.directory}/topics/t/*/*.{kind}"))

    def first_offset(self, path):
        return int(os.path.basename(path).split(".")[0])

    def change(self, path, at):
        with open(path, "r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def end_of_content(self, path):
        with open(path, "rb") as file:
            return len(file.read().rstrip(b"\0"))

    def restart(self):
        """Returns what the broker says from now on."""
        start = len(self.broker.log())
        self.broker.start()
        self.connection = self.broker.connect()
        self.addCleanup(self.connection.close)
        return lambda: self.broker.log()[start:]

    def assert_readable(self, numbers):
        for number in numbers:
            got = fetch(self.connection, "t", number, max_bytes=1)
            self.assertEqual(got.error, NONE, number)
            self.assertIn(value_of(number), got.records)

    def assert_damaged(self, numbers):
        for number in numbers:
            got = fetch(self.connection, "t", number, max_bytes=1)
            self.assertEqual((got.error, got.records), (KAFKA_STORAGE_ERROR, b""), number)

    def assert_accepts(self):
        """New records are stored, readable and there after another start."""
        error, offset = produce(self.connection, "t", batch(b"new"))
        self.assertEqual(error, NONE)
        self.connection.close()
        self.broker.kill()
        self.restart()
        self.assertIn(b"new", fetch(self.connection, "t", offset).records)

    def test_flipped_bit_in_the_middle(self):
        for stop in (self.broker.kill, self.broker.stop):
            with self.subTest(stop=stop.__name__):
                stop()
                if stop == self.broker.kill:
                    path = self.files()[1]
                    hit = self.first_offset(path) + 1
                    self.change(path, 2 * BLOCK + 500)
                said = self.restart()
                self.assertEqual(offset_at(self.connection, "t", LATEST), (NONE, RECORDS))
                self.assert_damaged([hit])
                self.assert_readable([*range(hit), *range(hit + 1, RECORDS)])
                self.assertEqual(said().count(path), 1, "damage is told once, with its file")
                self.assertIn(f"offsets {hit} up to {hit}", said())
                # A reader that comes from before gets everything up to the damage.
                got = fetch(self.connection, "t", hit - 1)
                self.assertIn(value_of(hit - 1), got.records)
                self.assertNotIn(value_of(hit)[:4], got.records)
        self.assert_accepts()

    def test_the_command_line_says_where_it_got_stuck(self):
        self.broker.kill()
        self.change(self.files()[0], 3 * BLOCK + 500)
        self.restart()
        done = subprocess.run([binary("weir"), "-b", self.broker.address, "consume", "t", "--until-end",
                               "--timeout", "3s"], capture_output=True, timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, value_of(0) + b"\n" + value_of(1) + b"\n")
        (line,) = done.stderr.decode().splitlines()
        self.assertIn("KAFKA_STORAGE_ERROR", line)
        self.assertIn("offset 2", line)

    def test_garbled_frame_header_in_the_middle(self):
        self.broker.kill()
        path = self.files()[0]
        self.change(path, 3 * BLOCK + 8)
        said = self.restart()
        self.assert_damaged([2])
        self.assert_readable([0, 1, *range(3, RECORDS)])
        self.assertEqual(said().count(path), 1)
        self.assertIn("offsets 2 up to 2", said())
        self.assert_accepts()

    def test_torn_end(self):
        """Of a commit that was under way when the power went: here its second half is missing."""
        self.broker.kill()
        path = self.files()[-1]
        end = self.end_of_content(path)
        os.truncate(path, end - 1000)
        said = self.restart()
        self.assertIn(f"{path}: cut ", said())
        self.assertEqual(offset_at(self.connection, "t", LATEST), (NONE, RECORDS - 1))
        self.assert_readable(range(RECORDS - 1))
        self.assertEqual(produce(self.connection, "t", batch(value_of(RECORDS - 1))), (NONE, RECORDS - 1))
        self.assert_accepts()

    def test_garbled_end(self):
        self.broker.kill()
        path = self.files()[-1]
        self.change(path, self.end_of_content(path) - 100)
        self.assertIn(f"{path}: cut ", self.restart()())
        self.assert_readable(range(RECORDS - 1))
        self.assert_accepts()

    def test_garbled_end_after_a_clean_stop_is_damage(self):
        """Its index says that this commit was durable: it is not cut."""
        self.assertEqual(self.broker.stop(), 0)
        path = self.files()[-1]
        self.change(path, self.end_of_content(path) - 100)
        self.assertIn(f"{path} is damaged", self.restart()())
        self.assertEqual(offset_at(self.connection, "t", LATEST), (NONE, RECORDS))
        self.assert_damaged([RECORDS - 1])
        self.assert_readable(range(RECORDS - 1))
        self.assert_accepts()

    def test_missing_segment(self):
        self.broker.kill()
        path = self.files()[1]
        first, behind = self.first_offset(path), self.first_offset(self.files()[2])
        os.unlink(path)
        said = self.restart()
        self.assertIn(f"offsets {first} up to {behind - 1}", said())
        self.assertEqual(offset_at(self.connection, "t", EARLIEST), (NONE, 0))
        self.assert_damaged(range(first, behind))
        self.assert_readable([*range(first), *range(behind, RECORDS)])
        self.assert_accepts()

    def assert_end_is_lost(self, first):
        """Offsets that clients were told of must not be given to other records."""
        self.assertIn(f"offsets from {first} on", self.said())
        self.assert_readable(range(first))
        self.assertEqual(produce(self.connection, "t", batch(b"new"))[0], KAFKA_STORAGE_ERROR)
        self.connection.close()
        self.assertEqual(self.broker.stop(), 0, "it was an orderly end")

    def test_missing_last_segment_after_a_clean_stop(self):
        self.broker.stop()
        path = self.files()[-1]
        os.unlink(path)
        self.said = self.restart()
        self.assert_end_is_lost(self.first_offset(path))

    def test_emptied_last_segment_after_a_clean_stop(self):
        self.broker.stop()
        path = self.files()[-1]
        os.truncate(path, 0)
        self.said = self.restart()
        self.assert_end_is_lost(self.first_offset(path))

    def test_garbled_header_of_the_last_segment(self):
        self.broker.kill()
        path = self.files()[-1]
        self.change(path, 100)
        self.said = self.restart()
        self.assertIn(path, self.said())
        self.assert_end_is_lost(self.first_offset(path))

    def test_spoilt_indexes_change_nothing(self):
        self.broker.stop()
        for number, path in enumerate(self.files("index")):
            if number % 2:
                os.truncate(path, 40)
            else:
                self.change(path, 60)
        said = self.restart()
        self.assert_readable(range(RECORDS))
        self.assertNotIn("damaged from", said())
        self.assert_accepts()

    def test_other_topics_and_strange_files_do_not_matter(self):
        self.fill("other")
        self.broker.kill()
        directory = os.path.dirname(self.files()[0])
        for name in ("notes.txt", "0.log", "00000000000000000003.log.bak"):
            with open(os.path.join(directory, name), "w") as file:
                file.write("not a log")
        os.truncate(self.files()[-1], BLOCK // 2)
        self.restart()
        self.assertEqual(produce(self.connection, "other", batch(b"new")), (NONE, RECORDS))
        self.assert_readable(range(7))


class InsideAFrame(unittest.TestCase):
    """With the journal, small records reach their segment many at a time, in one frame."""

    def setUp(self):
        self.broker = Broker(shards=1).start()
        self.addCleanup(self.broker.__exit__, None, None, None)
        with self.broker.connect() as connection:
            self.assertEqual(create(connection, "t")[0], NONE)
            for number in range(RECORDS):
                self.assertEqual(produce(connection, "t", batch(value_of(number))), (NONE, number))
        self.assertEqual(self.broker.stop(), 0)
        (self.path,) = glob.glob(f"{self.broker.directory}/topics/t/*/*.log")

    def spoil(self, at, data=None):
        with open(self.path, "r+b") as file:
            file.seek(at)
            old = file.read(len(data) if data else 1)
            file.seek(at)
            file.write(data or bytes([old[0] ^ 1]))

    def kcat(self, offset):
        """The values that kcat gets from an offset on, and what it says."""
        done = subprocess.run(["kcat", "-C", "-b", self.broker.address, "-t", "t", "-p", "0", "-o", str(offset),
                               "-e", "-q", "-X", "check.crcs=true"], capture_output=True, timeout=60)
        return done.stdout.split(b"\n")[:-1], done.stderr.decode()

    def judge(self, most):
        """At most so many records are refused, one behind the other; kcat gets all of the others."""
        self.broker.start()
        connection = self.broker.connect()
        self.addCleanup(connection.close)
        errors = [fetch(connection, "t", number, max_bytes=1).error for number in range(RECORDS)]
        refused = [number for number, error in enumerate(errors) if error == KAFKA_STORAGE_ERROR]
        self.assertEqual(errors.count(NONE) + len(refused), RECORDS, errors)
        self.assertTrue(1 <= len(refused) <= most, refused)
        self.assertEqual(refused, [*range(refused[0], refused[-1] + 1)])
        behind = refused[-1] + 1
        values, said = self.kcat(behind)
        self.assertEqual(values, [value_of(number) for number in range(behind, RECORDS)], said)
        self.assertEqual(self.broker.log().count(f"{self.path} is damaged"), 1)
        self.assertIn(f"offsets {refused[0]} up to {refused[-1]} cannot be read", self.broker.log())

    def test_flipped_bit(self):
        self.spoil(BLOCK + 40000)
        self.judge(most=3)

    def test_zeroed_block(self):
        self.spoil(8 * BLOCK, bytes(BLOCK))
        self.judge(most=4)

    def test_blocks_of_another_place(self):
        with open(self.path, "rb") as file:
            file.seek(5 * BLOCK)
            other = file.read(BLOCK)
        self.spoil(9 * BLOCK, other)
        self.judge(most=4)


if __name__ == "__main__":
    script.main()
