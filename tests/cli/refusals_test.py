# SPDX-License-Identifier: Apache-2.0
"""Every command where nothing works: no broker, no such topic, group or setting, nonsense for
arguments. One line says what and what to do, the exit code is not 0, nothing is half written."""
import os
import socket
import subprocess

from command import CommandTest
from harness import script

# How each command that talks to a broker is called.
CALLS = {
    "topic create": ["t"],
    "topic list": [],
    "topic describe": ["t"],
    "topic alter": ["t", "-p", "2"],
    "topic delete": ["t"],
    "topic offsets": ["t"],
    "topic delete-records": ["t", "--before", "end"],
    "group list": [],
    "group describe": ["g"],
    "group reset": ["g", "--to", "end", "-t", "t", "--execute"],
    "group delete": ["g"],
    "group delete-offsets": ["g", "t"],
    "group remove-member": ["g", "i"],
    "config get": ["topic", "t"],
    "config set": ["topic", "t", "retention.ms=1"],
    "config unset": ["topic", "t", "retention.ms"],
    "cluster": [],
    "top": ["--once", "-i", "100ms"],
    "produce": ["t"],
    "consume": ["t"],
    "tail": ["t"],
    "pipe": ["--from", "t", "--to", "u", "--group", "g", "--", "cat"],
    "bench produce": ["t", "-n", "1"],
    "bench consume": ["t", "-n", "1"],
    "bench roundtrip": ["t", "-n", "1"],
}
# Other ways to call some of them.
VARIANTS = [
    ("consume", ["-g", "g", "t"]), ("consume", ["-g", "g", "t", "-e"]), ("consume", ["t", "-e", "-p", "0"]),
    ("produce", ["t", "--format", "json"]), ("produce", ["t", "--format", "csv"]),
    ("produce", ["t", "--format", "msgpack"]), ("produce", ["t", "--format", "hex"]),
    ("produce", ["t", "--format", "raw"]), ("config get", ["broker", "1"]), ("cluster", ["--apis"]),
    ("top", ["-o", "json"]), ("group reset", ["g", "--to", "end"]), ("bench produce", ["-n", "1"]),
    ("bench consume", ["-n", "1"]), ("bench roundtrip", ["-n", "1"]), ("topic list", ["-o", "json"]),
]
# Commands that talk to nobody.
ALONE = {"log verify", "log dump", "log repair", "completion", "manual"}
INPUT = b'{"value": "x"}\n'


class Refusals(CommandTest):
    settings = ("auto.create.topics.enable=false",)

    def calls(self):
        yield from CALLS.items()
        yield from VARIANTS

    def nothing(self, code, *arguments, **more):
        """Refused with a line, and nothing on standard output."""
        done = subprocess.run(self.command(*arguments), input=more.get("data", INPUT), capture_output=True,
                              timeout=100, env=self.environment())
        said = done.stderr.decode(errors="replace")
        self.assertEqual((done.returncode, done.stdout), (code, b""), said)
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("weir "), said)
        self.assertIn(more.get("says", ""), said)
        return said

    def test_all_commands_are_here(self):
        overview = self.weir("--help").decode().split("Commands:\n")[1].split("\n\n")[0]
        names = {line[len("  weir "):].split("  ")[0].strip() for line in overview.splitlines()}
        self.assertEqual(names, set(CALLS) | ALONE)

    def test_unreachable_brokers(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % nobody.getsockname()[1]
            for name, arguments in self.calls():
                with self.subTest(command=name, arguments=arguments):
                    self.nothing(4, *name.split(), "-b", address, "--timeout", "300ms", *arguments,
                                 says="is the broker running there?")

    def test_brokers_that_speak_something_else(self):
        with socket.socket() as web:
            web.bind(("127.0.0.1", 0))
            web.listen()
            web.settimeout(100)
            address = "127.0.0.1:%d" % web.getsockname()[1]
            process = subprocess.Popen(self.command("topic", "list", "-b", address, "--timeout", "300ms"),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            connection, _ = web.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            out, said = process.communicate(timeout=100)
            connection.close()
            self.assertEqual((process.returncode, out, said.count(b"\n")), (4, b"", 1), said)

    def test_a_name_nobody_knows(self):
        self.nothing(4, "topic", "list", "-b", "no-such-host.invalid", "--timeout", "300ms")
        for address in ("", "host:", "host:0", "host:70000", ":9092", "a,,b", "[::1"):
            with self.subTest(address=address):
                self.nothing(2, "topic", "list", "-b", address, says="HOST:PORT")

    def test_unknown_topics(self):
        refused = {
            "topic describe", "topic alter", "topic delete", "topic offsets", "topic delete-records", "group reset",
            "group delete-offsets", "config get", "config set", "config unset", "produce", "consume", "tail",
            "pipe", "bench produce", "bench consume", "bench roundtrip"}
        soon = ("-X", "topic.metadata.propagation.max.ms=300")
        for name, arguments in self.calls():
            if name not in refused or "t" not in arguments:
                continue
            with self.subTest(command=name, arguments=arguments):
                data = {"csv": b"value\nx\n", "hex": b"61\n", "msgpack": b"\x81\xa5value\xa1x"}
                said = self.nothing(3, *name.split(), *soon, *arguments, data=data.get(arguments[-1], INPUT))
                self.assertIn("t", said)
                self.assertIn("'weir topic list' shows what there is", said)

    def test_unknown_groups(self):
        for name in ("group describe", "group delete", "group reset"):
            with self.subTest(command=name):
                more = ["--to", "end"] if name == "group reset" else []
                self.assertIn("'no-such-group'", self.nothing(3, *name.split(), "no-such-group", *more))
        self.nothing(3, "group", "remove-member", "no-such-group", "i")

    def test_names_that_cannot_be(self):
        for topic in ("", "a b", "..", "x" * 250, "a/b", "ä"):
            for command in (["topic", "create", topic], ["produce", topic, "-X", "topic.metadata.propagation.max.ms=300"],
                            ["consume", topic, "-e"], ["topic", "offsets", topic]):
                with self.subTest(command=command):
                    done = subprocess.run(self.command(*command), input=b"x\n", capture_output=True, timeout=100,
                                          env=self.environment())
                    self.assertIn(done.returncode, (1, 2, 3), done.stderr)
                    self.assertEqual((done.stdout, done.stderr.count(b"\n")), (b"", 1), done.stderr)
        self.weir("topic", "create", "exists")
        for group in ("", "g" * 33000):
            with self.subTest(group=group[:10]):
                done = subprocess.run(self.command("consume", "-g", group, "exists", "-e"), capture_output=True,
                                      timeout=100, env=self.environment())
                self.assertIn(done.returncode, (1, 2), done.stderr[:200])
                self.assertEqual((done.stdout, done.stderr.count(b"\n")), (b"", 1), done.stderr[:200])

    def test_options_of_other_tools_are_known(self):
        for words, says in ((("consume", "t", "--from-beginning"), "did you mean --from beginning?"),
                            (("consume", "t", "--bootstrap-server", "a:1"), "did you mean --brokers?"),
                            (("topic", "create", "t", "--replication-factor=1"), "did you mean --replication?"),
                            (("group", "reset", "g", "--to-earliest"), "did you mean --to beginning?")):
            with self.subTest(words=words):
                self.nothing(2, *words, says=says)

    def test_settings_that_are_not_there(self):
        self.weir("topic", "create", "set")
        self.nothing(1, "config", "set", "topic", "set", "retention.m=1", says="did you mean retention.ms?")
        self.nothing(1, "config", "set", "topic", "set", "retention.ms=soon", says="retention.ms")
        self.nothing(1, "config", "set", "topic", "set", "retention.ms=5", "no.such=1")
        self.assertEqual(self.weir("config", "get", "topic", "set", "-o", "json"), b"[]\n", "all or nothing")
        self.nothing(2, "config", "set", "topic", "set", "retention.ms", says="NAME=VALUE")
        self.nothing(3, "config", "get", "topic", "set", "no.such", says="--all")
        self.nothing(3, "config", "get", "broker", "77", says="'weir cluster' shows them")
        self.nothing(2, "config", "get", "table", "x", says="topic NAME or broker ID")

    def test_files_that_cannot_be_read(self):
        self.weir("topic", "create", "files")
        self.nothing(1, "produce", "files", "--file", "/no/such/file", says="No such file")
        self.nothing(1, "produce", "files", "--file", "/", says="directory")
        for command in (["verify"], ["dump"], ["repair", "--drop-range"]):
            self.nothing(2, "log", *command, "/no/such/directory", says="/no/such/directory")

    def test_binary_keys_pass_through_all_formats_and_tables(self):
        self.weir("topic", "create", "bin")
        key, value = bytes(range(256)), b"\x00\xff\n\x1b[31m"
        line = b'{"key_base64": "%s", "value_base64": "%s"}\n' % tuple(
            subprocess.run(["base64", "-w0"], input=part, capture_output=True, check=True).stdout
            for part in (key, value))
        self.weir("produce", "bin", "-F", "json", data=line)
        self.assertEqual(self.weir("consume", "bin", "-e", "-F", "%k"), key)
        self.assertEqual(self.weir("consume", "bin", "-e", "-F", "raw"), value)
        self.assertEqual(self.weir("consume", "bin", "-e", "-F", "hex"), key.hex().encode() + b"\t" + value.hex().encode() + b"\n")
        self.assertEqual(self.weir("tail", "bin", "-e", "-w", r"key ~ '\x00\x01'", "-F", "%o"), b"0")


if __name__ == "__main__":
    script.main()
