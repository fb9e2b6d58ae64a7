# SPDX-License-Identifier: Apache-2.0
"""Debian's librdkafka from C: see librdkafka_client.c."""
import os
import subprocess
import unittest

from harness import script
from harness.broker import Broker


class Librdkafka(unittest.TestCase):
    def run_client(self, shards):
        client = os.path.join(os.environ["WEIR_BUILD"], "tests", "foreign", "librdkafka_client")
        with Broker(shards=shards, settings=["message.max.bytes=5000000"]) as broker:
            done = subprocess.run([client, broker.address], capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr[-4000:])

    def test_one_shard(self):
        self.run_client(1)

    def test_two_shards(self):
        self.run_client(2)


if __name__ == "__main__":
    script.main()
