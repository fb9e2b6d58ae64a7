#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/request/: seeds for fuzz_request.c, from the golden bytes of the foreign codec.

For each API its oldest and newest request and response. fuzz_request.c explains the first bytes.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "foreign", "golden", "golden-3.0.12.txt")
sys.path.insert(0, os.path.join(HERE, "..", "..", "protocol", "gen"))
import generate  # noqa: E402  (the parser of our schemas)


def main():
    target = os.path.join(HERE, "corpus", "request")
    os.makedirs(target, exist_ok=True)
    apis = {}
    with open(GOLDEN, encoding="ascii") as file:
        for line in file:
            if line.startswith("#"):
                continue
            name, kind, version, data, _ = line.split(" ", 4)
            if name not in apis:
                schema = os.path.join(HERE, "..", "..", "protocol", "schema", name + ".txt")
                apis[name] = generate.Api(schema)
            api, version = apis[name], int(version)
            if version not in (api.versions.first, api.versions.last):
                continue
            tags = b"\0" if version >= api.flexible else b""
            if kind == "request":
                header = bytes.fromhex("00000007") + b"\0\4fuzz" + tags
            else:
                header = bytes.fromhex("00000007") + (b"" if api.name == "ApiVersions" else tags)
            head = bytes((api.key, version, 1 if kind == "response" else 0))
            with open(os.path.join(target, f"{name}-{kind}-{version}"), "wb") as seed:
                seed.write(head + header + bytes.fromhex(data))


if __name__ == "__main__":
    main()
