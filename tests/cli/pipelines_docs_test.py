# SPDX-License-Identifier: Apache-2.0
"""docs/pipelines.md: every command in it is run as it stands there, in order, and prints what the
page says."""
import os
import re
import subprocess
import tempfile
import unittest

from command import CommandTest
from harness import script
from harness.broker import binary

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run: how long it took.
TIMES = re.compile(r"[0-9.]+ s, [0-9,]+/s")


def pairs():
    """(commands, what they print), in order."""
    with open(os.path.join(HERE, "../../docs/pipelines.md"), encoding="utf-8") as page:
        blocks = BLOCK.findall(page.read())
    found = []
    for kind, text in blocks:
        if kind == "sh":
            found.append([text, ""])
        else:
            found[-1][1] = text
    return found


class Page(CommandTest):
    def test_the_commands_print_what_the_page_says(self):
        found = pairs()
        self.assertGreater(len(found), 8)
        path = os.path.dirname(binary("weir")) + os.pathsep + os.environ["PATH"]
        with tempfile.TemporaryDirectory() as directory:
            for commands, expected in found:
                done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", commands], cwd=directory,
                                      env={**self.environment(), "PATH": path}, capture_output=True,
                                      timeout=120, text=True)
                self.assertEqual(done.returncode, 0, f"{commands}\n{done.stdout}\n{done.stderr}")
                self.assertEqual(TIMES.sub("", done.stdout), TIMES.sub("", expected), commands)
                self.assertEqual(done.stderr, "", commands)


if __name__ == "__main__":
    script.main()
