# SPDX-License-Identifier: Apache-2.0
"""The C code in docs/c-client.md, in README.md and in the comments of weir.h compiles against weir.h
without a warning. What a program around it would have is declared here; functions in a block stay
functions, everything else is the body of one."""
import os
import re
import subprocess
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
HEADER = "clients/c/weir.h"
BLOCK = re.compile(r"^```c\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(?:^//     .*\n)+", re.MULTILINE)
FUNCTION = re.compile(r"^(?:static )?\w[^\n;=]*\)\n\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
AROUND = """
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>
extern struct weir_client *client;
extern struct weir_producer *producer;
extern struct weir_consumer *consumer;
extern struct weir_message message;
extern volatile sig_atomic_t stopping, running;
void handle(const struct weir_record *record);
void bill(const void *data, size_t size);
int32_t region_of(const struct weir_bytes *name);
"""
FLAGS = ("-std=c17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wpedantic",
         "-Wno-unused-variable", "-Wno-unused-parameter")


def contents(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks(page):
    """(where, code) of each block, with the line it begins in."""
    text = contents(page)
    return [(f"{page}:{text.count(chr(10), 0, found.start()) + 2}", found.group(1))
            for found in BLOCK.finditer(text)]


def header_blocks():
    """The same of what is indented in the header's comments and calls the library."""
    text = contents(HEADER)
    return [(f"{HEADER}:{text.count(chr(10), 0, found.start()) + 1}", found.group().replace("//     ", ""))
            for found in COMMENT.finditer(text) if re.search(r"weir_\w+\(", found.group())]


def program(code):
    """A source with the block in it. One that has a main is a program already."""
    if re.search(r"^int main\(", code, re.MULTILINE):
        return code
    functions = FUNCTION.findall(code)
    statements = FUNCTION.sub("", code)
    return "\n".join([AROUND, *functions, "void recipe(void);", "void recipe(void)", "{", statements, "}\n"])


def complaints(code):
    """What the compiler says; empty when nothing."""
    done = subprocess.run(["cc", *FLAGS, "-I", os.path.join(ROOT, "clients", "c"), "-x", "c", "-"],
                          input=program(code), capture_output=True, text=True)
    return done.stderr if done.returncode else ""


class Recipes(unittest.TestCase):
    def test_they_compile(self):
        client = blocks("docs/c-client.md")
        self.assertGreaterEqual(len(client), 9)
        header = header_blocks()
        self.assertGreaterEqual(len(header), 3)
        for where, code in client + blocks("README.md") + header:
            with self.subTest(where):
                self.assertEqual(complaints(code), "", where)

    def test_mistakes_are_found(self):
        """Else the test above would show nothing."""
        _, code = blocks("docs/c-client.md")[0]
        self.assertIn("weir_flush(producer, 10000)", code)
        for wrong in ("weir_flush(producer)", "weir_flush(client, 10000)", "weir_flushed(producer, 10000)"):
            with self.subTest(wrong):
                self.assertNotEqual(complaints(code.replace("weir_flush(producer, 10000)", wrong)), "")


if __name__ == "__main__":
    unittest.main()
