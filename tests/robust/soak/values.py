# SPDX-License-Identifier: Apache-2.0
"""Values of the soak's records: who wrote it, the how-manieth it is, and a size that follows from
that. soak_client.c makes the same ones."""


def size_of(number):
    """Mostly small; some large enough that a commit takes the way of bulk data."""
    if number % 211 == 210:
        return 100000 + number % 7 * 30000
    return number * 37 % 1500


def value_of(name, number):
    head = b"%s %d " % (name, number)
    return head + b"x" * size_of(number)


def parse(value):
    """(name, number), or None unless every byte is as it was written."""
    parts = value.split(b" ", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        return None
    name, number = parts[0], int(parts[1])
    return (name, number) if value == value_of(name, number) else None
