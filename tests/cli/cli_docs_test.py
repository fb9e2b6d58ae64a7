# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md: every block of commands in it is run as it stands there, in order, says nothing on
standard error, and prints what the page says where it says that. Blocks marked `shell` are not run:
they wait for ever, or want what is not there."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S, binary

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = re.compile(r"^```(sh|shell|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTORY = "/var/lib/weir"  # what the page calls the broker's
ADDRESS = "queue.example:9092"


def blocks():
    """[commands, what they print or None], in order."""
    with open(os.path.join(HERE, "../../docs/cli.md"), encoding="utf-8") as page:
        text = page.read()
    found = []
    for kind, content in BLOCK.findall(text):
        if kind == "sh":
            found.append([content, None])
        elif kind == "text":
            found[-1][1] = content
    return found


class Page(CommandTest):
    @unittest.skipUnless(shutil.which("jq") and shutil.which("man"), "needs jq and man")
    def test_the_commands_do_what_the_page_says(self):
        found = blocks()
        self.assertGreater(len(found), 15)
        path = os.path.dirname(binary("weir")) + os.pathsep + os.environ["PATH"]
        with tempfile.TemporaryDirectory() as directory:
            for commands, expected in found:
                with self.subTest(commands=commands):
                    on_files = DIRECTORY in commands
                    if on_files and self.broker.process.poll() is None:
                        self.broker.stop()
                    if not on_files and self.broker.process.poll() is not None:
                        self.broker.start()
                    commands = commands.replace(DIRECTORY, self.broker.directory).replace(ADDRESS, self.broker.address)
                    done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", commands], cwd=directory,
                                          env={**self.environment(), "PATH": path, "LC_ALL": "C.UTF-8"},
                                          capture_output=True, timeout=PATIENCE_S, text=True)
                    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                    if expected is not None:
                        self.assertEqual(done.stdout, expected)


if __name__ == "__main__":
    script.main()
