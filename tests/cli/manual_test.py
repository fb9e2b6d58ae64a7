# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completion scripts: made from the table of commands, sound for their readers."""
import os
import shutil
import subprocess
import tempfile
import unittest

from command import CommandTest
from harness import script
from harness.broker import PATIENCE_S, binary


def weir(*arguments):
    done = subprocess.run([binary("weir"), *arguments], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and not done.stderr, (arguments, done.stderr)
    return done.stdout.decode()


def commands():
    """The names in the overview, such as "topic create"."""
    lines = weir("--help").split("Commands:\n")[1].split("\n\n")[0].splitlines()
    return [line[len("  weir "):].split("  ")[0].strip() for line in lines]


class Manual(unittest.TestCase):
    @unittest.skipUnless(shutil.which("man"), "needs man")
    def test_pages_are_free_of_warnings(self):
        with tempfile.TemporaryDirectory() as directory:
            weir("manual", "--directory", directory)
            expected = {"weir.1", *(f"weir-{name.replace(' ', '-')}.1" for name in commands())}
            self.assertEqual(set(os.listdir(directory)), expected)
            for page in expected:
                with self.subTest(page=page):
                    done = subprocess.run(
                        ["man", "--warnings", "-E", "UTF-8", "-l", os.path.join(directory, page)],
                        capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
                    self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
                    self.assertIn("EXIT STATUS", done.stdout.decode())

    def test_a_page_says_what_help_says(self):
        page = weir("manual", "topic", "create").replace("\\-", "-").replace("\\(aq", "'")
        for text in ("--if-not-exists", "a topic that exists already is no error",
                     "weir topic create orders -p 8 --set retention.ms=86400000"):
            self.assertIn(text, page)

    def test_a_command_that_does_not_exist(self):
        done = subprocess.run([binary("weir"), "manual", "no", "such"], capture_output=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"there is no command 'no such'", done.stderr)


class Completion(CommandTest):
    def complete(self, *words):
        """What bash offers for the last of the words."""
        script = ('source <(weir completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '_weir; printf "%s\\n" "${COMPREPLY[@]}"')
        path = os.path.dirname(binary("weir")) + ":" + os.environ["PATH"]
        done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True,
                              env={**self.environment(), "PATH": path}, check=True)
        self.assertEqual(done.stderr, b"")
        return set(done.stdout.decode().split())

    def test_scripts_are_sound(self):
        for shell in ("bash", "zsh", "fish"):
            if not shutil.which(shell):
                continue
            with self.subTest(shell=shell), tempfile.NamedTemporaryFile() as file:
                file.write(weir("completion", shell).encode())
                file.flush()
                done = subprocess.run([shell, "-n", file.name], capture_output=True)
                self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_every_command_and_option_is_offered(self):
        for name in commands():
            with self.subTest(command=name):
                *group, last = name.split()
                self.assertIn(last, self.complete("weir", *group, ""))
                options = weir(*name.split(), "--help")
                self.assertTrue(all(option in options and option in self.complete("weir", *name.split(), "--")
                                    for option in ("--brokers", "--output", "--help")))
        self.assertIn("--compression", self.complete("weir", "-b", "a:1", "produce", "--co"))

    def test_values(self):
        self.assertEqual(self.complete("weir", "produce", "--compression", "z"), {"zstd"})
        self.assertEqual(self.complete("weir", "completion", ""), {"bash", "zsh", "fish"})
        self.weir("topic", "create", "completed")
        self.assertEqual(self.complete("weir", "consume", "comp"), {"completed"})
        self.refused(2, "completion", "tcsh", says="bash, zsh or fish")


if __name__ == "__main__":
    script.main()
