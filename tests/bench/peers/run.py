# SPDX-License-Identifier: Apache-2.0
"""Measures Weir beside other brokers, which are installed from package registries, on loopback, in
turns: in every round each work goes through all brokers, A B C, each in a fresh directory.

Every measurement is appended to a file as it ends, so that nothing is lost when one fails; the report
is made from that file: tables and plots in docs/benchmarks.md. A work's table shows the newest run
that measured it."""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..")]
from machine import Failure, cpu_source, filesystem, system  # noqa: E402
from peers import clients, install, kafka, load, nats, rabbitmq, redis, report, standing, targets, weir, works  # noqa: E402

BROKERS = {"weir": weir, "kafka": kafka, "redis": redis, "nats": nats, "rabbitmq": rabbitmq}
QUICK = 0.02
SECOND_OPINIONS = ("java",)  # what a short run does last
SHORT, SHORT_ROUNDS, SHORT_MINUTES = 0.5, 5, 60
GUESS_S = (6, 9)  # of a measurement that nobody has made yet: whatever the amount, and of the full amount


OF_THIS_MACHINE = ("--build", "--results", "--docs", "--dir")  # options that say where, not what


def repeat_command(words):
    """What to type for the same run, without the places of this machine."""
    kept = [word for before, word in zip(["", *words], words)
            if word not in OF_THIS_MACHINE and before not in OF_THIS_MACHINE]
    return " ".join(["./dev bench --peers", *kept])


class TimeOver(Exception):
    """No measurement is to begin any more."""


class Runner:
    def __init__(self, options):
        self.options = options
        self.id = time.strftime("%Y-%m-%dT%H:%M:%S")
        self.peers = [peer for name in options.peers for peer in BROKERS[name].peers(options)]
        self.clients = [client for module in (clients, *[BROKERS[name] for name in options.peers])
                        if hasattr(module, "clients") for client in module.clients(options)]
        self.works = [work for work in all_works() if work.name in options.only]
        self.failed = 0
        self.over = time.monotonic() + options.minutes * 60 if options.minutes else None
        self.took = known_times(options.results)

    def note(self, **record):
        with open(self.options.results, "a") as file:
            file.write(json.dumps({"run": self.id, **record}) + "\n")

    def install(self):
        """Installs what can be had; what cannot is said in the report."""
        for things in (self.peers, self.clients):
            for thing in list(things):
                try:
                    thing.install()
                except Failure as failure:
                    print(f"{thing.label}: {failure}", file=sys.stderr)
                    self.note(kind="absent", label=thing.label, reason=str(failure))
                    things.remove(thing)

    def begin(self):
        options = self.options
        self.note(kind="run", quick=options.quick, rounds=options.rounds, amount=options.amount, cpu_source=cpu_source(),
                  once=options.rounds + 1 if options.short else None,
                  date=time.strftime("%Y-%m-%d"), system=system(), filesystem=filesystem(options.dir),
                  command=repeat_command(sys.argv[1:]),
                  works=[work.name for work in self.works],
                  peers=[{"key": p.key, "label": p.label, "version": p.version, "synced": p.synced,
                          "settings": p.settings()} for p in self.peers],
                  clients=[{"key": c.key, "label": c.label, "version": c.version} for c in self.clients])

    def measure(self, number, work, peer, client):
        options = self.options
        if self.over and time.monotonic() > self.over:
            raise TimeOver
        begun = time.monotonic()
        busy = load.settle(not options.busy)
        about = {"kind": "figures", "round": number, "work": work.name, "peer": peer.key, "synced": peer.synced,
                 "client": client.key if client else None, "busy": round(busy, 3)}
        try:
            with peer:
                figures = work.run(peer, client, options.amount)
        except (Failure, OSError, subprocess.SubprocessError, LookupError, ValueError, ArithmeticError) as failure:
            self.failed += 1
            print(f"  {peer.label}: {failure}", file=sys.stderr)
            self.note(**{**about, "kind": "failure", "reason": f"{type(failure).__name__}: {failure}"[:1000]})
            return
        self.note(**about, took_s=round(time.monotonic() - begun, 1), figures=figures)
        print(f"  {peer.key:18} {about['client'] or '':12} " +
              "  ".join(f"{name} {figures[name]:,.3g}" for name in work.columns if figures.get(name) is not None),
              flush=True)

    def least_work(self, number, work):
        """The roofline beside the work, in both classes."""
        if not work.least:
            return
        *modes, chunk, in_flight = work.least
        size = work.least_bytes(self.options.amount)
        figures = None
        for synced, mode in zip((True, False), modes):
            if figures and modes[0] == modes[1]:  # both classes have the same row
                self.note(kind="figures", round=number, work=work.name, peer="roofline", client=None, synced=synced,
                          busy=0, figures=figures)
                continue
            with tempfile.TemporaryDirectory(dir=self.options.dir) as directory:
                command = [os.path.join(self.options.build, "tests", "bench", "roofline"), "--mode", mode, "--chunk",
                           str(chunk), "--in-flight", str(in_flight), "--seconds", "1" if self.options.quick else "4",
                           "--dir", directory, *(["--bytes", str(size)] if size else [])]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failure(f"roofline: {done.stderr.strip()}")
            found = json.loads(done.stdout)
            figures = {"mb_per_s": found["mb_per_s"], "broker_cpu_s_per_gb": found["cpu_s_per_gb"],
                       "messages_per_s": found["chunks_per_s"] if chunk <= works.KIB else None,
                       "command": f"roofline --mode {mode} --chunk {chunk} --in-flight {in_flight}"
                                  + (f" --bytes {size}" if size else "")}
            if in_flight == 1:
                figures.update(p50_us=found["p50_us"], p99_us=found["p99_us"])
            self.note(kind="figures", round=number, work=work.name, peer="roofline", client=None, synced=synced,
                      busy=0, figures=figures)

    def plan(self, which):
        """[(work, [(peer, client)])] of a round, works in order and brokers in turns."""
        return [(work, pairs) for work in self.works
                if (pairs := [(peer, client) for client in [*self.clients, None] for peer in self.peers
                              if work.suits(peer, client) and which(work, peer, client)])]

    def rounds(self):
        """[(number, plan)]. A short run repeats what the targets are about, and then does the rest once:
        what the report begins with first, second opinions last."""
        options = self.options
        if not options.short:
            return [(number, self.plan(lambda *_: True)) for number in range(1, options.rounds + 1)]
        aims = targets.needed()

        def aimed(work, peer, client):
            return (work.name, peer.key, client.key if client else None) in aims

        rounds = [(number, self.plan(aimed)) for number in range(1, options.rounds + 1)]

        def rank(work, peer, client):
            name = client.key if client else None
            if report.in_summary(work.name, peer.key, name) or name == clients.Discard.key:
                return 0
            return 2 if name in SECOND_OPINIONS else 1

        rest = [self.plan(lambda *which, place=place: not aimed(*which) and rank(*which) == place) for place in range(3)]
        return [*rounds, (options.rounds + 1, [one for part in rest for one in part])]

    def seconds(self, plan):
        """About how long a round takes: what each measurement took last time, or a guess."""
        guess = GUESS_S[0] + GUESS_S[1] * self.options.amount
        total = 0
        for work, pairs in plan:
            if work.least:
                total += 3 if self.options.quick else 9
            for peer, client in pairs:
                total += self.took.get((work.name, peer.key, client.key if client else None, self.options.amount), guess)
        return total

    def round(self, number, plan):
        last = "once" if self.options.short and number > self.options.rounds else f"of {self.options.rounds}"
        for work, pairs in plan:
            print(f"round {number} {last}: {work.title}", flush=True)
            if not (self.options.short and number > self.options.rounds and self.has_least(work)):
                self.least_work(number, work)
            for peer, client in pairs:
                self.measure(number, work, peer, client)

    def has_least(self, work):
        """Whether a short run has measured the least work beside this work already."""
        return any(work is other for other, _ in self.rounds()[0][1])

    def run(self):
        rounds = self.rounds()
        print("about " + ", ".join(f"{self.seconds(plan) / 60:.0f}" for _, plan in rounds) + " minutes, round by round"
              + (f"; at most {self.options.minutes:g}" if self.over else ""), file=sys.stderr)
        for number, plan in rounds:
            begun = time.monotonic()
            try:
                self.round(number, plan)
            except TimeOver:
                print(f"{self.options.minutes:g} minutes are over: the rest is left out", file=sys.stderr)
                return
            took = (time.monotonic() - begun) / 60
            print(f"round {number} took {took:.1f} minutes", file=sys.stderr)


def known_times(path):
    """{(work, peer, client, amount): seconds} of the last time."""
    known, amounts = {}, {}
    if os.path.exists(path):
        with open(path) as file:
            for record in map(json.loads, filter(str.strip, file)):
                if record["kind"] == "run":
                    amounts[record["run"]] = record["amount"]
                elif "took_s" in record:
                    known[record["work"], record["peer"], record["client"], amounts.get(record["run"])] = record["took_s"]
    return known


def all_works():
    return works.works() + standing.works()


def arguments():
    known = [work.name for work in all_works()]
    usual = [work.name for work in all_works() if not getattr(work, "optional", False)]
    parser = argparse.ArgumentParser(prog="./dev bench --peers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="2 rounds of small amounts, to see that it works; the report goes to standard output")
    parser.add_argument("--short", action="store_true",
                        help=f"{SHORT_ROUNDS} rounds of what the targets are about, with {SHORT:g} of the full amounts, then the "
                             f"rest once; at most {SHORT_MINUTES} minutes")
    parser.add_argument("--rounds", type=int, help=f"(default: {SHORT_ROUNDS})")
    parser.add_argument("--amount", type=float, help="share of each work's full size (default: 1)")
    parser.add_argument("--minutes", type=float, help="begin no measurement after so long; what there is is reported")
    parser.add_argument("--peers", dest="peers", default=",".join(BROKERS), help=f"some of {','.join(BROKERS)}")
    parser.add_argument("--only", default=",".join(usual), help=f"some of {','.join(known)}")
    parser.add_argument("--shards", type=int, default=1, help="of Weir")
    parser.add_argument("--dir", default="/var/tmp", help="where the data directories go: the disk to measure")
    parser.add_argument("--busy", action="store_true", help="measure even while others use the processors")
    parser.add_argument("--keep", action="store_true", help="leave the brokers' directories, with their logs")
    parser.add_argument("--install", action="store_true", help="install, and do nothing else")
    parser.add_argument("--report", action="store_true", help="make the report of what was measured, and do nothing else")
    parser.add_argument("--results", help="the file of measurements (default: build/peers/results.jsonl)")
    parser.add_argument("--build", default="build/release", help=argparse.SUPPRESS)
    parser.add_argument("--docs", default="docs", help="where benchmarks.md and plots/ are (default: docs)")
    options = parser.parse_args()
    options.peers, options.only = options.peers.split(","), options.only.split(",")
    works.check_names(options.peers, list(BROKERS))
    works.check_names(options.only, known)
    options.rounds = options.rounds or SHORT_ROUNDS
    options.amount = options.amount or (SHORT if options.short else 1.0)
    options.minutes = options.minutes or (SHORT_MINUTES if options.short else None)
    if options.quick:
        options.rounds, options.amount = min(options.rounds, 2), min(options.amount, QUICK)
    if not options.quick and not options.install:
        os.makedirs(options.docs, exist_ok=True)
    options.build = os.path.abspath(options.build)
    options.dir = os.path.abspath(options.dir)
    os.environ.setdefault("WEIR_BUILD", options.build)
    os.makedirs(install.CACHE, exist_ok=True)
    options.results = options.results or os.path.join(install.CACHE, "quick.jsonl" if options.quick else "results.jsonl")
    return options


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # brokers are stopped on the way out
    try:
        options = arguments()
        if not options.report:
            runner = Runner(options)
            runner.install()
            if options.install:
                return 0
            runner.begin()
            runner.run()
        text, plots = report.make(options.results, all_works())
        if options.quick:
            print(text)
        else:
            report.write(options.docs, text, plots)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not options.report and runner.failed:
        print(f"{runner.failed} measurements failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
