#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads, with kafka-python, the batches that print_record_batches printed.

    print_record_batches | check_record_batches.py
    check_record_batches.py PRINT_RECORD_BATCHES

A codec is left out, with a word about it, when this machine has no Python module for it; plain and
gzip batches are always read.
"""
import subprocess
import sys

import kafka.codec
from kafka.record.default_records import DefaultRecordBatch

READABLE = {"none": True, "gzip": True, "snappy": kafka.codec.has_snappy(),
            "lz4": kafka.codec.has_lz4(), "zstd": kafka.codec.has_zstd()}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def parse_value(text):
    if text == "-":
        return None
    return b"" if text == "." else bytes.fromhex(text)


def parse(lines):
    batches = []
    for line in lines:
        word, *fields = line.split()
        if word == "batch":
            batches.append((fields[0], [], []))
        elif word == "hex":
            batches[-1][1].append(parse_value(fields[0]))
        elif word == "record":
            values = [parse_value(field) for field in fields[1:]]
            headers = [(key.decode(), value) for key, value in zip(values[2::2], values[3::2])]
            batches[-1][2].append((int(fields[0]), values[0], values[1], headers))
    return [(name, data[0], records) for name, data, records in batches]


def check(name, data, records):
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc(), "%s: checksum" % name
    assert batch.compression_type == CODECS.index(name.split("-")[1]), "%s: codec" % name
    got = list(batch)
    assert len(got) == len(records), "%s: %d records" % (name, len(got))
    for i, (record, want) in enumerate(zip(got, records)):
        seen = (record.timestamp, record.key, record.value, record.headers)
        assert record.offset == i and seen == want, "%s: record %d is %r" % (name, i, seen)


def main():
    if len(sys.argv) > 1:
        text = subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout
    else:
        text = sys.stdin.read()
    checked = 0
    for name, data, records in parse(text.splitlines()):
        if READABLE[name.split("-")[1]]:
            check(name, data, records)
            checked += 1
        else:
            print("not read, no Python module for the codec:", name)
    print("read as written: %d batches" % checked)
    return 0 if checked >= 4 else 1


if __name__ == "__main__":
    sys.exit(main())
