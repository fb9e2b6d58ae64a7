# SPDX-License-Identifier: Apache-2.0
"""Figures from the kernel: processors, devices, memory."""
import os
import platform
import subprocess
import time


class Failure(Exception):
    """A program that a measurement runs has failed."""


TICK = os.sysconf("SC_CLK_TCK")
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of the kernel's numbers of processes' clocks
CLOCK, TICKS = "nanoseconds, from the kernel's clock of each process", f"ticks of {1000 // TICK} ms, from /proc"


def stat_fields(pid):
    """The fields of /proc/PID/stat after the name, from the state on; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def clock_of(pid):
    """What clock_getcpuclockid gives: all that a process has used, in nanoseconds."""
    return (~pid << 3) | PROCESS_CLOCK


def process_cpu_seconds(pid):
    """What all threads of a process have used so far, kernel work and those that have ended included,
    and its children that it has waited for (these in ticks). 0 when it is gone."""
    fields = stat_fields(pid)
    if not fields:
        return 0
    children = sum(int(field) for field in fields[13:15]) / TICK
    try:
        return time.clock_gettime(clock_of(pid)) + children
    except OSError:
        return sum(int(field) for field in fields[11:13]) / TICK + children


def cpu_source():
    """How processor time is counted here."""
    try:
        time.clock_gettime(clock_of(os.getpid()))
    except OSError:
        return TICKS
    return CLOCK


def cpu_seconds(process):
    """The same of a subprocess."""
    return process_cpu_seconds(process.pid)


def behind_all_others(command):
    """The command, with what processor time the others leave. Where the kernel shares the processors among
    sessions first (sched_autogroup_enabled), nice counts within a session only: it gets one of its own, last
    among them. The process keeps its number; it must not lead a group of processes."""
    script = 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"'
    return ["setsid", "sh", "-c", script, "sh", *command]


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


def process_read(process):
    """Bytes that were read from storage for the process."""
    with open(f"/proc/{process.pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))


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
