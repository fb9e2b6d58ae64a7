# SPDX-License-Identifier: Apache-2.0
"""Runs the weir command for the tests of the command line."""
import os
import subprocess
import unittest

from harness.broker import PATIENCE_S, Broker, binary


class CommandTest(unittest.TestCase):
    """One broker per class; every topic name is used by one test only."""

    settings = ("num.partitions=1",)

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(settings=cls.settings).start()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def command(self, *arguments):
        return [binary("weir"), *arguments]

    def environment(self):
        return {**os.environ, "WEIR_BROKERS": self.broker.address}

    def weir(self, *arguments, data=b"", code=0, timeout=PATIENCE_S):
        """Runs weir to its end, checks the exit code and returns standard output."""
        done = subprocess.run(self.command(*arguments), input=data, capture_output=True,
                              timeout=timeout, env=self.environment())
        self.assertEqual(done.returncode, code, (arguments, done.stderr.decode(errors="replace")))
        if code == 0:
            self.assertEqual(done.stderr, b"", "a script hears nothing unless something is wrong")
        return done.stdout

    def refused(self, code, *arguments, data=b"", says=""):
        """Runs weir, which must fail with one line on standard error; returns the line."""
        done = subprocess.run(self.command(*arguments), input=data, capture_output=True,
                              timeout=PATIENCE_S, env=self.environment())
        text = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, code, (arguments, text))
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.startswith("weir"), text)
        self.assertIn(says, text)
        return text
