# SPDX-License-Identifier: Apache-2.0
"""Weir itself, as ./dev build makes it. It acknowledges only what is durable, so it is in one class."""
import subprocess

from harness.broker import binary
from peers.peer import Peer


class Weir(Peer):
    name, label, synced, protocol = "weir", "Weir", True, "kafka"
    ready = r"weir-broker ready on"

    def install(self):
        text = subprocess.run([binary("weir-broker"), "--version"], capture_output=True, text=True, check=True).stdout
        self.version = text.split()[1] if len(text.split()) > 1 else text.strip()

    def command(self):
        return [binary("weir-broker"), "--data-dir", self.data(), "--listen", self.address,
                "--shards", str(self.options.shards)]

    def settings(self):
        return f"as shipped, {self.options.shards} shard{'s' if self.options.shards > 1 else ''}"


def peers(options):
    return [Weir(options)]
