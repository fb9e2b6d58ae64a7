# SPDX-License-Identifier: Apache-2.0
"""Kafka's own command line tools against the broker: tools.py BOOTSTRAP [CASE...]. They are what
kafka-topics.sh and its like start; CLASSPATH says where they are."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cases  # noqa: E402
from cases import COUNT, equal  # noqa: E402

BOOTSTRAP = sys.argv[1]


def tool(name, *arguments, data="", fails=False, flag="--bootstrap-server"):
    done = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "org.apache.kafka." + name, flag, BOOTSTRAP,
                           *arguments], input=data, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    if fails != (done.returncode != 0 or "Error while executing" in said or "Exception" in said):
        raise AssertionError(said[-300:])
    return said if fails else done.stdout


def topics(*arguments, **options):
    return tool("tools.TopicCommand", *arguments, **options)


class Tools:
    def create(self, name, partitions=1):
        topics("--create", "--topic", "tools-" + name, "--partitions", str(partitions))
        return "tools-" + name

    def produce(self, topic, count=COUNT, *properties):
        lines = "".join(f"line {i}\n" for i in range(count))
        arguments = []
        for text in properties:
            arguments += ["--command-property", text]
        tool("tools.ConsoleProducer", "--topic", topic, *arguments, data=lines)

    def consume(self, topic, count, *arguments):
        return tool("tools.consumer.ConsoleConsumer", "--topic", topic, "--partition", "0", "--offset",
                    "earliest", "--max-messages", str(count), "--timeout-ms", "20000", *arguments).splitlines()

    def offset(self, topic, time):
        return tool("tools.GetOffsetShell", "--topic", topic, "--time", str(time)).strip()

    def case_metadata(self):
        topic = self.create("metadata", 3)
        equal("PartitionCount: 3" in topics("--describe", "--topic", topic), True, "described")
        equal(topic in topics("--list").split(), True, "listed")

    def case_topic_create(self):
        topic = self.create("created")
        equal("exists already" in topics("--create", "--topic", topic, fails=True), True, "refused")

    def case_topic_delete(self):
        topic = self.create("deleted")
        topics("--delete", "--topic", topic)
        equal(topic in topics("--list").split(), False, "listed")

    def case_partitions(self):
        topic = self.create("grown")
        topics("--alter", "--topic", topic, "--partitions", "3")
        equal("PartitionCount: 3" in topics("--describe", "--topic", topic), True, "described")

    def round_trip(self, name, *properties):
        topic = self.create(name)
        self.produce(topic, COUNT, *properties)
        equal(self.consume(topic, COUNT), [f"line {i}" for i in range(COUNT)], "lines")

    def case_offsets(self):
        topic = self.create("offsets")
        self.produce(topic, 100)
        equal(self.offset(topic, "earliest"), topic + ":0:0", "earliest")
        equal(self.offset(topic, "latest"), topic + ":0:100", "latest")

    def case_offsets_by_time(self):
        topic = self.create("by-time")
        self.produce(topic, 100)
        equal(self.offset(topic, 1), topic + ":0:0", "the offset of a time")

    def case_delete_records(self):
        topic = self.create("delete-records")
        self.produce(topic, 100)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 30}]}, file)
            file.flush()
            tool("tools.DeleteRecordsCommand", "--offset-json-file", file.name)
        equal(self.offset(topic, "earliest"), topic + ":0:30", "earliest")

    def case_bad_topic(self):
        equal("letters, digits" in topics("--create", "--topic", "a/b", fails=True), True, "refused")


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    setattr(Tools, "case_codec_" + codec, lambda self, codec=codec: self.round_trip(
        "codec-" + codec, "compression.type=" + codec))

if __name__ == "__main__":
    cases.run(Tools())
