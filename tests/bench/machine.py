# SPDX-License-Identifier: Apache-2.0
"""Figures from the kernel: processors, devices, memory."""
import glob
import os
import platform
import subprocess


class Failure(Exception):
    """A program that a measurement runs has failed."""


def cpu_seconds(process):
    """What all threads of the process have used so far, kernel work included."""
    total = 0
    for path in glob.glob(f"/proc/{process.pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e9


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


def filesystem(path):
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def system():
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs ({cpu_name()})"


def process_written(process):
    """Bytes that the process has caused to be written to storage; readable until it is waited for."""
    with open(f"/proc/{process.pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))


def device_written(directory):
    """Bytes written to the device under a directory, by everybody, file system included; or None."""
    number = os.stat(directory).st_dev
    path = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat"
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return int(file.read().split()[6]) * 512


def resident_bytes(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))
