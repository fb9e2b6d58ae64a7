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
from machine import Failure, filesystem, system  # noqa: E402
from peers import clients, install, kafka, load, nats, rabbitmq, redis, report, standing, weir, works  # noqa: E402

BROKERS = {"weir": weir, "kafka": kafka, "redis": redis, "nats": nats, "rabbitmq": rabbitmq}
QUICK = 0.02


class Runner:
    def __init__(self, options):
        self.options = options
        self.id = time.strftime("%Y-%m-%dT%H:%M:%S")
        self.peers = [peer for name in options.peers for peer in BROKERS[name].peers(options)]
        self.clients = [client for module in (clients, *[BROKERS[name] for name in options.peers])
                        if hasattr(module, "clients") for client in module.clients(options)]
        self.works = [work for work in all_works() if work.name in options.only]
        self.failed = 0

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
        self.note(kind="run", quick=options.quick, rounds=options.rounds, amount=options.amount,
                  date=time.strftime("%Y-%m-%d"), system=system(), filesystem=filesystem(options.dir),
                  command="./dev bench --peers" + "".join(f" {word}" for word in sys.argv[1:] if word != "--build"
                                                          and word != options.given_build),
                  works=[work.name for work in self.works],
                  peers=[{"key": p.key, "label": p.label, "version": p.version, "synced": p.synced,
                          "settings": p.settings()} for p in self.peers],
                  clients=[{"key": c.key, "label": c.label, "version": c.version} for c in self.clients])

    def measure(self, number, work, peer, client):
        options = self.options
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
        self.note(**about, figures=figures)
        print(f"  {peer.key:18} {about['client'] or '':12} " +
              "  ".join(f"{name} {figures[name]:,.3g}" for name in work.columns if figures.get(name) is not None),
              flush=True)

    def least_work(self, number, work):
        """The roofline beside the work, in both classes."""
        if not work.least:
            return
        *modes, chunk, in_flight = work.least
        for synced, mode in zip((True, False), modes):
            with tempfile.TemporaryDirectory(dir=self.options.dir) as directory:
                command = [os.path.join(self.options.build, "tests", "bench", "roofline"), "--mode", mode, "--chunk",
                           str(chunk), "--in-flight", str(in_flight), "--seconds", "1" if self.options.quick else "4",
                           "--dir", directory]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failure(f"roofline: {done.stderr.strip()}")
            found = json.loads(done.stdout)
            figures = {"mb_per_s": found["mb_per_s"], "broker_cpu_s_per_gb": found["cpu_s_per_gb"],
                       "messages_per_s": found["chunks_per_s"] if chunk <= works.KIB else None,
                       "command": f"roofline --mode {mode} --chunk {chunk} --in-flight {in_flight}"}
            if in_flight == 1:
                figures.update(p50_us=found["p50_us"], p99_us=found["p99_us"])
            self.note(kind="figures", round=number, work=work.name, peer="roofline", client=None, synced=synced,
                      busy=0, figures=figures)

    def round(self, number):
        for work in self.works:
            print(f"round {number} of {self.options.rounds}: {work.title}", flush=True)
            self.least_work(number, work)
            for client in [*self.clients, None]:
                for peer in self.peers:
                    if work.suits(peer, client):
                        self.measure(number, work, peer, client)


def all_works():
    return works.works() + standing.works()


def arguments():
    known = [work.name for work in all_works()]
    usual = [work.name for work in all_works() if not getattr(work, "optional", False)]
    parser = argparse.ArgumentParser(prog="./dev bench --peers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="2 rounds of small amounts, to see that it works; the report goes to standard output")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--amount", type=float, default=1.0, help="share of each work's full size (default: 1)")
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
    parser.add_argument("--docs", default="docs", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.peers, options.only = options.peers.split(","), options.only.split(",")
    works.check_names(options.peers, list(BROKERS))
    works.check_names(options.only, known)
    if options.quick:
        options.rounds, options.amount = min(options.rounds, 2), min(options.amount, QUICK)
    options.given_build, options.build = options.build, os.path.abspath(options.build)
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
            for number in range(1, options.rounds + 1):
                runner.round(number)
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
