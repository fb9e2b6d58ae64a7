# SPDX-License-Identifier: Apache-2.0
"""A command on a terminal of its own, as a person has it in front of them."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from harness.broker import PATIENCE_S as PATIENCE


class Terminal:
    """Runs a command with some of its streams on a new terminal; a context manager."""

    def __init__(self, command, environment, rows=24, columns=80, streams=("stdin", "stdout", "stderr"), **others):
        self.ours, self.theirs = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.theirs)
        self.shown = b""
        others.update(dict.fromkeys(streams, self.theirs))
        self.process = subprocess.Popen(command, env={**environment, "TERM": "xterm"}, **others)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def type(self, keys):
        os.write(self.ours, keys)

    def read(self, timeout=0):
        """Takes what has been shown since; False when there was nothing."""
        if not select.select([self.ours], [], [], timeout)[0]:
            return False
        self.shown += os.read(self.ours, 65536)
        return True

    def wait_for(self, text):
        """Until `text` is shown, and forgets what was shown up to its end."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text} was not shown, but {self.shown[-3000:]}"
            if not self.read(0.1) and self.process.poll() is not None:
                assert self.read() or text in self.shown, f"ended without {text}: {self.shown[-3000:]}"
        self.shown = self.shown[self.shown.index(text) + len(text):]

    def end(self, patience=PATIENCE):
        """The exit code. What the program writes must be read, or it waits for ever."""
        deadline = time.monotonic() + patience
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"does not end; shows {self.shown[-3000:]}"
            self.read(0.1)
        while self.read():
            pass
        return self.process.returncode

    def is_as_before(self):
        """Whether the settings are those from before the command, and the screen was left."""
        return termios.tcgetattr(self.theirs) == self.before and b"\x1b[?1049l" in self.shown
