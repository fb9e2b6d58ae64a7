#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/compact/: seeds for fuzz_compact.c, which explains the bytes in front. The compressed
batches are those of corpus/record_batch; checksums are made right by the target."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
RIGHT, KEEP, NO_DATE, LATER = 1, 2, 4, 8
CONTROL, DATED, APPEND_TIME = 32, 64, 8
NOW = 1700000000000


def varint(value):
    raw = (value << 1) ^ (value >> 63)
    out = b""
    while raw > 127:
        out += bytes([raw & 127 | 128])
        raw >>= 7
    return out + bytes([raw])


def text(data):
    return varint(-1) if data is None else varint(len(data)) + data


def batch(*records, attributes=0, base=NOW):
    """Each record is (key, value); either may be None."""
    body = b""
    for i, (key, value) in enumerate(records):
        header = varint(1) + text(b"h") + text(value) if i % 3 == 2 else varint(0)
        record = b"\0" + varint(i * 10) + varint(i) + text(key) + text(value) + header
        body += varint(len(record)) + record
    count = len(records)
    return struct.pack(">qiibIhiqqqhii", 0, 49 + len(body), 3, 2, 0, attributes, count - 1, base,
                       base + (count - 1) * 10, 7, 0, 0, count) + body


def recorded(name):
    with open(os.path.join(HERE, "corpus", "record_batch", name), "rb") as file:
        return file.read()[1:]


def main():
    target = os.path.join(HERE, "corpus", "compact")
    os.makedirs(target, exist_ok=True)

    def put(name, options, keys_max, *batches):
        with open(os.path.join(target, name), "wb") as file:
            file.write(bytes([options, keys_max]))
            file.writelines(struct.pack("<H", len(one)) + one for one in batches)

    a, b, c = b"a", b"b", b"customer-c"
    mixed = batch((a, b"1"), (b, b"2"), (a, b"3"), (None, b"x"), (c, None))
    later = batch((a, None), (b, b"4"), (b"", b"5"))
    put("mixed", RIGHT, 0, mixed, later, mixed)
    put("mixed-keeps-places", RIGHT | KEEP, 0, mixed, later, batch((a, b"6"), (c, b"7")))
    put("dates", RIGHT, 0, batch((a, None), (b, None), attributes=DATED), batch((c, None), (b, b"1")))
    put("dates-passed", RIGHT | LATER, 0, batch((a, None), (b, b"1"), attributes=DATED), later)
    put("no-dates", RIGHT | NO_DATE, 0, mixed, later)
    put("append-time", RIGHT, 0, batch((a, b"1"), (b, None), attributes=APPEND_TIME), mixed)
    put("control", RIGHT, 0, mixed, batch((b"\0\0\0\1", b"\0\0"), attributes=CONTROL), mixed)
    put("small-map", RIGHT, 2, mixed, later, mixed)
    put("far-base", RIGHT, 0, batch((a, None), (b, None), base=-1), batch((a, b"1"), base=(1 << 63) - 100))
    put("empty", RIGHT | KEEP, 0, batch(), mixed, mixed)
    put("not-made-right", 0, 0, mixed, recorded("few-none"))
    put("codecs", RIGHT, 0, *map(recorded, ("few-gzip", "few-lz4", "few-snappy", "few-zstd", "few-none")))
    put("codecs-keep-places", RIGHT | KEEP, 0,
        *map(recorded, ("one-gzip", "few-lz4-linked", "few-snappy-raw", "few-zstd-stream", "one-none")))


if __name__ == "__main__":
    main()
