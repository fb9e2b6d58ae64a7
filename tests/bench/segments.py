# SPDX-License-Identifier: Apache-2.0
"""What segment files hold, from their frame headers alone (docs/disk-format.md)."""
import glob
import os
import struct

BLOCK = 4096
FRAME_MAGIC = 0x4657
FRAME = struct.Struct("<HHII")  # magic, kind, payload size, stored size
DATA = 1


def payload_of(path):
    """Bytes of record batches in a segment file."""
    total = 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = BLOCK
        while position + FRAME.size <= size:
            file.seek(position)
            magic, kind, payload, stored = FRAME.unpack(file.read(FRAME.size))
            if magic == FRAME_MAGIC and stored > 0:
                total += payload if kind == DATA else 0
                position += stored
            elif position % BLOCK:
                position += BLOCK - position % BLOCK  # a writer may begin a new block
            else:
                break
    return total


class Usage:
    """Of one topic: payload, bytes of all files, and the same of sealed segments alone."""

    def __init__(self, directory, topic):
        self.payload = self.sealed_payload = self.sealed_bytes = self.sealed = 0
        for partition in glob.glob(os.path.join(directory, "topics", topic, "*-*")):
            segments = sorted(glob.glob(os.path.join(partition, "*.log")))
            for path in segments:
                payload = payload_of(path)
                self.payload += payload
                if path != segments[-1]:
                    self.sealed += 1
                    self.sealed_payload += payload
                    self.sealed_bytes += os.stat(path).st_size

    def sealed_ratio(self):
        return self.sealed_bytes / self.sealed_payload if self.sealed_payload else None
