# SPDX-License-Identifier: Apache-2.0
"""How a test script runs: every test comes to an end and says where it was, one that fails shows what
its brokers said, and nothing that a script has started outlives it."""
import faulthandler
import os
import signal
import sys
import time
import traceback
import unittest

from harness.broker import Broker

TEST_S = 240  # one test, or what a class of tests prepares
SCRIPT_S = 840  # all tests of a script; ctest waits for 900
LAST_S = 60  # from the end of patience with a test to that with what cannot be interrupted

begun = time.monotonic()
times = 1  # as long as that, for a script that is run by hand


class TookTooLong(BaseException):
    """Not an Exception: no test that expects errors may take it for one of them."""


def allow_time():
    signal.alarm(TEST_S * times)
    left = SCRIPT_S * times - (time.monotonic() - begun)
    faulthandler.dump_traceback_later(max(left, 1), exit=True)


class Result(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        allow_time()

    def stopTest(self, test):
        super().stopTest(test)
        allow_time()

    def addSuccess(self, test):
        if self.showAll:
            self.stream.write(f"{time.monotonic() - self.started:.1f} s ")
        super().addSuccess(test)

    def addError(self, test, err):
        super().addError(test, err)
        self.show_brokers()

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.show_brokers()

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.show_brokers()

    def show_brokers(self):
        """Before anything is cleaned up."""
        for broker in Broker.started:
            self.stream.writeln(broker.last_words())
        self.stream.flush()


def end_the_test(number, frame):
    """SIGALRM: whatever the test waits for is interrupted."""
    faulthandler.dump_traceback(all_threads=True)
    faulthandler.dump_traceback_later(LAST_S, exit=True)
    library = os.path.dirname(os.__file__)
    here = [line for line in traceback.extract_stack(frame) if not line.filename.startswith(library)][-1]
    raise TookTooLong(f"not over after {TEST_S * times} s: line {here.lineno} of {here.filename}: {here.line}")


def watch():
    """Everything the script starts is in its process group. Another process stays in the group of
    whoever runs the script, passes Ctrl-C on, and kills all of the script's group once the script is
    gone, however that was. It holds none of the script's files."""
    until, held = os.pipe()  # `held` is open for as long as the script runs
    script = os.getpid()
    if os.fork() != 0:
        os.close(until)
        if os.getpgrp() != script:
            os.setpgid(0, 0)
        return
    signal.signal(signal.SIGINT, lambda *_: os.killpg(script, signal.SIGINT))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.close(held)
    os.read(until, 1)
    try:
        os.killpg(script, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os._exit(0)


def main(argv=None, patience=1):
    """Instead of unittest.main(). `patience`: how many times as long as usual it may take."""
    global times
    times = patience
    watch()
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGALRM, end_the_test)
    allow_time()
    runner = unittest.TextTestRunner(resultclass=Result, verbosity=2)
    unittest.main(module="__main__", argv=argv, testRunner=runner)
