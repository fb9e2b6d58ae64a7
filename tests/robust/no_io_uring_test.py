# SPDX-License-Identifier: Apache-2.0
"""A kernel or container that refuses io_uring: the broker says so in one line that tells what to do, and
does not start. The refusal is made with a seccomp filter, as container runtimes make it."""
import ctypes
import errno
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

from harness import script
from harness.broker import PATIENCE_S, binary

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
IO_URING_SETUP = 425  # on x86-64, arm64 and most others


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse_io_uring(error):
    """What runs in the child before it becomes the broker."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in (
        (LOAD_WORD, 0, 0, 0),  # the number of the system call
        (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | error),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW)))
    program = Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) != 0):
            os._exit(99)

    return install


class NoIoUring(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="weir-test-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def start(self, error):
        done = subprocess.run([binary("weir-broker"), "--data-dir", self.directory, "--listen", "127.0.0.1:0"],
                              capture_output=True, timeout=PATIENCE_S, preexec_fn=refuse_io_uring(error))
        if done.returncode == 99:
            self.skipTest("no seccomp filters here")
        self.assertEqual(done.returncode, 1, done)
        (line,) = done.stderr.decode().splitlines()
        self.assertIn("io_uring", line)
        return line

    def test_forbidden(self):
        self.assertIn("seccomp", self.start(errno.EPERM))

    def test_unknown_to_the_kernel(self):
        self.assertIn("Linux", self.start(errno.ENOSYS))

    def test_no_locked_memory(self):
        self.assertIn("ulimit -l", self.start(errno.ENOMEM))


if __name__ == "__main__":
    script.main()
