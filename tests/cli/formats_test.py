# SPDX-License-Identifier: Apache-2.0
"""Records that go in as they come out: JSON, CSV, hexadecimal digits, msgpack; and broken input."""
import json
import os
import tempfile
import unittest

from command import CommandTest
from harness import script

RECORDS = [
    {"key": "plain", "value": "text", "headers": [], "timestamp": 1769947200250},
    {"key": None, "value": "no key", "headers": [{"name": "a", "value": "1"}], "timestamp": 1},
    {"key": "", "value": "", "headers": [{"name": "a", "value": ""}, {"name": "a", "value": None}],
     "timestamp": 2},
    {"key_base64": "/wD+", "value_base64": "AAEC/w==", "headers": [{"name": "bin", "value_base64": "/w=="}],
     "timestamp": 3},
    {"key": "gone", "value": None, "headers": [], "timestamp": 4},
    {"key": "a,b", "value": "two\r\nlines, \"quoted\"\n", "headers": [], "timestamp": 5},
]


class Formats(CommandTest):
    def records(self, topic):
        lines = self.weir("consume", topic, "-e", "--format", "json").decode().splitlines()
        kept = {"key", "key_base64", "value", "value_base64", "headers", "timestamp"}
        return [{name: value for name, value in json.loads(line).items() if name in kept} for line in lines]

    def fill(self, topic):
        data = "".join(json.dumps(record) + "\n" for record in RECORDS)
        self.weir("produce", topic, "--format", "json", data=data.encode())
        self.assertEqual(self.records(topic), RECORDS)
        return topic

    def test_what_comes_out_goes_in(self):
        source = self.fill("source")
        for name in ("json", "csv", "msgpack", "hex"):
            with self.subTest(format=name):
                printed = self.weir("consume", source, "-e", "--format", name)
                self.weir("produce", f"copy-{name}", "--format", name, data=printed)
                expected = RECORDS
                if name == "hex":  # has no timestamps
                    expected = [{**record, "timestamp": None} for record in RECORDS]
                copied = self.records(f"copy-{name}")
                if name == "hex":
                    copied = [{**record, "timestamp": None} for record in copied]
                self.assertEqual(copied, expected)

    def test_raw_is_one_value(self):
        data = os.urandom(300000)
        self.weir("produce", "raw", "--format", "raw", "-H", "type=image", "--key", "logo", data=data)
        self.assertEqual(self.weir("consume", "raw", "-e", "-F", "raw"), data)
        self.assertEqual(self.weir("consume", "raw", "-e", "-F", r"%k %h\n"), b"logo type=image\n")
        self.refused(1, "produce", "raw", "--format", "raw", "--max-bytes", "1K", data=data, says="--max-bytes")

    def test_values_that_are_no_text_are_stored_as_json(self):
        self.weir("produce", "typed", "-F", "json", data=b'{"value": {"n": [1, true]}, "key": 7}\n\n{"value": 1.5}\n')
        self.assertEqual(self.weir("consume", "typed", "-e", "-F", r"%k %s\n"), b'7 {"n":[1,true]}\n 1.5\n')

    def test_a_key_for_those_without(self):
        self.weir("produce", "keys", "-k", ":", "--key", "none", data=b"a:1\n2\n:3\n")
        self.weir("produce", "keys", "-F", "json", "--key", "none", data=b'{"value": 4, "key": "b"}\n{"value": 5}\n')
        self.assertEqual(self.weir("consume", "keys", "-e", "-F", "%k=%s "), b"a=1 none=2 =3 b=4 none=5 ")

    def test_columns(self):
        self.weir("produce", "columns", "-F", "csv", "-H", "all=yes",
                  data=b'header.zone,value,key\neu,"a ""b"", c",k1\n,plain,\r\n"","",""\n')
        self.assertEqual(self.weir("consume", "columns", "-e", "-F", r"%K %k|%s|%h\n"),
                         b'2 k1|a "b", c|zone=eu,all=yes\n-1 |plain|all=yes\n0 ||zone=,all=yes\n')

    def stops(self, name, data, says, before=0, **more):
        """Bad input: one line, and nothing behind it is stored."""
        topic = f"stops-{abs(hash((name, data)))}"
        self.weir("topic", "create", topic)
        line = self.refused(1, "produce", topic, "-F", name, *more.get("options", ()), data=data, says=says)
        self.assertIn("(nothing is stored)" if before == 0 else "(the record before it is stored, " if before == 1 else
                      f"(the {before} records before it are stored, ", line)
        self.assertEqual(len(self.records(topic)), before)

    def test_broken_json(self):
        good = b'{"value": "x"}\n'
        self.stops("json", good + b'{"value": "x"\n' + good, "line 2: it is no JSON", 1)
        self.stops("json", b"[1]\n" + good, "line 1: it is no object")
        self.stops("json", b'{"key": "k"}\n' + good, "line 1: there is no 'value'")
        self.stops("json", b'{"value": "x", "vlaue": 1}\n', "there is no 'vlaue'")
        self.stops("json", b'{"value_base64": "=?"}\n', "'value_base64' is no base64")
        self.stops("json", b'{"value": "x", "headers": {"a": 1}}\n', "'headers' is no list")
        self.stops("json", b'{"value": "x", "timestamp": "now"}\n', "'timestamp' is no number")
        self.stops("json", b'{"value": "\xff"}\n', "line 1: it is no JSON")

    def test_broken_csv(self):
        self.stops("csv", b"key,name\na,b\n", "line 1: column 'name' is unknown")
        self.stops("csv", b"key\na\n", "line 1: the first line names no column 'value'")
        self.stops("csv", b"key,value\na,b\nc\nd,e\n", "line 3: it has 1 columns, the first line names 2", 1)
        self.stops("csv", b'value\n"open\n', "the input ends inside quotes")
        self.stops("csv", b'value\n"a"b\n', "behind a closing quote")
        self.stops("csv", b"value,timestamp\nx,noon\n", "'timestamp' is no number")

    def test_broken_hex_and_msgpack(self):
        self.stops("hex", b"61\tzz\n", "line 1: 'zz' is no pair")
        self.stops("hex", b"616\n", "odd")
        self.stops("hex", b"-\t61\t62\n", "a header is NAME=VALUE")
        good = b"\x81\xa5value\xa1x"
        self.stops("msgpack", good + b"\xc1", "record 2: it is no msgpack", 1)
        self.stops("msgpack", good + b"\x07", "record 2: it is no map", 1)
        self.stops("msgpack", good + good[:4], "record 2: the input ends inside a record", 1)
        self.stops("msgpack", b"\x81\xa3key\xa1x", "record 1: there is no 'value'")
        self.stops("msgpack", b"\xc6\x7f\xff\xff\xff" + b"x" * 100000, "--max-bytes", options=("--max-bytes", "1K"))

    def test_options_that_make_no_sense(self):
        self.refused(2, "produce", "options", "-F", "json", "-k", ":", says="--format lines")
        self.refused(2, "produce", "options", "-F", "json", "-Z", says="--format lines")
        self.refused(2, "produce", "options", "-F", "xml", says="give one of lines, json")

    def test_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"value,key\nfrom,file\n")
            file.flush()
            self.weir("produce", "from-file", "-F", "csv", "-f", file.name)
        self.assertEqual(self.weir("consume", "from-file", "-e", "-F", r"%k %s\n"), b"file from\n")


if __name__ == "__main__":
    script.main()
