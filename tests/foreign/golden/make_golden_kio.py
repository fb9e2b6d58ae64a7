#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden bytes of the messages that kafka-python does not know, encoded by kio, which knows all.

    make_golden_kio.py > golden-kio-<version>.txt

Run it with an interpreter that has kio, and kafka-python for make_golden.py, whose random values and
format of lines these are.
"""

import dataclasses
import datetime
import importlib
import importlib.metadata
import io
import os
import random
import sys
import typing
import uuid

import make_golden
from generate import Api
from kio.serial import entity_writer
from kio.schema.errors import ErrorCode
from kio.static.primitive import i32Timedelta

APIS = ("consumer_group_heartbeat", "consumer_group_describe")
ROUNDS = 4


def convert(field, value, theirs, annotation):
    """Our value as kio wants it."""
    if value is None:
        return None
    if field.array:
        inner = [one for one in arguments_of(annotation) if one is not Ellipsis]
        return tuple(convert_one(field, one, theirs, inner[0]) for one in value)
    return convert_one(field, value, theirs, annotation)


def arguments_of(annotation):
    """What an array, perhaps a nullable one, has inside."""
    for one in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(one) is tuple:
            return typing.get_args(one)
    raise SystemExit(f"not an array: {annotation}")


def convert_one(field, value, theirs, annotation):
    if field.struct:
        kinds = [one for one in (annotation, *typing.get_args(annotation)) if dataclasses.is_dataclass(one)]
        return fill(field.struct, value, kinds[0])
    kind = theirs.metadata.get("kafka_type")
    if kind == "timedelta_i32":
        return i32Timedelta.parse(datetime.timedelta(milliseconds=value))
    if kind == "error_code":
        return ErrorCode(value)
    return uuid.UUID(bytes=value) if kind == "uuid" else value


def fill(struct, values, cls):
    """Fields stand in the same order on both sides."""
    ours = [field for field in struct.fields if cls.__version__ in field.versions]
    fields = dataclasses.fields(cls)
    if len(ours) != len(fields):
        raise SystemExit(f"{cls.__name__}: {len(ours)} fields here, {len(fields)} there")
    hints = typing.get_type_hints(cls)
    return cls(**{there.name: convert(here, values[here.name], there, hints[there.name])
                  for here, there in zip(ours, fields)})


def soften(struct, values, rng):
    """kio takes only error codes that exist."""
    for field in struct.fields:
        value = values.get(field.name)
        if field.name == "error_code":
            values[field.name] = rng.choice((0, 16, 25, 110))
        elif field.struct and value is not None:
            for one in value if field.array else [value]:
                soften(field.struct, one, rng)


def main():
    rng = random.Random(68)
    print("# SPDX-License-Identifier: Apache-2.0")
    print(f"# Encoded by kio {importlib.metadata.version('kio')}; see make_golden_kio.py.")
    for name in APIS:
        api = Api(os.path.join(make_golden.ROOT, "protocol", "schema", name + ".txt"))
        for kind in ("request", "response"):
            for version in list(range(api.versions.first, api.versions.last + 1)) * ROUNDS:
                values = make_golden.make_struct(api.roots[kind], version, rng)
                soften(api.roots[kind], values, rng)
                module = importlib.import_module(f"kio.schema.{name}.v{version}.{kind}")
                cls = getattr(module, api.name + kind.capitalize())
                out = io.BytesIO()
                entity_writer(cls)(out, fill(api.roots[kind], values, cls))
                print(name, kind, version, out.getvalue().hex(),
                      make_golden.dump_struct(api.roots[kind], values))


if __name__ == "__main__":
    sys.exit(main())
