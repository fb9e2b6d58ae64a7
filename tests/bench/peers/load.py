# SPDX-License-Identifier: Apache-2.0
"""The state of the machine before a measurement: who else is busy, what lies in the page cache."""
import os
import sys
import time

SAMPLE_S = 0.5
WAIT_S = 120
QUIET = 0.08  # of all processors
DROP_CACHES = "/proc/sys/vm/drop_caches"


def busy_share(seconds=SAMPLE_S):
    """The share of the processors' time that somebody used, stolen time included, over so long."""
    before = processor_times()
    time.sleep(seconds)
    after = processor_times()
    spent = [b - a for a, b in zip(before, after)]
    idle = spent[3] + spent[4]
    return 1 - idle / max(sum(spent), 1)


def processor_times():
    with open("/proc/stat") as file:
        return [int(word) for word in file.readline().split()[1:9]]


def settle(wait):
    """Writes out what is dirty and waits, if it is to, until nobody else is busy. Returns the share
    that was busy at last; a measurement that begins above QUIET is marked in the report."""
    os.sync()
    share = busy_share()
    deadline = time.monotonic() + WAIT_S
    while wait and share > QUIET and time.monotonic() < deadline:
        print(f"waiting: {share * 100:.0f} % busy", file=sys.stderr)
        time.sleep(2)
        share = busy_share()
    return share


def drop_caches(directory):
    """Removes what lies below the directory from the page cache; all of the cache where that is
    permitted. What is dirty is written out first, as only clean pages can go."""
    os.sync()
    try:
        with open(DROP_CACHES, "w") as file:
            file.write("3\n")
        return
    except OSError:
        pass
    drop_files(directory)


def drop_files(directory):
    """The same, but only what is clean, and nothing else of the cache: for when somebody is being measured
    meanwhile, whom a sync and a search through all of the kernel's caches would hold up."""
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
