# SPDX-License-Identifier: Apache-2.0
"""Small file systems of a test's own, which fill up and fail on demand. Root only, in a mount
namespace that ends with the process."""
import ctypes
import glob
import os
import shutil
import subprocess
import time

from harness.broker import PATIENCE_S

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def enter_own_mounts():
    """Mounts made from now on are seen by this process and its children only. False if not allowed."""
    if os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return (libc.unshare(CLONE_NEWNS) == 0 and
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0)


def run(*command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Ext4:
    """An ext4 in a file, on a loop device."""

    def __init__(self, outside, size):
        self.image = os.path.join(outside, "image")
        self.directory = os.path.join(outside, "device")
        os.makedirs(self.directory, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size)
        self.made = bool(shutil.which("mkfs.ext4")) and run("mkfs.ext4", "-q", "-F", self.image) and self.mount()

    def mount(self):
        return run("mount", "-o", "loop,errors=remount-ro", self.image, self.directory)

    def unmount(self):
        deadline = time.monotonic() + PATIENCE_S  # the kernel closes what a killed process had open when it can
        while os.path.ismount(self.directory) and not run("umount", self.directory):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.directory} cannot be unmounted")
            time.sleep(0.05)

    def repair(self):
        """As an administrator would after an error."""
        self.unmount()
        subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, check=False)
        return self.mount()

    def fill(self, leave=0):
        """Takes the free space, but for some bytes."""
        stat = os.statvfs(self.directory)
        size = stat.f_bavail * stat.f_frsize - leave
        path = os.path.join(self.directory, "ballast")
        if size > 0:
            with open(path, "ab") as file:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    pass  # somebody else has taken it

    def free(self):
        path = os.path.join(self.directory, "ballast")
        if os.path.exists(path):
            os.unlink(path)

    def fail(self):
        """The file system notices an error and becomes read-only. False where that cannot be provoked."""
        number = os.stat(self.directory).st_dev
        name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
        for path in glob.glob(f"/sys/fs/ext4/{name}/trigger_fs_error"):
            try:
                with open(path, "w") as file:
                    file.write("test")
                return True
            except OSError:
                pass
        return False
