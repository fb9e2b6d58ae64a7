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
from terminal import Terminal


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
                options, offered = weir(*name.split(), "--help"), self.complete("weir", *name.split(), "--")
                for option in ("--brokers", "--output", "--help"):
                    self.assertIn(option, options)
                    self.assertIn(option, offered)
        self.assertIn("--compression", self.complete("weir", "-b", "a:1", "produce", "--co"))

    def test_values(self):
        self.assertEqual(self.complete("weir", "produce", "--compression", "z"), {"zstd"})
        self.assertEqual(self.complete("weir", "completion", ""), {"bash", "zsh", "fish"})
        self.weir("topic", "create", "completed")
        self.assertEqual(self.complete("weir", "consume", "comp"), {"completed"})
        self.refused(2, "completion", "tcsh", says="bash, zsh or fish")


class Shells(CommandTest):
    """The scripts in the shells that they are for. Every case is what is typed, and what comes of it."""

    CASES = (
        ("weir prod", "produce"), ("weir topic cr", "create"), ("weir produce --comp", "--compression"),
        ("weir produce --compression z", "zstd"), ("weir -b a:1 group desc", "describe"),
        ("weir topic describe --al", "--all"), ("weir completion b", "bash"), ("weir consume shell-t", "shell-topic"),
        ("weir group describe shell-g", "shell-group"), ("weir log ver", "verify"),
    )

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.weir("produce", "shell-topic", data=b"x\n")
        test.weir("group", "reset", "shell-group", "-t", "shell-topic", "--to", "end", "--execute")

    def home(self, directory):
        """An environment without anybody's own settings, in which weir is this one."""
        path = os.path.dirname(binary("weir")) + ":" + os.environ["PATH"]
        return {**self.environment(), "PATH": path, "HOME": directory, "ZDOTDIR": directory,
                "XDG_CONFIG_HOME": directory, "XDG_DATA_HOME": directory, "LC_ALL": "C.UTF-8"}

    @unittest.skipUnless(shutil.which("fish"), "needs fish")
    def test_fish(self):
        complete = "weir completion fish | source; complete -C $argv[1]"
        with tempfile.TemporaryDirectory() as directory:
            for typed, completed in self.CASES:
                with self.subTest(typed=typed):
                    done = subprocess.run(["fish", "--no-config", "-c", complete, "--", typed], capture_output=True,
                                          env=self.home(directory), timeout=PATIENCE_S)
                    self.assertEqual((done.returncode, done.stderr), (0, b""))
                    offered = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
                    self.assertEqual(offered, [completed])

    @unittest.skipUnless(shutil.which("zsh"), "needs zsh")
    def test_zsh(self):
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "_weir"), "w", encoding="utf-8") as file:
                file.write(weir("completion", "zsh"))
            with Terminal(["zsh", "-f", "-i"], self.home(directory), columns=200) as shell:
                shell.type(b"PS1='>''> '; fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D; "
                           b"unsetopt zle_bracketed_paste; print re''ady\n")
                shell.wait_for(b"ready\r\n")
                shell.wait_for(b">> ")
                for typed, completed in self.CASES:
                    with self.subTest(typed=typed):
                        start = typed[:typed.rindex(" ") + 1]
                        shell.type(typed.encode() + b"\t")
                        shell.wait_for((start + completed).encode() + b"\x1b[1m \x1b[0m")
                        shell.type(b"\x15print cle''ared\n")
                        shell.wait_for(b"cleared\r\n")
                        shell.wait_for(b">> ")
                shell.type(b"weir topic \t")
                shell.wait_for(b"delete-records")
                shell.type(b"\x15exit\n")
                self.assertEqual(shell.end(), 0)


if __name__ == "__main__":
    script.main()
