# SPDX-License-Identifier: Apache-2.0
"""Instructions that the broker needs per request, measured with callgrind, beside those in
expected.txt.

    ./dev test counts                          compares; fails where something takes more
    /usr/bin/python3 tests/counts/counts.py --renew   measures and writes expected.txt anew

count_requests.c is what runs. Of each kind of request there are five figures:
  code        instructions of base/, protocol/, storage/ and broker/
  copies      of memcpy and its like, called from there; the program brings its own (plain.c)
  checksums   of CRC-32C and XXH3, called from there
  allocations calls of malloc and its like from there
  library     calls of other functions of libraries from there

What libraries do inside, the kernel and the simulated machine are not counted. So what is left to
vary is the compiler: with another one than expected.txt names there is nothing to compare, and the
test is skipped. valgrind shows every processor as one with SSE4.2 and without AVX-512, which is all
that CRC-32C chooses by."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXPECTED = os.path.join(HERE, "expected.txt")
FIGURES = ("code", "copies", "checksums", "allocations", "library")
CALLS = ("allocations", "library")  # counted by the call, the others by the instruction
MUCH_LESS = 10  # percent below what is expected: then expected.txt should be written anew
SKIP = 77
RENEW = "/usr/bin/python3 tests/counts/counts.py --renew"
MEMORY = ("memcpy", "memmove", "memset", "memcmp")
ALLOCATE = ("malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign")
PATIENCE_S = 600
HEAD = """\
# Instructions per request; tests/counts/counts.py says what is counted. Written by
#     /usr/bin/python3 tests/counts/counts.py --renew
# The same tree gives the same counts. A figure may be above the one below by so many percent and so
# many instructions (of the first three) or calls (of the others): any change moves a few. With each
# change that is meant to cost more than that, say in its message what it costs and why.
tolerance {percent:g} {instructions:g} {calls:g}
compiler {compiler}
"""


OURS = re.compile(r"(^|/)(base|protocol|storage|broker)(/[^/]+)?/[^/]+\.[ch]$")


class Failure(Exception):
    pass


# --- running and reading

def measure(program):
    """What callgrind has counted: kind of request -> figure -> per request."""
    if not shutil.which("valgrind"):
        raise Failure("valgrind is not there; ./dev deps installs it")
    with tempfile.TemporaryDirectory(prefix="weir-counts-") as directory:
        out = os.path.join(directory, "out")
        command = ["valgrind", "--command-line-only=yes", "--tool=callgrind", f"--callgrind-out-file={out}",
                   "--dump-before=counted", "--dump-after=counted", "--combine-dumps=no", "--compress-pos=no",
                   "--compress-strings=no", program]
        # Without binding at once the first call of a function costs more; and nothing is to be downloaded.
        environment = {**os.environ, "LD_BIND_NOW": "1", "DEBUGINFOD_URLS": ""}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment,
                              timeout=PATIENCE_S)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}: {done.stderr[-3000:]}")
        counts = {}
        for number, line in enumerate(done.stdout.splitlines(), 1):
            kind, requests = line.split()
            with open(f"{out}.{2 * number}") as file:  # the others are of what lies between
                counts[kind] = {figure: value / int(requests) for figure, value in read_dump(file).items()}
            if counts[kind]["code"] == 0:
                raise Failure(f"{kind}: no function of the broker has run; is the build without debugging information?")
        return counts


def read_dump(lines):
    """The sums of one dump. `fl=` is the file of the function that follows, whatever is inlined there.
    A line has the number of a source line and of instructions; after `calls=` the latter are those of
    all that was called."""
    sums = dict.fromkeys(FIGURES, 0)
    ours = checksum = False
    called = {}
    for line in lines:
        name, equals, value = line.rstrip("\n").partition("=")
        if equals and name == "fl":
            ours, checksum = is_ours(value), value.endswith("/base/crc32c.c")
        elif equals and name in ("cob", "cfi", "cfl", "cfn"):
            called[name] = value
        elif equals and name == "calls":
            called["calls"] = int(value.split()[0])
        elif equals and name == "fn":
            called = {}
        elif line[:1].isdigit():
            cost = int(line.split()[1])
            if "calls" in called:
                if ours:
                    count_call(sums, called, cost)
                called = {}
            elif ours:
                sums["checksums" if checksum else "code"] += cost
    return sums


def is_ours(path):
    """Whether the function of a source file is the broker's, wherever the checkout was when it was
    compiled. The simulated machine draws its times from base/random.c."""
    return OURS.search(path) is not None and not path.endswith("/base/random.c")


def count_call(sums, called, cost):
    function = called["cfn"]
    if function in MEMORY:
        sums["copies"] += cost
    elif function.startswith("XXH"):
        sums["checksums"] += cost
    elif function in ALLOCATE:
        sums["allocations"] += called["calls"]
    elif "cob" in called and os.path.basename(called["cob"]) != "count_requests":
        sums["library"] += called["calls"]


# --- expected.txt

class Expected:
    """What stands there."""

    def __init__(self):
        self.compiler, self.rows = None, {}
        with open(EXPECTED) as file:
            for line in file:
                words = line.split()
                if not words or line.startswith("#"):
                    continue
                if words[0] == "compiler":
                    self.compiler = " ".join(words[1:])
                elif words[0] == "tolerance":
                    self.percent, self.instructions, self.calls = map(float, words[1:])
                else:
                    self.rows[words[0]] = dict(zip(FIGURES, map(float, words[1:])))

    def slack(self, figure):
        return self.calls if figure in CALLS else self.instructions

    def most(self, kind, figure):
        return self.rows[kind][figure] * (1 + self.percent / 100) + self.slack(figure)

    def least(self, kind, figure):
        return self.rows[kind][figure] * (1 - MUCH_LESS / 100) - self.slack(figure)

    def write(self, compiler, counts):
        width = max(map(len, counts))
        with open(EXPECTED, "w") as file:
            file.write(HEAD.format(percent=self.percent, instructions=self.instructions, calls=self.calls,
                                   compiler=compiler))
            file.write(f"\n#{'request':<{width - 1}}" + "".join(f"{figure:>12}" for figure in FIGURES) + "\n")
            for kind, figures in counts.items():
                file.write(f"{kind:<{width}}" + "".join(f"{shown(figures[f], f):>12}" for f in FIGURES) + "\n")


def shown(value, figure):
    return f"{value:.2f}" if figure in CALLS else f"{value:.0f}"


# --- comparing

def compare(counts, expected):
    """Prints the table. Returns what takes more than it may, and what takes much less."""
    width = max(map(len, counts))
    more, less = [], []
    print(f"{'per request':<{width}} {'':<12}{'measured':>12}{'expected':>12}{'at most':>12}{'change':>10}")
    for kind, figures in counts.items():
        for figure in FIGURES if kind in expected.rows else ():
            value, wanted, most = figures[figure], expected.rows[kind][figure], expected.most(kind, figure)
            change = f"{(value / wanted - 1) * 100:+.1f} %" if wanted else "-"
            verdict = ""
            if value > most:
                more.append(f"{kind} {figure}")
                verdict = "  TOO MANY"
            elif value < expected.least(kind, figure):
                less.append(f"{kind} {figure}")
                verdict = "  far fewer"
            print(f"{kind:<{width}} {figure:<12}{shown(value, figure):>12}{shown(wanted, figure):>12}"
                  f"{shown(most, figure):>12}{change:>10}{verdict}")
    return more, less


def check(counts, expected):
    """The exit code. Less than expected is no failure, so that nobody's improvement is one."""
    more, less = compare(counts, expected)
    if less:
        print(f"\nFar fewer than expected: {', '.join(less)}. To keep that: {RENEW}")
    if more:
        print(f"\nMore than the tolerance above what is expected: {', '.join(more)}.\nIf that is meant: {RENEW}, and "
              "say in the commit's message why.")
    if set(counts) != set(expected.rows):
        print(f"\nCounted or expected, not both: {', '.join(set(counts) ^ set(expected.rows))}. {RENEW}")
        return 1
    return 1 if more else 0


def built_with(build):
    with open(os.path.join(build, "tests", "counts", "compiler.txt")) as file:
        return file.read().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build", "release")))
    parser.add_argument("--renew", action="store_true", help="build, measure, and write expected.txt anew")
    options = parser.parse_args()
    program = os.path.join(options.build, "tests", "counts", "count_requests")
    expected, compiler = Expected(), built_with(options.build)
    if options.renew:
        subprocess.run(["cmake", "--build", options.build, "--target", "count_requests"], check=True,
                       stdout=subprocess.DEVNULL)
        counts = measure(program)
        compare(counts, expected)
        expected.write(compiler, counts)
        return 0
    if compiler != expected.compiler:
        print(f"skipped: this build is of {compiler}, the expected counts are of {expected.compiler}")
        return SKIP
    return check(measure(program), expected)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
