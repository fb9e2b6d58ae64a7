# SPDX-License-Identifier: Apache-2.0
"""What `cmake --install` leaves is enough: the program of docs/c-client.md, compiled against it with
the page's own commands, produces."""
import os
import re
import subprocess
import tempfile
import unittest

from harness import script
from harness.broker import PATIENCE_S, Broker, binary

HERE = os.path.dirname(os.path.abspath(__file__))


def page():
    """The whole program, and the commands that compile it."""
    with open(os.path.join(HERE, "../../docs/c-client.md"), encoding="utf-8") as file:
        text = file.read()
    program = re.search(r"^```c\n(#include.*?)^```$", text, re.MULTILINE | re.DOTALL).group(1)
    compilers = re.findall(r"^    (cc (?:.*\\\n)*.*)$", text, re.MULTILINE)
    return program, compilers


class Install(unittest.TestCase):
    def run_in(self, directory, command, **environment):
        done = subprocess.run(["sh", "-euc", command], cwd=directory, capture_output=True, text=True,
                              timeout=PATIENCE_S, env={**os.environ, **environment})
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_a_program_compiles_against_the_installed_tree(self):
        program, compilers = page()
        self.assertEqual(len(compilers), 2, "shared and static")
        with tempfile.TemporaryDirectory() as directory, Broker() as broker:
            prefix = os.path.join(directory, "prefix")
            libraries = os.path.join(prefix, "lib")
            self.run_in(directory, f"cmake --install {os.environ['WEIR_BUILD']} --prefix {prefix}")
            self.assertIn("localhost:9092", program)
            with open(os.path.join(directory, "hello.c"), "w", encoding="utf-8") as file:
                file.write(program.replace("localhost:9092", broker.address))
            for compiler in compilers:
                self.run_in(directory, f"{compiler}\n./hello", LD_LIBRARY_PATH=libraries,
                            PKG_CONFIG_PATH=os.path.join(libraries, "pkgconfig"))
            out = self.run_in(directory, f"prefix/bin/weir -b {broker.address} consume greetings --until-end")
            self.assertEqual(out, "hello\n" * 2)
            self.assertEqual(self.run_in(directory, "prefix/bin/weir-broker --version"),
                             self.run_in(directory, f"{binary('weir-broker')} --version"))


if __name__ == "__main__":
    script.main()
