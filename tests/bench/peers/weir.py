# SPDX-License-Identifier: Apache-2.0
"""Weir itself, as ./dev build makes it. It acknowledges only what is durable, so it is in one class."""
import re
import subprocess

from harness.broker import binary
from peers.peer import Peer


IDLE_BYTES = 8000000  # what an idle broker may have


class Weir(Peer):
    name, label, synced, protocol = "weir", "Weir", True, "kafka"
    ready = r"weir-broker ready on"
    shards = None  # another number than the options'
    more = ()  # arguments

    def install(self):
        text = subprocess.run([binary("weir-broker"), "--version"], capture_output=True, text=True, check=True).stdout
        self.version = text.split()[1] if len(text.split()) > 1 else text.strip()

    def memory_budget(self):
        """weir.buffer.bytes, and what the process has when it is idle."""
        settings = subprocess.run([binary("weir-broker"), "--list-settings"], capture_output=True, text=True,
                                  check=True).stdout
        return int(re.search(r"weir\.buffer\.bytes\D*\|\D*(\d+)", settings).group(1)) + IDLE_BYTES

    def command(self):
        return [binary("weir-broker"), "--data-dir", self.data(), "--listen", self.address,
                "--shards", str(self.shards or self.options.shards), *self.more]

    def settings(self):
        return f"as shipped, {self.options.shards} shard{'s' if self.options.shards > 1 else ''}"


def peers(options):
    return [Weir(options)]
