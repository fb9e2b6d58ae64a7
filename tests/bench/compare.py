# SPDX-License-Identifier: Apache-2.0
"""Two revisions of Weir in pairs: this tree and another revision, which is built in a git worktree of its
own, do the same works in turns, A B, B A, A B and so on. Each measurement has a fresh data directory and a
fresh broker. The ratio is taken round by round, because both halves of a round saw the same machine; where
the ratios of the rounds lie on both sides of 1, no difference was seen.

By default the `weir bench` that drives a broker is the one of the broker's own revision: that is what a
user gets who installs one or the other. With `--client this` both brokers are driven by this tree's, so
that only the brokers differ, and a revision that lacks an option of `weir bench` can be compared."""
import argparse
import os
import resource
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
from bench import Bench  # noqa: E402
from machine import Failure, filesystem, system  # noqa: E402
from pairs import LARGE, MIB, Pairs  # noqa: E402
from peers.load import QUIET, settle  # noqa: E402

LEAST_ROUNDS = 5
PARTITIONS, KEYS = 1000, 100000
# Name, unit, whether more is better, digits.
FIGURES = (("mb_per_s", "MB/s", True, 1), ("cpu", "broker CPU s/GB", False, 3),
           ("client_cpu", "client CPU s/GB", False, 3), ("p50", "p50 us", False, 0), ("p99", "p99 us", False, 0))


class Side(Bench):
    """The brokers of one revision, and the client that drives them."""

    def __init__(self, options, build, client_build):
        super().__init__(options)
        self.build, self.client = build, os.path.join(client_build, "tools", "weir")
        self.works = Works(self)

    def weir_command(self, broker, *arguments):
        return [self.client, *super().weir_command(broker, *arguments)[1:]]

    def measure(self, work):
        os.environ["WEIR_BUILD"] = self.build  # where harness.broker looks
        return WORKS[work][1](self.works)


class Works(Pairs):
    """Those of pairs.py, and the processor time of the client."""

    def measured(self, broker, *arguments):
        before = children_cpu()
        row = super().measured(broker, *arguments)
        return {**row, "client_cpu": (children_cpu() - before) / row.pop("gb")}

    def to_topic(self, partitions, *options):
        """After a second of it for the broker's memory, as fast as it goes."""
        with self.bench.broker() as broker:
            self.bench.create(broker, "load", partitions)
            command = ("bench", "produce", "load", *options)
            self.bench.weir(broker, *command, "--duration", "1s")
            return self.measured(broker, *command, "--duration", f"{self.bench.options.seconds}s")


WORKS = {
    "bulk": ("produce, batches of 1 MiB, 4 in flight", lambda works: works.produce(MIB, 4, *LARGE)),
    "single": ("produce, one message of 1 KiB at a time", lambda works: works.produce(1024, 1)),
    "small": ("produce, messages of 100 B", lambda works: works.to_topic(1, "--size", "100")),
    "keyed": (f"produce, messages of 100 B with {KEYS:,} keys to {PARTITIONS:,} partitions",
              lambda works: works.to_topic(PARTITIONS, "--size", "100", "--keys", str(KEYS))),
    "fetch": ("fetch from memory, messages of 1 KiB", lambda works: works.fetch()),
}


def children_cpu():
    """Of the processes that have been waited for; a broker that runs is not one of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- the other revision

def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Revision:
    """As a context manager: a worktree below build/compare with the two programs built."""

    def __init__(self, name, keep):
        self.keep = keep
        try:
            self.sha = git("rev-parse", "--verify", "--quiet", name + "^{commit}")
        except Failure:
            raise Failure(f"there is no revision '{name}'") from None
        self.directory = os.path.join(ROOT, "build", "compare", self.sha[:12])
        self.build = os.path.join(self.directory, "build", "release")

    def __enter__(self):
        try:
            if not os.path.exists(os.path.join(self.directory, ".git")):
                git("worktree", "add", "--force", "--detach", self.directory, self.sha)
            print(f"building {describe(self.sha)} in {self.directory}", file=sys.stderr)
            self.run("cmake", "--preset", "release")
            self.run("cmake", "--build", self.build, "--target", "weir-broker", "weir")
        except BaseException:
            self.__exit__()
            raise
        return self

    def run(self, *command):
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-4000:]}")

    def __exit__(self, *exception):
        if self.keep:
            print(f"kept: {self.directory}", file=sys.stderr)
        elif os.path.exists(self.directory):
            git("worktree", "remove", "--force", self.directory)


def describe(sha):
    return git("log", "-1", "--format=%h (%s)", sha)


def describe_this():
    return describe("HEAD") + (", changed" if git("status", "--porcelain", "--untracked-files=no") else "")


# --- rounds and ratios

class Comparison:
    def __init__(self, options, sides):
        self.options, self.sides = options, sides
        self.rows = {work: [] for work in options.only}  # of rounds: (the other revision's, this tree's)
        self.failures = {}
        self.busy = []

    def round(self, number):
        self.busy.append(settle(False))
        for work in self.options.only:
            if work in self.failures:
                continue
            print(f"round {number + 1} of {self.options.rounds}: {work}", file=sys.stderr)
            self.pair(work, (0, 1) if number % 2 == 0 else (1, 0))

    def pair(self, work, order):
        row = [None, None]
        for side in order:
            try:
                row[side] = self.sides[side].measure(work)
            except (Failure, RuntimeError, subprocess.CalledProcessError) as failure:
                self.failures[work] = f"{('REV', 'this tree')[side]}: {failure}"
                return
        self.rows[work].append(row)

    def lines(self):
        head = ("work", "figure", "REV", "this tree", "ratio", "range", "")
        table = [head]
        for work, rows in self.rows.items():
            title = work
            if work in self.failures:
                table.append((work, "failed, see below", "", "", "", "", ""))
                continue
            for figure in FIGURES:
                cells = figure_cells(rows, *figure)
                if cells:
                    table.append((title, *cells))
                    title = ""
        widths = [max(len(row[column]) for row in table) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) if column in (0, 1, 5, 6) else cell.rjust(width)
                           for column, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in table]
        return lines + [f"\n{work} failed with {why}" for work, why in self.failures.items()]


def figure_cells(rows, key, unit, more_is_better, digits):
    """A line of the table, or None where there is nothing to compare."""
    pairs = [(other[key], this[key]) for other, this in rows if other[key] and this[key]]
    if not pairs:
        return None
    ratios = [this / other for other, this in pairs]
    medians = [f"{statistics.median(values):,.{digits}f}" for values in zip(*pairs)]
    return (unit, *medians, f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}",
            verdict(ratios, more_is_better))


def verdict(ratios, more_is_better):
    if min(ratios) <= 1 <= max(ratios):
        return "no difference seen"
    return "better" if (min(ratios) > 1) == more_is_better else "worse"


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench --compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV", help="what to compare this tree with: anything that git understands")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help=f"default and least: {LEAST_ROUNDS}")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--only", default=",".join(WORKS), help="some of " + ",".join(WORKS))
    parser.add_argument("--client", choices=("own", "this"), default="own",
                        help="whose weir bench drives the other revision's broker (default: own)")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--dir", default="/var/tmp", help="where the data directories go: the disk to measure")
    parser.add_argument("--keep", action="store_true", help="leave the worktree, built, for the next time")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.build = os.path.abspath(options.build)
    if options.rounds < LEAST_ROUNDS:
        parser.error(f"fewer than {LEAST_ROUNDS} rounds tell nothing")
    if not set(options.only) <= set(WORKS):
        parser.error(f"--only takes some of {','.join(WORKS)}")
    return options


def main():
    options = parse()
    with Revision(options.revision, options.keep) as other:
        client = options.build if options.client == "this" else other.build
        comparison = Comparison(options, (Side(options, other.build, client),
                                          Side(options, options.build, options.build)))
        for number in range(options.rounds):
            comparison.round(number)
        print(f"REV        {describe(other.sha)}")
        print(f"this tree  {describe_this()}")
        print(f"{system()}, {filesystem(options.dir)}, {options.shards} shard{'s' if options.shards > 1 else ''}; "
              f"{options.rounds} rounds of {options.seconds} s, order alternating; client: "
              f"{'each revision its own' if options.client == 'own' else 'this tree'}\n")
    print("\n".join(comparison.lines()))
    print("\nREV and this tree: medians. Ratio: this tree against REV, median of the rounds' ratios; range: "
          f"smallest to largest.\nOf figures without any difference one in {2 ** (options.rounds - 1)} has all its "
          "ratios on one side by chance.")
    if max(comparison.busy) > QUIET:
        print(f"Others used up to {max(comparison.busy):.0%} of the processors before a round: better again on a quiet "
              "machine.")
    print("\n" + "\n".join(f"{work:<8}{WORKS[work][0]}" for work in options.only))
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
