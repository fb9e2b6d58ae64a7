# SPDX-License-Identifier: Apache-2.0
"""Writes what a run found into docs/compatibility.md, between two marks."""
import os

import install

PAGE = os.path.join(install.ROOT, "docs", "compatibility.md")
BEGIN = "<!-- ./dev compat --document -->"
END = "<!-- end -->"


def merged(results, client, case):
    """The outcome with every number of shards; the worst where they differ."""
    found = [outcomes[case][0] for (who, _), outcomes in results.items() if who == client]
    return next((word for word in ("fail", "later", "absent") if word in found), "ok")


def write(results, cases):
    clients = list(dict.fromkeys(client for client, _ in results))
    lines = ["| | " + " | ".join(clients) + " |", "|---" * (len(clients) + 1) + "|",
             "| version | " + " | ".join(install.version(client) for client in clients) + " |"]
    symbols = {"ok": "ok", "absent": "–", "later": "later", "fail": "**no**"}
    for case in cases:
        row = [symbols[merged(results, client, case)] for client in clients]
        lines.append(f"| {case} | " + " | ".join(row) + " |")
    with open(PAGE) as file:
        page = file.read()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    with open(PAGE, "w") as file:
        file.write(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
