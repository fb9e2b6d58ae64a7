# SPDX-License-Identifier: Apache-2.0
"""`weir log verify` names every way in which files were spoilt, with file, bytes and offsets; what a
crash may leave is no finding."""
import os
import re
import shutil
import tempfile
import unittest

from harness import script
from harness.broker import Broker
from harness.damage import (RECORDS, SEGMENT, DataDirectory, SpoiltDirectories, flip, overwrite, read, swap,
                            value_of)
from harness.wire import NONE, batch, create, delete_records, produce, wait_until

HEADER = 64  # of a frame


class Verify(SpoiltDirectories):
    def assert_found(self, *expected, notes=None):
        """Each of `expected`: kind, file or None, first offset or None, next offset or None."""
        findings, harmless = self.data.verify()
        found = [(f["kind"], f.get("first_offset"), f.get("next_offset")) for f in findings]
        self.assertEqual(found, [(kind, first, behind) for kind, _, first, behind in expected])
        for finding, (_, path, *_) in zip(findings, expected):
            self.assertEqual(finding["file"], self.data.below(path))
            self.assertEqual((finding["topic"], finding["partition"]), ("t", 0))
        if notes is not None:
            self.assertEqual([note["kind"] for note in harmless], notes)
        return findings

    def test_directories_of_a_broker_are_sound(self):
        for original in (self.killed, self.stopped):
            self.data = original
            for options in ((), ("--records",), ("--threads", "1"), ("--topic", "t")):
                with self.subTest(data=original.path, options=options):
                    self.assertEqual(original.verify(*options)[0], [])

    def test_text_names_file_bytes_offsets_and_what_to_do(self):
        self.take(self.killed)
        path, frame = self.frame_of(8)
        flip(path, frame["position"] + 1000)
        code, out, err = self.data.weir("verify", self.data.path)
        self.assertEqual((code, err), (1, ""))
        line = out.splitlines()[0]
        first, last = frame["base_offset"], frame["next_offset"] - 1
        for part in ("damaged-range", self.data.below(path), f"bytes {frame['position'] + HEADER} up to ",
                     f"offsets {first} up to {last}", "KAFKA_STORAGE_ERROR", "--drop-range"):
            self.assertIn(part, line)
        self.assertIn("1 finding", out.splitlines()[-1])

    def test_flipped_bits_anywhere_in_a_frame(self):
        for at in (0, 9, 20, 63, 64, 100, 2000):
            with self.subTest(at=at):
                self.take(self.killed)
                path, frame = self.frame_of(8)
                flip(path, frame["position"] + at)
                (finding,) = self.assert_found(
                    ("damaged-range", path, frame["base_offset"], frame["next_offset"]))
                self.assertEqual(finding["from_byte"],
                                 frame["position"] + (HEADER if at >= HEADER else 0))

    def test_zeroed_block(self):
        self.take(self.killed)
        path, frame = self.frame_of(8)
        overwrite(path, frame["position"], bytes(frame["stored_size"]))
        (finding,) = self.assert_found(
            ("damaged-range", path, frame["base_offset"], frame["next_offset"]))
        self.assertIn("zeros", finding["what"])

    def test_stale_bytes(self):
        """A sound frame of the same file, where another one belongs."""
        self.take(self.killed)
        path, frame = self.frame_of(8)
        _, earlier = self.frame_of(frame["base_offset"] - 1)
        overwrite(path, frame["position"],
                  read(path, earlier["position"], min(earlier["stored_size"], frame["stored_size"])))
        self.assert_found(("damaged-range", path, frame["base_offset"], frame["next_offset"]))

    def test_two_ranges_of_one_file(self):
        self.take(self.killed)
        path, one = self.frame_of(8)
        other_path, other = self.frame_of(10)
        self.assertEqual(path, other_path)
        self.assertNotEqual(one["position"], other["position"])
        flip(path, one["position"] + 100)
        flip(path, other["position"] + 100)
        self.assert_found(("damaged-range", path, one["base_offset"], one["next_offset"]),
                          ("damaged-range", path, other["base_offset"], other["next_offset"]))

    def test_truncated_segment(self):
        self.take(self.killed)
        path = self.logs[1]
        last = self.data.frames(path)[-1]
        os.truncate(path, last["position"] + 100)
        self.assert_found(("damaged-range", path, last["base_offset"], last["next_offset"]))

    def test_truncated_segment_without_index(self):
        self.take(self.killed)
        path = self.logs[1]
        last = self.data.frames(path)[-1]
        os.truncate(path, last["position"])
        os.unlink(self.data.files("t", "index")[1])
        self.assert_found(("missing-file", path, last["base_offset"], last["next_offset"]),
                          notes=["no-index"])

    def test_truncated_last_segment_after_a_stop(self):
        self.take(self.stopped)
        path = self.logs[-1]
        last = self.data.frames(path)[-1]
        os.truncate(path, last["position"])
        self.assert_found(("damaged-range", path, last["base_offset"], RECORDS))

    def test_missing_segment(self):
        for original in (self.killed, self.stopped):
            self.take(original)
            os.unlink(self.logs[1])
            self.assert_found(
                ("missing-file", self.logs[0], self.first_of(self.logs[1]), self.first_of(self.logs[2])),
                notes=["leftover"])

    def test_missing_last_segment(self):
        self.take(self.stopped)
        os.unlink(self.logs[-1])
        self.assert_found(
            ("lost-end", self.data.files("t", "index")[-1], self.first_of(self.logs[-1]), None))

    def test_emptied_last_segment(self):
        self.take(self.stopped)
        os.truncate(self.logs[-1], 0)
        kinds = [finding["kind"] for finding in self.data.verify()[0]]
        self.assertIn("lost-end", kinds)

    def test_header_of_the_last_segment(self):
        for original in (self.killed, self.stopped):
            self.take(original)
            flip(self.logs[-1], 100)
            self.assert_found(("lost-end", self.logs[-1], self.first_of(self.logs[-1]), None))

    def test_header_of_another_segment(self):
        self.take(self.killed)
        flip(self.logs[1], 3000)
        self.assert_found(
            ("damaged-file", self.logs[1], self.first_of(self.logs[1]), self.first_of(self.logs[2])))

    def test_swapped_segments(self):
        self.take(self.killed)
        swap(self.logs[0], self.logs[1])
        self.assert_found(("wrong-file", self.logs[0], 0, self.first_of(self.logs[1])),
                          ("wrong-file", self.logs[1], self.first_of(self.logs[1]),
                           self.first_of(self.logs[2])))

    def test_segment_of_another_log(self):
        self.take(self.killed)
        shutil.copy(self.data.files("other")[1], self.logs[1])
        findings, _ = self.data.verify()
        self.assertIn("wrong-file", [finding["kind"] for finding in findings])

    def test_another_format_version(self):
        self.take(self.killed)
        overwrite(self.logs[1], 8, b"\x09")
        self.assertNotEqual(self.data.verify()[0], [], "its checksum does not fit")

    def test_torn_end_is_no_finding(self):
        for spoil in ("flip", "truncate"):
            self.take(self.killed)
            path = self.logs[-1]
            last = self.data.frames(path)[-1]
            if spoil == "flip":
                flip(path, last["position"] + 500)
            else:
                os.truncate(path, last["position"] + 500)
            self.assert_found(notes=["torn-end"])

    def test_flip_in_the_last_frame_after_a_stop_is_damage(self):
        self.take(self.stopped)
        path = self.logs[-1]
        last = self.data.frames(path)[-1]
        flip(path, last["position"] + 500)
        self.assert_found(("damaged-range", path, last["base_offset"], RECORDS))

    def test_indexes(self):
        self.take(self.killed)
        indexes = self.data.files("t", "index")
        flip(indexes[0], 60)
        shutil.copy(indexes[2], indexes[1])
        os.unlink(indexes[2])
        self.assert_found(notes=["bad-index", "bad-index", "no-index"])
        files = [note["file"] for note in self.data.verify()[1]]
        self.assertEqual(files, [self.data.below(path) for path in indexes[:3]])

    def test_leftovers_and_strange_files(self):
        self.take(self.killed)
        directory = os.path.dirname(self.logs[0])
        shutil.copy(self.logs[1], self.logs[1] + ".cleaning")
        shutil.copy(self.data.files("t", "index")[1], self.data.files("t", "index")[1] + ".new")
        shutil.copytree(directory, os.path.dirname(directory) + "/1-AAAAAAAAAAAAAAAAAAAAAA.deleted")
        for name in ("notes.txt", "0.log", "00000000000000000003.log.bak"):
            with open(os.path.join(directory, name), "w") as file:
                file.write("not a log")
        findings, harmless = self.data.verify()
        self.assertEqual(findings, [])
        self.assertEqual(sorted(note["kind"] for note in harmless),
                         ["leftover"] * 3 + ["strange-file"] * 3)

    def test_damage_below_the_start_of_the_log_concerns_nobody(self):
        """A deleted range may still lie in the first segment."""
        self.take(self.killed)
        with Broker(directory=self.data.path) as broker:
            with broker.connect() as connection:
                self.assertEqual(delete_records(connection, "t", 6), (6, NONE))
            broker.kill()
        path, frame = self.frame_of(1)
        self.assertLessEqual(frame["next_offset"], 6)
        flip(path, frame["position"] + 100)
        self.assert_found()

    def test_lost_format(self):
        self.take(self.killed)
        os.unlink(os.path.join(self.data.path, "format"))
        (finding,) = self.data.verify()[0]
        self.assertEqual((finding["kind"], finding["file"]), ("bad-directory", "format"))

    def test_compacted_segments(self):
        with Broker(settings=["log.cleaner.backoff.ms=20"]) as broker:
            data = DataDirectory(broker.directory)
            with broker.connect() as connection:
                self.assertEqual(create(connection, "t", cleanup_policy="compact", segment_bytes=SEGMENT)[0],
                                 NONE)
                for number in range(100):
                    records = batch(value_of(number), key=b"%d" % (number % 7))
                    self.assertEqual(produce(connection, "t", records), (NONE, number))
            wait_until(lambda: any(self.cleaned(path, data) for path in data.files("t")), "compaction")
            broker.kill()
            self.assertEqual(data.verify("--records")[0], [])
            path = next(path for path in data.files("t") if self.cleaned(path, data))
            frame = next(frame for frame in data.frames(path) if frame["payload_size"] > 0)
            flip(path, frame["position"] + 100)
            (finding,) = data.verify()[0]
            self.assertEqual((finding["kind"], finding["first_offset"], finding["next_offset"]),
                             ("damaged-range", frame["base_offset"], frame["next_offset"]))

    def cleaned(self, path, data):
        return os.path.exists(path) and any(line.get("cleaned_to") for line in data.dump(path, "--frames"))

    def test_what_is_no_data_directory(self):
        empty = tempfile.mkdtemp(dir=self.scratch)
        for arguments, code in (((empty,), 2), ((empty + "/none",), 2), ((), 2),
                                ((self.killed.path, "--topic", "none"), 3),
                                ((self.killed.path, "--partition", "7", "--topic", "t"), 3)):
            done = self.killed.weir("verify", *arguments)
            self.assertEqual(done[0], code, done)
            self.assertEqual(done[2].count("\n"), 1, done)

    def test_the_documentation_lists_every_kind(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(f"{root}/docs/operating.md", encoding="utf-8") as file:
            table = re.search(r"<!-- kinds of findings -->(.*?)<!-- end -->", file.read(), re.S).group(1)
        listed = re.findall(r"^\| `(note: )?([a-z-]+)`", table, re.M)
        with open(f"{root}/storage/inspect_findings.c", encoding="utf-8") as file:
            rules = re.findall(r'\[INSPECT_\w+\] =\s*\{"([a-z-]+)",\s*(true|false)', file.read())
        self.assertGreater(len(rules), 15)
        self.assertEqual(sorted((kind, "true" if note else "false") for note, kind in listed),
                         sorted(rules))

    def test_beside_a_running_broker(self):
        with Broker() as broker:
            with broker.connect() as connection:
                self.assertEqual(create(connection, "t")[0], NONE)
                self.assertEqual(produce(connection, "t", batch(b"one")), (NONE, 0))
            data = DataDirectory(broker.directory)
            self.assertEqual(data.verify()[0], [])
            self.assertIn("A broker uses the directory", data.weir("verify", data.path)[1])


if __name__ == "__main__":
    script.main()
