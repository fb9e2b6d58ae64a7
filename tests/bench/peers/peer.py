# SPDX-License-Identifier: Apache-2.0
"""What all brokers have in common here: a process of their own on loopback, started in a fresh
directory, whose processor time and memory the kernel accounts; and the programs that load them."""
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from machine import Failure, behind_all_others, process_cpu_seconds, stat_fields
from peers import install

READY_S = 90
STOP_S = 60
OUTPUT_SHOWN = 600
WORD_SHOWN = 60
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid):
    """The process and all that descend from it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, rest = [], [pid]
    while rest:
        parent = rest.pop()
        found.append(parent)
        rest += children.get(parent, [])
    return found


class Peer:
    """One broker, in one class: `synced` says whether an acknowledged message is durable by then.

    A subclass gives name, label, synced, protocol, and: install(), which sets version; command(),
    the broker's; ready, what its log says when it serves; settings(), for the report."""

    name = label = version = ready = None
    synced = False
    protocol = None
    share = 1.0  # of a work's messages: a slow broker does fewer, so that each measurement takes seconds
    environment = {}

    def __init__(self, options):
        self.options = options
        self.directory = self.log_path = self.process = None
        self.port = 0

    @property
    def key(self):
        return f"{self.name}-{'synced' if self.synced else 'unsynced'}"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix=f"peer-{self.name}-", dir=self.place())
        self.log_path = os.path.join(self.directory, "broker.log")
        os.mkdir(self.data())
        self.port = 0
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.kill()
        if not self.options.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def place(self):
        """Where data directories go: on the disk that is measured."""
        return self.options.dir

    def prepare(self):
        """Writes what the broker needs before its first start."""

    def after_start(self):
        """What has to be done once when it serves."""

    def start(self):
        """Returns the seconds until it was ready. A second start is one in the same directory."""
        if self.port == 0:
            self.port = free_port()
            self.prepare()
        begin = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        started = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **self.environment}, cwd=self.directory)
        while not re.search(self.ready, self.log()[begin:]):
            if self.process.poll() is not None:
                raise Failure(f"{self.label} ended while it started: {self.log()[-OUTPUT_SHOWN:]}")
            if time.monotonic() - started > READY_S:
                raise Failure(f"{self.label} was not ready after {READY_S} s: {self.log()[-OUTPUT_SHOWN:]}")
            time.sleep(0.002)
        seconds = time.monotonic() - started
        self.after_start()
        return seconds

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def kill(self):
        """SIGKILL to the broker and all its processes."""
        if self.process is None or self.process.poll() is not None:
            return
        for pid in reversed(family(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(STOP_S)

    def wipe(self):
        """Makes its directory as it was before the first start."""
        shutil.rmtree(self.data())
        os.mkdir(self.data())
        self.prepare()

    def stop(self):
        """In order."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.label} had not stopped after {STOP_S} s") from error

    def cpu_seconds(self):
        """Of all threads of all its processes so far, those included that have ended."""
        return sum(process_cpu_seconds(pid) for pid in family(self.process.pid))

    def threads(self):
        """{thread: (seconds, times woken)} of the broker's own process, the kernel's helpers left out."""
        found = {}
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/status") as status, open(f"{tasks}/{task}/schedstat") as times:
                    about = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
                    if not about["Name"].startswith("iou-"):
                        found[task] = int(times.read().split()[0]) / 1e9, int(about["voluntary_ctxt_switches"])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def peak_memory(self):
        """The most resident bytes that its processes ever had, each by itself, since the start."""
        total = 0
        for pid in family(self.process.pid):
            try:
                with open(f"/proc/{pid}/status") as file:
                    total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def memory_budget(self):
        """What it is configured to use at most, in bytes; None when it has no such setting."""
        return None

    def memory(self):
        """Resident bytes of all its processes."""
        total = 0
        for pid in family(self.process.pid):
            try:
                with open(f"/proc/{pid}/statm") as file:
                    total += int(file.read().split()[1]) * resource.getpagesize()
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def data(self):
        """The directory with what it stores."""
        return os.path.join(self.directory, "data")


class Ended:
    """A client program that has ended: what it printed, and what it used."""

    def __init__(self, command, output, code, usage, seconds):
        self.command, self.output, self.code, self.seconds = command, output, code, seconds
        self.cpu = usage.ru_utime + usage.ru_stime

    def check(self):
        if self.code != 0:
            raise Failure(f"{shown(self.command)} ended with {self.code}: {self.output[-OUTPUT_SHOWN:]}")
        return self

    def find(self, pattern):
        """The groups of the last match as numbers."""
        matches = re.findall(pattern, self.output)
        if not matches:
            raise Failure(f"{shown(self.command)} printed no result: {self.output[-OUTPUT_SHOWN:]}")
        last = matches[-1]
        return [float(group.replace(",", "")) for group in (last if isinstance(last, tuple) else (last,))]


class Client:
    """A client program under way. Its processor time is what the kernel says when it is reaped."""

    def __init__(self, command, stdin=None, behind=False, env=None):
        self.command = command
        self.file = tempfile.TemporaryFile()
        self.started = time.monotonic()
        wrapped = behind_all_others(command) if behind else command
        self.process = subprocess.Popen(wrapped, stdin=stdin or subprocess.DEVNULL, stdout=self.file,
                                        stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        self.ended = None

    def running(self):
        return self.ended is None and self.reap(os.WNOHANG) is None

    def reap(self, flags):
        if self.ended is None:
            pid, status, usage = os.wait4(self.process.pid, flags)
            if pid != 0:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.file.seek(0)
                output = self.file.read().decode(errors="replace")
                self.file.close()
                self.ended = Ended(self.command, output, self.process.returncode, usage,
                                   time.monotonic() - self.started)
        return self.ended

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > deadline:
                self.kill()
                raise Failure(f"{shown(self.command)} had not ended after {timeout} s")
            time.sleep(0.002)
        return self.ended

    def kill(self):
        if self.running():
            self.process.kill()
            self.reap(0)


def run(*commands, timeout=600, env=None):
    """Runs programs beside each other. Returns what became of them, in order."""
    clients = []
    try:
        for command in commands:
            clients.append(Client(command, env=env))
        return [client.wait(timeout).check() for client in clients]
    finally:
        for client in clients:
            client.kill()


def shown(command):
    """A command line for people: without this machine's directories and ports, long values cut."""
    words = [os.path.basename(command[0]), *command[1:]]
    text = []
    for word in words:
        word = word.replace(install.CACHE + os.sep, "").replace(ROOT + os.sep, "")
        word = re.sub(r"(127\.0\.0\.1:)\d+", r"\1PORT", word)
        text.append(word if len(word) <= WORD_SHOWN else word[:WORD_SHOWN // 2] + "...")
    return shlex.join(text)
