# SPDX-License-Identifier: Apache-2.0
"""The shared library shows exactly the functions of weir.h, under its version; the archive as well;
and a C++ program that names every one of them links."""
import os
import re
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.join(HERE, "..", "..", "clients", "c")
BUILD = os.path.join(os.environ["WEIR_BUILD"], "clients", "c")


def declared():
    with open(os.path.join(CLIENT, "weir.h"), encoding="utf-8") as file:
        text = re.sub(r"//[^\n]*", "", file.read())
    return set(re.findall(r"WEIR_API\b[^;(]*?\b(weir_\w+)\(", text))


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Symbols(unittest.TestCase):
    def test_shared(self):
        shown = set()
        for line in output("nm", "-D", "--defined-only", os.path.join(BUILD, "libweir.so")).splitlines():
            name, _, version = line.split()[-1].partition("@")
            if name.startswith(("LIBWEIR_", "__")):
                continue
            self.assertEqual(version.strip("@"), "LIBWEIR_0", name)
            shown.add(name)
        self.assertEqual(shown, declared())

    def test_archive(self):
        lines = output("nm", "-g", "--defined-only", os.path.join(BUILD, "libweir.a")).splitlines()
        shown = {line.split()[2] for line in lines if len(line.split()) == 3}
        self.assertEqual({name for name in shown if not name.startswith("_")}, declared())

    def test_every_function_links_from_c_plus_plus(self):
        with tempfile.TemporaryDirectory() as directory:
            source = os.path.join(directory, "all.cc")
            with open(source, "w", encoding="utf-8") as file:
                file.write('#include <weir.h>\n#include <cstdio>\nint main(){const void *all[] = {\n')
                file.writelines(f"(const void *)&{name},\n" for name in sorted(declared()))
                file.write('};\nfor (const void *one : all) if (!one) return 1;\nputs(weir_version());}\n')
            program = os.path.join(directory, "all")
            sanitize = output("nm", "-D", os.path.join(BUILD, "libweir.so"))
            flags = ["-fsanitize=address,undefined"] if "__asan" in sanitize else []
            subprocess.run(["c++", "-Wall", "-Werror", "-I", CLIENT, source, "-o", program, *flags,
                            "-L", BUILD, "-lweir", f"-Wl,-rpath,{BUILD}"], check=True)
            self.assertRegex(output(program), r"^\d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
