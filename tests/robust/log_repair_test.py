# SPDX-License-Identifier: Apache-2.0
"""`weir log repair` does what it is told, after saying so; then nothing is wrong any more, and a broker
serves everything that was not given up."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import script
from harness.broker import PATIENCE_S, Broker, binary
from harness.damage import RECORDS, SpoiltDirectories, flip, overwrite, swap, value_of
from harness.wire import EARLIEST, LATEST, NONE, batch, fetch, offset_at, produce


class Repair(SpoiltDirectories):
    def offsets_of(self, frame):
        return [*range(frame["base_offset"], frame["next_offset"])]

    def image(self):
        """Every byte of the directory."""
        image = {}
        for directory, _, names in os.walk(self.data.path):
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    image[os.path.join(directory, name)] = file.read()
        return image

    def repair(self, *options, says=()):
        """Says what it would do and changes nothing; then does it, and nothing is wrong."""
        before = self.image()
        code, out, err = self.data.weir("repair", self.data.path, *options)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("Nothing was changed", out)
        self.assertEqual(self.image(), before, "without --yes it only looks")
        for part in says:
            self.assertIn(part, out)
        code, out, err = self.data.weir("repair", self.data.path, *options, "--yes")
        self.assertEqual((code, err), (0, ""), out)
        findings, notes = self.data.verify("--records")
        self.assertEqual((findings, {note["kind"] for note in notes} - {"no-index", "bad-index"}), ([], set()))
        again = self.data.weir("repair", self.data.path, *options)
        self.assertEqual((again[0], again[1]), (0, "Nothing to do.\n"))

    def assert_served(self, lost, end=RECORDS, start=0):
        """Twice, because the first start settles what the repair has left."""
        lost = set(lost)
        with Broker(directory=self.data.path) as broker:
            for round_number in range(2):
                with broker.connect() as connection:
                    self.assertEqual(offset_at(connection, "t", EARLIEST), (NONE, start))
                    self.assertEqual(offset_at(connection, "t", LATEST), (NONE, end + round_number))
                    for number in range(start, end):
                        self.assert_record(connection, number, lost)
                    self.assertEqual(self.consumed(broker)[:end - start - len(lost)],
                                     [n for n in range(start, end) if n not in lost])
                    self.assertEqual(produce(connection, "t", batch(b"new")),
                                     (NONE, end + round_number))
                    for number in range(RECORDS):
                        self.assertIn(value_of(number),
                                      fetch(connection, "other", number, max_bytes=1).records)
                self.assertIsNone(re.search(r"is damaged| lost|[1-9]\d* damaged ranges", broker.log()))
                (broker.kill if round_number == 0 else broker.stop)()
                self.assertEqual(self.data.verify()[0], [])
                broker.start()
            broker.stop()

    def assert_record(self, connection, number, lost):
        got = fetch(connection, "t", number, max_bytes=1)
        self.assertEqual(got.error, NONE, number)
        self.assertNotEqual(got.records, b"", f"a consumer at {number} would get nowhere")
        if number not in lost:
            self.assertIn(value_of(number), got.records)

    def consumed(self, broker):
        done = subprocess.run([binary("weir"), "-b", broker.address, "consume", "t", "--until-end",
                               "--format", "%o\n"], capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return [int(line) for line in done.stdout.split()]

    # --- damage inside

    def test_flipped_bit(self):
        self.take(self.killed)
        path, frame = self.frame_of(8)
        flip(path, frame["position"] + 500)
        first, last = frame["base_offset"], frame["next_offset"] - 1
        self.repair("--drop-range", says=[f"rewrite {self.data.below(path)}",
                                          f"offsets {first} up to {last} is given up"])
        self.assert_served(self.offsets_of(frame))

    def test_two_ranges_of_a_stopped_broker(self):
        self.take(self.stopped)
        path, one = self.frame_of(8)
        _, other = self.frame_of(11)
        overwrite(path, one["position"], bytes(one["stored_size"]))
        flip(path, other["position"] + 8)
        self.repair("--drop-range")
        self.assert_served(self.offsets_of(one) + self.offsets_of(other))

    def test_first_and_last_frame_of_the_active_segment(self):
        for offset in (RECORDS - 1, None):
            with self.subTest(offset=offset):
                self.take(self.stopped)
                path, frame = self.frame_of(self.first_of(self.logs[-1]) if offset is None else offset)
                flip(path, frame["position"] + 70)
                self.repair("--drop-range")
                self.assert_served(self.offsets_of(frame))

    def test_truncated_segments(self):
        for which in (1, -1):
            with self.subTest(which=which):
                self.take(self.stopped)
                path = self.logs[which]
                frame = self.data.frames(path)[-2]
                behind = self.data.frames(path)[-1]
                os.truncate(path, frame["position"] + 100)
                self.repair("--drop-range")
                self.assert_served(self.offsets_of(frame) + self.offsets_of(behind))

    def test_truncated_without_an_index(self):
        self.take(self.killed)
        path = self.logs[1]
        frame = self.data.frames(path)[-1]
        os.truncate(path, frame["position"])
        os.unlink(self.data.files("t", "index")[1])
        self.repair("--drop-range")
        self.assert_served(self.offsets_of(frame))

    # --- whole files

    def lost_file(self, number):
        return [*range(self.first_of(self.logs[number]), self.first_of(self.logs[number + 1]))]

    def test_missing_segment(self):
        self.take(self.killed)
        os.unlink(self.logs[1])
        self.repair("--drop-range", "--leftovers")
        self.assert_served(self.lost_file(1))

    def test_garbled_headers(self):
        for number in (0, 1):
            with self.subTest(number=number):
                self.take(self.killed)
                flip(self.logs[number], 50)
                self.repair("--drop-range", says=[f"make {self.data.below(self.logs[number])}"])
                self.assert_served(self.lost_file(number))

    def test_swapped_segments(self):
        self.take(self.stopped)
        swap(self.logs[0], self.logs[1])
        self.repair("--drop-range", "--rebuild-indexes")
        self.assert_served(self.lost_file(0) + self.lost_file(1))

    def test_all_at_once(self):
        self.take(self.stopped)
        path, frame = self.frame_of(3)
        flip(path, frame["position"] + 500)
        flip(self.logs[1], 50)
        os.unlink(self.logs[2])
        flip(self.data.files("t", "index")[0], 60)
        self.repair("--drop-range", "--rebuild-indexes", "--leftovers")
        self.assert_served(self.offsets_of(frame) + self.lost_file(1) + self.lost_file(2))

    # --- the end

    def test_lost_ends(self):
        def unlink(path):
            os.unlink(path)

        def empty(path):
            os.truncate(path, 0)

        def garble(path):
            flip(path, 100)

        for original, spoil in ((self.stopped, unlink), (self.stopped, empty), (self.stopped, garble),
                                (self.killed, garble)):
            with self.subTest(original=original.path, spoil=spoil.__name__):
                self.take(original)
                end = self.first_of(self.logs[-1])
                spoil(self.logs[-1])
                self.repair("--truncate", says=[f"t-0 ends at {end}"])
                self.assert_served([], end=end)

    def test_everything_of_a_log_is_garbled(self):
        self.take(self.killed)
        for path in self.logs[1:]:
            os.unlink(path)
        for index in self.data.files("t", "index")[1:]:
            os.unlink(index)
        flip(self.logs[0], 100)
        self.repair("--truncate", "--rebuild-indexes", "--leftovers")
        self.assert_served([], end=0)

    # --- the rest

    def test_indexes(self):
        self.take(self.stopped)
        indexes = self.data.files("t", "index")
        flip(indexes[0], 60)
        shutil.copy(indexes[2], indexes[1])
        before = self.image()
        code, out, err = self.data.weir("repair", self.data.path, "--rebuild-indexes", "--yes")
        self.assertEqual((code, err), (0, ""), out)
        self.assertEqual({note["kind"] for note in self.data.verify()[1]}, {"no-index"})
        after = self.image()
        self.assertEqual({path: after[path] for path in self.logs},
                         {path: before[path] for path in self.logs})
        self.assert_served([])
        self.assertEqual(len(self.data.files("t", "index")), len(self.data.files("t")))

    def test_leftovers(self):
        self.take(self.killed)
        directory = os.path.dirname(self.logs[0])
        shutil.copy(self.logs[1], self.logs[1] + ".cleaning")
        shutil.copytree(directory, os.path.dirname(directory) + "/1-AAAAAAAAAAAAAAAAAAAAAA.deleted")
        self.repair("--leftovers")
        self.assert_served([])

    def test_only_what_it_is_told(self):
        self.take(self.killed)
        path, frame = self.frame_of(8)
        flip(path, frame["position"] + 500)
        other = self.data.files("other")[1]
        flip(other, self.data.frames(other)[0]["position"] + 500)
        code, out, _ = self.data.weir("repair", self.data.path, "--truncate", "--rebuild-indexes")
        self.assertEqual(code, 0)
        self.assertTrue(re.search(r"Nothing to do\. 2 findings need another option", out), out)
        code, out, _ = self.data.weir("repair", self.data.path, "--drop-range", "-t", "t", "--yes")
        self.assertEqual(code, 0)
        (finding,) = self.data.verify()[0]
        self.assertEqual(finding["file"], self.data.below(other))

    def test_refuses(self):
        empty = tempfile.mkdtemp(dir=self.scratch)
        self.take(self.killed)
        for arguments, code, says in (((self.data.path,), 2, "what to repair"),
                                      ((empty, "--truncate"), 2, "not the data directory"),
                                      ((empty + "/none", "--truncate"), 2, "not the data directory")):
            done = self.data.weir("repair", *arguments)
            self.assertEqual(done[0], code, done)
            self.assertIn(says, done[2])
        self.assertEqual(os.listdir(empty), [])
        with Broker(directory=self.data.path):
            done = self.data.weir("repair", self.data.path, "--drop-range", "--yes")
            self.assertEqual(done[0], 1)
            self.assertIn("a broker uses", done[2])


if __name__ == "__main__":
    script.main()
