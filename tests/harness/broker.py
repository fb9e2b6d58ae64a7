# SPDX-License-Identifier: Apache-2.0
"""Starts, kills and stops a weir-broker for the tests that drive it from outside."""
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

PATIENCE_S = 100  # for what happens at once, but on a machine that is busy with other things
READY = re.compile(r"weir-broker ready on (\S+):(\d+),")


def binary(name):
    build = os.environ["WEIR_BUILD"]
    return os.path.join(build, {"weir-broker": "broker", "weir": "tools"}.get(name, ""), name)


class Broker:
    """One broker on a directory of its own; as a context manager it cleans up after itself."""

    started = []  # those not yet cleaned up

    def __init__(self, shards=1, settings=(), directory=None, wrap=()):
        self.directory = directory or tempfile.mkdtemp(prefix="weir-test-")
        self.own_directory = directory is None
        self.shards = shards
        self.settings = list(settings)
        self.wrap = list(wrap)  # a command that becomes the broker's, such as prlimit
        self.port = 0
        self.reservation = None
        self.process = None
        self.log_path = os.path.join(self.directory + ".log")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.last_words())
        if self in Broker.started:
            Broker.started.remove(self)
        if self.process and self.process.poll() is None:
            self.kill()
        if self.reservation:
            self.reservation.close()
            self.reservation = None
        if os.path.exists(self.log_path):
            os.unlink(self.log_path)
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def reserve_port(self):
        """The port stays ours while no broker listens: another test's broker could be given it. A socket
        that is bound and does not listen is not in the way of one that does, with SO_REUSEADDR."""
        self.reservation = socket.socket()
        self.reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reservation.bind(("127.0.0.1", self.port))
        self.port = self.reservation.getsockname()[1]

    def start(self, timeout=PATIENCE_S):
        """Returns once the broker says that it is ready; restarts keep the port."""
        if self not in Broker.started:
            Broker.started.append(self)
        if not self.reservation:
            self.reserve_port()
        command = [*self.wrap, binary("weir-broker"), "--data-dir", self.directory,
                   "--listen", f"127.0.0.1:{self.port}", "--shards", str(self.shards)]
        for setting in self.settings:
            command += ["--set", setting]
        start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ready = READY.search(self.log()[start:])
            if ready:
                self.port = int(ready.group(2))
                return self
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self.process.returncode}:\n{self.log()[start:]}")
            time.sleep(0.002)
        raise RuntimeError(f"the broker is not ready after {timeout} s:\n{self.log()[start:]}")

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def last_words(self):
        """For somebody who looks for the cause of a failure."""
        state = "not started" if not self.process else "running" if self.alive() else \
            f"ended with {self.process.returncode}"
        return f"--- the broker on port {self.port} ({state}) said at last:\n{self.log()[-6000:]}---"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=PATIENCE_S):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the broker has not ended {timeout} s after SIGTERM") from None

    def alive(self):
        return self.process.poll() is None

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self, timeout=PATIENCE_S):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)


def frame(key, version, body=b"", correlation=1, client=b"test"):
    """A request frame with header v1."""
    header = struct.pack(">hhih", key, version, correlation, len(client)) + client
    return struct.pack(">i", len(header) + len(body)) + header + body


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError(f"closed after {len(data)} of {size} bytes")
        data += piece
    return data


def read_reply(connection):
    """The bytes of one reply frame after its length."""
    (size,) = struct.unpack(">i", read_exactly(connection, 4))
    return read_exactly(connection, size)


def is_closed(connection, timeout=PATIENCE_S):
    """Waits for the peer to close; replies before that are swallowed."""
    connection.settimeout(None)
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([connection], [], [], left)[0]:
            return False
        try:
            if not connection.recv(65536):
                return True
        except ConnectionError:
            return True
