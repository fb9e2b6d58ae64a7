# SPDX-License-Identifier: Apache-2.0
"""What was spoilt in the journal: `weir log verify` names it, a start saves what is sound, and `weir log
repair --discard-journal` gives up the rest as told."""
import os
import shutil
import tempfile
import unittest

from harness import script
from harness.broker import Broker
from harness.damage import DataDirectory, flip
from harness.wire import KAFKA_STORAGE_ERROR, LATEST, NONE, batch, create, fetch, offset_at, produce

TOPICS = ("a", "b", "c")
RECORDS = 10


class Journal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="weir-journal-")
        with Broker(directory=os.path.join(cls.scratch, "killed")) as broker:
            with broker.connect() as connection:
                for topic in TOPICS:
                    assert create(connection, topic)[0] == NONE
            assert broker.stop() == 0  # what the broker knows of them is in segments now
            broker.start()
            with broker.connect() as connection:
                for number in range(RECORDS):
                    for topic in TOPICS:
                        records = batch(b"%s-%d" % (topic.encode(), number))
                        assert produce(connection, topic, records) == (NONE, number)
            broker.kill()
        cls.killed = DataDirectory(broker.directory)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch)

    def setUp(self):
        path = os.path.join(self.scratch, self._testMethodName)
        self.data = self.killed.copy_to(path)
        self.commits = [(path, line) for path in self.data.journals()
                        for line in self.data.dump(path, "--frames") if line["kind"] == "commit"]
        if not self.commits:
            self.skipTest("nothing is journalled")

    def kinds(self):
        return {finding["kind"] for finding in self.data.verify()[0]}

    def start(self):
        broker = Broker(directory=self.data.path)
        self.addCleanup(broker.__exit__, None, None, None)
        broker.start()
        return broker

    def served(self, broker, topic):
        """How many records there are, each as it was produced."""
        with broker.connect() as connection:
            error, end = offset_at(connection, topic, LATEST)
            self.assertEqual(error, NONE)
            for number in range(min(end, RECORDS)):
                self.assertIn(b"%s-%d" % (topic.encode(), number),
                              fetch(connection, topic, number, max_bytes=1).records)
        return end

    def accepts(self, broker, topic):
        with broker.connect() as connection:
            return produce(connection, topic, batch(b"new"))[0]

    def test_what_a_kill_leaves_is_sound(self):
        self.assertEqual(self.kinds(), set())
        broker = self.start()
        for topic in TOPICS:
            self.assertEqual(self.served(broker, topic), RECORDS)
            self.assertEqual(self.accepts(broker, topic), NONE)

    def test_the_last_commit_is_torn(self):
        path, commit = self.commits[-1]
        flip(path, commit["position"] + 80)
        findings, notes = self.data.verify()
        self.assertEqual(findings, [])
        self.assertIn("torn-commit", [note["kind"] for note in notes])

    def test_a_commit_in_the_middle(self):
        path, commit = self.commits[len(self.commits) // 2]
        flip(path, commit["position"] + commit["stored_size"] - 4000)
        flip(path, commit["position"] + 8)
        self.assertIn("damaged-journal", self.kinds())
        broker = self.start()
        self.assertEqual(self.accepts(broker, "a"), NONE)

    def lose_the_journal(self):
        for path in self.data.journals():
            os.unlink(path)
        self.assertIn("missing-journal", self.kinds())
        self.assertIn("uncertain-end", self.kinds())

    def assert_repaired(self):
        code, out, err = self.data.weir("repair", self.data.path, "--discard-journal")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("give up a-0", out)
        self.assertIn("Nothing was changed", out)
        code, out, err = self.data.weir("repair", self.data.path, "--discard-journal", "--yes")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(self.kinds(), set())
        broker = self.start()
        for topic in TOPICS:
            end = self.served(broker, topic)
            with broker.connect() as connection:
                self.assertEqual(produce(connection, topic, batch(b"new")), (NONE, end))
                self.assertIn(b"new", fetch(connection, topic, end).records)
        self.assertEqual(broker.stop(), 0)
        self.assertEqual(self.kinds(), set())

    def test_a_lost_journal_is_given_up(self):
        self.lose_the_journal()
        self.assert_repaired()

    def test_a_lost_journal_is_given_up_after_a_start(self):
        self.lose_the_journal()
        broker = self.start()
        for topic in TOPICS:
            self.served(broker, topic)
            self.assertEqual(self.accepts(broker, topic), KAFKA_STORAGE_ERROR)
        self.assertEqual(broker.stop(), 0)
        self.assertEqual(self.kinds(), {"uncertain-end"})
        self.assert_repaired()


if __name__ == "__main__":
    script.main()
