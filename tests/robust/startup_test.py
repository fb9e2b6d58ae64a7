# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping: the directory, the settings, the signals."""
import os
import shutil
import subprocess
import tempfile
import unittest

from kafka import TopicPartition

from harness import script
from harness.broker import PATIENCE_S, Broker, binary
from harness.kafka_python import KafkaConsumer, KafkaProducer


class Startup(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def run_broker(self, *arguments, wrap=()):
        """A start that must fail: one clear line, no crash."""
        done = subprocess.run([*wrap, binary("weir-broker"), *arguments], capture_output=True,
                              timeout=PATIENCE_S)
        self.assertGreater(done.returncode, 0, done)
        self.assertLess(done.returncode, 128, done.stderr.decode(errors="replace"))
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        self.assertTrue(lines, "no word on why")
        return lines[-1]

    def arguments(self, *more):
        return ["--data-dir", self.directory, "--listen", "127.0.0.1:0", *more]

    def test_second_broker_on_the_same_directory(self):
        with Broker(directory=self.directory):
            line = self.run_broker(*self.arguments())
            self.assertIn(self.directory, line)

    def test_address_in_use(self):
        with Broker() as other:
            line = self.run_broker("--data-dir", self.directory, "--listen", other.address)
            self.assertIn(str(other.port), line)

    def test_unknown_settings_are_refused(self):
        line = self.run_broker(*self.arguments("--set", "log.retention.mss=5"))
        self.assertIn("log.retention.mss", line)

    def test_impossible_settings_are_refused(self):
        for setting in ("num.partitions=0", "num.partitions=many", "log.segment.bytes=-5",
                        "message.max.bytes=99999999999999999999", "auto.create.topics.enable=perhaps"):
            with self.subTest(setting=setting):
                self.assertIn(setting.split("=")[0], self.run_broker(*self.arguments("--set", setting)))

    def test_unknown_options_are_refused(self):
        self.assertIn("--nonsense", self.run_broker("--nonsense"))

    def test_configuration_file(self):
        path = os.path.join(self.directory, "weir.properties")
        data = os.path.join(self.directory, "data")
        with open(path, "w") as file:
            file.write(f"# a comment\n\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs={data}\nnum.partitions=7\n")
        process = subprocess.Popen([binary("weir-broker"), "--config", path], stderr=subprocess.PIPE, text=True)
        try:
            line = next(line for line in process.stderr if "ready" in line)
            self.assertIn(data, line)
            port = line.split(" on ")[1].split(",")[0].split(":")[1]
            consumer = KafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}")
            producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}")
            self.assertEqual(len(producer.partitions_for("seven")), 7)
            producer.close()
            consumer.close()
        finally:
            process.terminate()
            self.assertEqual(process.wait(PATIENCE_S), 0)
            process.stderr.close()

    def test_mistake_in_the_configuration_file_names_the_line(self):
        path = os.path.join(self.directory, "weir.properties")
        with open(path, "w") as file:
            file.write("num.partitions=3\nlog.segment.bytes=tiny\n")
        line = self.run_broker("--config", path, *self.arguments())
        self.assertIn("2", line)
        self.assertIn("log.segment.bytes", line)

    def test_newer_format_is_refused_by_name(self):
        with Broker(directory=self.directory) as broker:
            self.assertEqual(broker.stop(), 0)
        path = os.path.join(self.directory, "format")
        with open(path) as file:
            text = file.read()
        newer = "".join("999" if c.isdigit() else c for c in text)
        self.assertNotEqual(text, newer)
        with open(path, "w") as file:
            file.write(newer)
        self.assertIn("format", self.run_broker(*self.arguments()))

    def test_directory_that_cannot_be_written(self):
        line = self.run_broker("--data-dir", "/proc/weir", "--listen", "127.0.0.1:0")
        self.assertIn("/proc/weir", line)

    def test_read_only_file_system(self):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
            self.skipTest("mounts of its own need root, and no chroot")
        script = f"mount -t tmpfs -o ro tmpfs {self.directory} && exec \"$@\""
        line = self.run_broker(*self.arguments(), wrap=["unshare", "-m", "sh", "-c", script, "sh"])
        self.assertIn(self.directory, line)

    def test_the_data_is_for_the_brokers_user_and_group_only(self):
        """Also when the directory was made by somebody with a less careful umask."""
        os.chmod(self.directory, 0o755)
        with Broker(directory=self.directory) as broker:
            producer = KafkaProducer(bootstrap_servers=broker.address)
            producer.send("secrets", b"hush").get(PATIENCE_S)
            producer.close()
            broker.stop()
            for root, directories, files in os.walk(self.directory):
                for name in directories + files:
                    path = os.path.join(root, name)
                    self.assertEqual(os.stat(path).st_mode & 0o007, 0, path)

    def test_topics_without_metadata_are_not_overlooked(self):
        """Their records are there, so an empty broker would be a lie. Nothing is changed."""
        metadata = os.path.join(self.directory, "topics", "__weir_metadata")
        aside = os.path.join(self.directory, "aside")
        with Broker(directory=self.directory) as broker:
            producer = KafkaProducer(bootstrap_servers=broker.address)
            producer.send("orders", b"1").get(PATIENCE_S)
            producer.close()
            broker.kill()
        shutil.move(metadata, aside)
        line = self.run_broker(*self.arguments())
        self.assertIn("__weir_metadata", line)
        self.assertIn("orders", line)
        # By now the first start has noted as damage what only the lost segment had.
        line = self.run_broker(*self.arguments())
        self.assertIn("__weir_metadata", line)
        shutil.rmtree(metadata, True)
        shutil.move(aside, metadata)
        with Broker(directory=self.directory) as broker:
            consumer = KafkaConsumer("orders", bootstrap_servers=broker.address,
                                     auto_offset_reset="earliest", consumer_timeout_ms=1000 * PATIENCE_S)
            self.assertEqual(next(consumer).value, b"1")
            consumer.close()

    def test_clean_stop_leaves_a_mark_and_everything_readable(self):
        with Broker(directory=self.directory) as broker:
            producer = KafkaProducer(bootstrap_servers=broker.address)
            sent = [producer.send("kept", b"%d" % i, partition=0) for i in range(500)]
            producer.flush()
            self.assertEqual([future.get(PATIENCE_S).offset for future in sent], list(range(500)))
            producer.close()
            self.assertEqual(broker.stop(), 0)
            self.assertTrue(os.path.exists(os.path.join(self.directory, "clean")))
            broker.start()
            self.assertFalse(os.path.exists(os.path.join(self.directory, "clean")))
            consumer = KafkaConsumer(bootstrap_servers=broker.address)
            where = TopicPartition("kept", 0)
            consumer.assign([where])
            self.assertEqual(consumer.end_offsets([where])[where], 500)
            consumer.close()

    def test_failed_start_leaves_the_mark_of_the_clean_stop(self):
        with Broker(directory=self.directory) as broker:
            self.assertEqual(broker.stop(), 0)
        with Broker() as other:
            line = self.run_broker("--data-dir", self.directory, "--listen", other.address)
            self.assertIn("Address already in use", line)
        with Broker(directory=self.directory) as broker:
            self.assertNotIn("did not end in order", broker.log())

    def test_stop_under_load_keeps_what_was_acknowledged(self):
        with Broker(directory=self.directory, shards=2) as broker:
            producer = KafkaProducer(bootstrap_servers=broker.address, retries=0, acks="all")
            sent = [producer.send("load", b"%d" % i, partition=0) for i in range(20000)]
            sent[1000].get(PATIENCE_S)
            self.assertEqual(broker.stop(), 0)
            producer.close(timeout=1)  # gives up what has not been sent
            acknowledged = []
            for future in sent:
                try:
                    acknowledged.append(future.get(PATIENCE_S).offset)
                except Exception:  # noqa: BLE001 - whatever kafka-python says of a lost connection
                    pass
            broker.start()
            consumer = KafkaConsumer(bootstrap_servers=broker.address)
            where = TopicPartition("load", 0)
            consumer.assign([where])
            self.assertGreater(consumer.end_offsets([where])[where], max(acknowledged))
            consumer.close()

    def test_more_and_fewer_shards_after_a_restart(self):
        with Broker(directory=self.directory, shards=1, settings=["num.partitions=8"]) as broker:
            for shards in (2, 1, 2):
                producer = KafkaProducer(bootstrap_servers=broker.address)
                for partition in range(8):
                    producer.send("moving", b"x", partition=partition).get(PATIENCE_S)
                producer.close()
                self.assertEqual(broker.stop(), 0)
                broker.shards = shards
                broker.start()
            consumer = KafkaConsumer(bootstrap_servers=broker.address)
            wheres = [TopicPartition("moving", partition) for partition in range(8)]
            self.assertEqual(set(consumer.end_offsets(wheres).values()), {3})
            consumer.close()


if __name__ == "__main__":
    script.main()
