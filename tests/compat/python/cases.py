# SPDX-License-Identifier: Apache-2.0
"""What the programs of the Python clients have in common."""
import asyncio
import inspect
import os
import sys
import traceback

COUNT = 500
RESTART_COUNT = 2000
KILLS = (RESTART_COUNT // 4, RESTART_COUNT // 2, RESTART_COUNT * 3 // 4)


class Absent(Exception):
    """The client has no such call."""


def value(i):
    return b"record %d of many, all much alike and so good to compress" % i * 3


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what} is {got!r}, not {want!r}"[:400])


class refused:
    """A block that must end with one of these errors, and with `holds(error)` true."""

    def __init__(self, *errors, holds=lambda error: True):
        self.errors = errors
        self.holds = holds

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            raise AssertionError("not refused")
        return isinstance(error, self.errors) and self.holds(error)


def each_once(acknowledged, found):
    """Both {(partition, offset): ...}: every record is there once, in order, where it was said to be."""
    places = {(i % 2, i // 2): i for i in range(RESTART_COUNT)}
    equal(len(found), RESTART_COUNT, "records in the topic")
    equal([where for where, i in places.items() if found.get(where) != value(i)], [], "not in order")
    equal([where for where, i in places.items() if acknowledged.get(where) != i], [], "not as told")


def restart_now():
    print("restart-now", flush=True)


def say(name, outcome, reason=""):
    print(name, outcome, " ".join(str(reason).split())[:300], sep="\t", flush=True)


def settle(name, error):
    if error is None:
        say(name, "ok")
    elif isinstance(error, Absent):
        say(name, "absent", error)
    else:
        say(name, "fail", f"{type(error).__name__}: {error}")
        if os.environ.get("COMPAT_TRACE"):
            traceback.print_exception(error)


def absent():
    raise Absent("not asked of this client")


def names(client):
    """The cases of a client: its methods case_x_y, as x-y, in the order of cases.txt."""
    wanted = sys.argv[2:]
    with open(os.path.join(os.path.dirname(__file__), "..", "cases.txt")) as file:
        known = [line.split()[0] for line in file if line.strip() and not line.startswith("#")]
    for name in known:
        method = getattr(client, "case_" + name.replace("-", "_"), None)
        if not wanted or name in wanted:
            yield name, method or absent


def run(client):
    for name, method in names(client):
        try:
            method()
            settle(name, None)
        except Exception as error:
            settle(name, error)


async def run_async(client):
    for name, method in names(client):
        try:
            done = method()
            if inspect.isawaitable(done):
                await asyncio.wait_for(done, 60)
            settle(name, None)
        except Exception as error:
            settle(name, error)
