# SPDX-License-Identifier: Apache-2.0
"""The house rules that a machine can watch: who may include whom, how long things may be, what is
not used. An exception is listed here, with its reason."""
import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What a directory may include of ours; gen/ is what the generator makes of protocol/schema.
MAY_INCLUDE = {
    "base": {"base"},
    "protocol": {"base", "protocol", "gen"},
    "storage": {"base", "storage", "protocol/record_batch.h", "protocol/types.h"},
    "broker": {"base", "protocol", "gen", "storage/log.h", "storage/io.h", "broker"},
    "clients/c": {"base", "protocol", "gen", "clients/c"},
    "tools": {"base", "protocol", "gen", "clients/c", "tools", "storage/inspect.h", "storage/inspect_repair.h",
              "storage/producers_snapshot.h"},
}

FUNCTION_LINES = 70
FILE_LINES = 1000
LINE_COLUMNS = 100

# Path or path:function -> why it may be longer.
LONGER = {"clients/c/weir.h": "the whole interface of libweir is one header, which reads as a manual page"}

# Unbounded or unchecked calls, and checks that release builds drop.
FORBIDDEN = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|alloca|strtok)\s*\(|<assert\.h>")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|^#if 0", re.MULTILINE)
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def tracked(*patterns):
    """What is in the checkout, new files included."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "--", *patterns],
                            capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.splitlines() if os.path.exists(os.path.join(ROOT, path))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def sources():
    return tracked("*.c", "*.h")


class Style(unittest.TestCase):
    def test_there_is_something_to_look_at(self):
        self.assertGreater(len(sources()), 50)

    def test_include_directions(self):
        wrong = []
        for path in sources():
            area = next((area for area in MAY_INCLUDE if path.startswith(area + "/")), None)
            if not area:
                continue
            for included in INCLUDE.findall(read(path)):
                allowed = any(included == may or included.startswith(may + "/") for may in MAY_INCLUDE[area])
                if not allowed:
                    wrong.append(f"{path} includes {included}")
        self.assertEqual(wrong, [])

    def test_includes_start_at_the_root(self):
        wrong = [f"{path}: {name}" for path in sources() for name in INCLUDE.findall(read(path))
                 if name.startswith(".") or "/" not in name and name != "weir.h"]
        self.assertEqual(wrong, [])

    def test_files_are_short(self):
        long = [f"{path}: {lines} lines" for path in tracked("*.c", "*.h", "*.py", "dev", "*.sh")
                if (lines := read(path).count("\n")) > FILE_LINES and path not in LONGER]
        self.assertEqual(long, [])

    def test_functions_are_short(self):
        files = [path for path in sources() if path.endswith(".c")]
        listed = subprocess.run(["ctags", "--languages=C", "--kinds-C=f", "--fields=+ne", "-o", "-", *files],
                                capture_output=True, text=True, check=True, cwd=ROOT)
        long, seen = [], 0
        for row in listed.stdout.splitlines():
            if row.startswith("!"):
                continue
            name, path, *_ = row.split("\t")
            fields = dict(re.findall(r"\t(line|end):(\d+)", row))
            if "end" not in fields:
                continue
            seen += 1
            lines = int(fields["end"]) - int(fields["line"]) + 1
            if lines > FUNCTION_LINES and f"{path}:{name}" not in LONGER:
                long.append(f"{path}:{fields['line']} {name}: {lines} lines")
        self.assertGreater(seen, 100)
        self.assertEqual(long, [])

    def test_lines_are_short(self):
        long = [f"{path}:{number}" for path in sources()
                for number, line in enumerate(read(path).splitlines(), 1) if len(line) > LINE_COLUMNS]
        self.assertEqual(long, [])

    def test_every_file_names_its_licence(self):
        missing = [path for path in tracked("*.c", "*.h", "*.py", "*.sh", "dev", ".ci/run", "*CMakeLists.txt")
                   if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(read(path).splitlines()[:2])]
        self.assertEqual(missing, [])

    def test_dangerous_calls(self):
        wrong = [f"{path}: {found.group(0)}" for path in sources() if (found := FORBIDDEN.search(read(path)))]
        self.assertEqual(wrong, [])

    def test_nothing_calls_itself_unfinished(self):
        wrong = [f"{path}: {found.group(0)}" for path in sources() if (found := UNFINISHED.search(read(path)))]
        self.assertEqual(wrong, [])

    def test_the_architecture_names_what_there_is(self):
        """Names in it are there to be looked for."""
        page = re.sub(r"^```.*?^```$", "", read("docs/architecture.md"), flags=re.MULTILINE | re.DOTALL)
        everything = "\n".join(map(read, tracked("*.c", "*.h", "*.py", "*.txt")))
        files = {os.path.basename(path) for path in tracked("*")}
        names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page))
        self.assertGreater(len(names), 20)
        self.assertEqual([name for name in sorted(names) if not re.search(rf"\b{name}\b", everything)], [])
        mentioned = set(re.findall(r"`(?:\w+/)*(\w+\.(?:[ch]|py|txt|md))`", page))
        self.assertGreater(len(mentioned), 20)
        self.assertEqual(sorted(mentioned - files), [])

    def test_links_lead_somewhere(self):
        wrong = []
        for page in tracked("*.md"):
            for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page)):
                path = os.path.join(ROOT, os.path.dirname(page), link)
                if "://" not in link and not os.path.exists(path):
                    wrong.append(f"{page}: {link}")
        self.assertEqual(wrong, [])

    def test_exceptions_are_still_needed(self):
        gone = [key for key in LONGER if not os.path.exists(os.path.join(ROOT, key.split(":")[0]))]
        self.assertEqual(gone, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
