#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes record_batches.txt: batches that kafka-python built, and the records it put into them.

Run by hand, only to add cases, with kafka-python 2.0.2, python-snappy, lz4 and zstandard installed:

    ./make_record_batches.py > record_batches.txt

The format, which tests/foreign/print_record_batches.c writes too:

    batch NAME                              opens a batch
    hex DIGITS                              its bytes
    record TIMESTAMP KEY VALUE [KEY VALUE]  one record and its headers, in the order of offsets from 0

A key or value is "-" for null, "." for empty, or hexadecimal digits, with "*N" behind them when
they are repeated N times.
"""
import struct
import zlib

import kafka.codec
import snappy
import zstandard
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

HEADER_SIZE = 61
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

# A value is None, or (bytes, repetitions).
FEW = [
    (1700000000000, (b"key", 1), (b"value", 1), []),
    (1700000000500, None, (b"no key", 1), []),
    (1699999999000, (b"earlier than the first", 1), None, []),
    (1700000000000, (b"", 1), (b"", 1), [("name", (b"Weir", 1)), ("empty", (b"", 1)), ("null", None)]),
    (1700000086400, ("Schlüssel".encode(), 1), (bytes(range(256)), 1), [("ключ", (b"\x00\xff", 1))]),
    (2**41, None, None, [("h%d" % i, (b"%d" % i, 1)) for i in range(70)]),
]
MANY = [(1600000000000 + i, (b"%05d" % i, 1), (b"abcdefgh", i % 40 + 1), []) for i in range(80)]
# More than one block of every codec that has blocks.
LARGE = [(i, None, (b"the same again, ", 5000 + i), []) for i in range(3)]
SETS = {"few": FEW, "many": MANY, "large": LARGE, "one": FEW[:1]}


def expand(value):
    return None if value is None else value[0] * value[1]


def show(value):
    if value is None:
        return "-"
    data, times = value
    if not data:
        return "."
    return data.hex() + ("*%d" % times if times > 1 else "")


def build(records, codec):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=False, producer_id=4000,
        producer_epoch=7, base_sequence=100, batch_size=1 << 24)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        builder.append(offset, timestamp=timestamp, key=expand(key), value=expand(value),
                       headers=[(name, expand(content)) for name, content in headers])
    return bytes(builder.build())


def repack(plain, codec, compress):
    """The same batch with its records compressed in another way."""
    body = compress(plain[HEADER_SIZE:])
    head = bytearray(plain[:HEADER_SIZE])
    struct.pack_into(">i", head, 8, HEADER_SIZE + len(body) - 12)
    struct.pack_into(">h", head, 21, codec)
    struct.pack_into(">I", head, 17, calc_crc32c(bytes(head[21:]) + body))
    return bytes(head) + body


def zstd_stream(data):
    """A frame of a writer that does not know the size beforehand, as Java's does not."""
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    return stream.compress(data) + stream.flush()


def gzip_fast(data):
    stream = zlib.compressobj(1, zlib.DEFLATED, 31)
    return stream.compress(data) + stream.flush()


def emit(name, batch, records):
    print("batch", name)
    print("hex", batch.hex())
    for timestamp, key, value, headers in records:
        fields = [str(timestamp), show(key), show(value)]
        for header, content in headers:
            fields += [header.encode().hex(), show(content)]
        print("record", *fields)


def main():
    print("# SPDX-License-Identifier: Apache-2.0")
    print("# Written by make_record_batches.py with kafka-python; do not edit.")
    for set_name, records in SETS.items():
        for codec_name, codec in CODECS.items():
            if set_name == "large" and codec_name == "none":
                continue
            emit("%s-%s" % (set_name, codec_name), build(records, codec), records)
        plain = build(records, 0)
        # What librdkafka sends: one raw block, no framing.
        emit(set_name + "-snappy-raw", repack(plain, 2, snappy.compress), records)
        emit(set_name + "-zstd-stream", repack(plain, 4, zstd_stream), records)
        emit(set_name + "-gzip-fast", repack(plain, 1, gzip_fast), records)
        emit(set_name + "-lz4-linked",
             repack(plain, 3, lambda data: kafka.codec.lz4.compress(data, store_size=False)),
             records)


if __name__ == "__main__":
    main()
