#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden bytes: messages that kafka-python encoded, for our codecs to decode.

    make_golden.py > golden-<version of kafka-python>.txt

Run it with the interpreter whose kafka-python is to speak: version 2.0 knows the messages as tuples
and only old versions; version 3 knows them by the names of their fields, flexible ones too. Each
line is: api, kind, version, the bytes in hex, and the values as protocol/describe.h dumps them.

The values are random but the same in every run. They are made for our schemas; a schema that
differs from kafka-python's in the number, order, type or (version 3) name of a field stops the
script. Messages that kafka-python 2.0 itself gets wrong are listed in UNSUITABLE with the reason.
"""

import glob
import importlib
import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
sys.path.insert(0, os.path.join(ROOT, "protocol", "gen"))
import generate  # noqa: E402  (the parser of our schemas)

import kafka  # noqa: E402
import kafka.protocol  # noqa: E402

LIMITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


class Mismatch(Exception):
    pass


# ---- values ----

def make_value(field, version, rng):
    if version in field.nulls and rng.random() < 0.25:
        return None
    if field.array:
        return [make_one(field, version, rng) for _ in range(rng.choice((0, 1, 2, 2, 2)))]
    return make_one(field, version, rng)


def make_one(field, version, rng):
    if field.struct:
        return make_struct(field.struct, version, rng)
    if field.base == "bool":
        return rng.random() < 0.5
    if field.base in LIMITS:
        bits = rng.randrange(LIMITS[field.base] + 1)
        return rng.randrange(-(1 << bits), 1 << bits)
    if field.base == "uuid":
        return rng.randbytes(16)
    if field.base == "string":
        size = rng.choice((0, 1, 5, 9, 9, 130 if rng.random() < 0.1 else 3))
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz-_.0123456789") for _ in range(size))
    return rng.randbytes(rng.randrange(12))


def default_of(field):
    if field.default == "null":
        return None
    if field.array:
        return []
    if field.struct:
        return {inner.name: default_of(inner) for inner in field.struct.fields}
    if field.base in LIMITS:
        return int(field.default or 0)
    if field.base == "bool":
        return field.default == "true"
    return {"uuid": bytes(16), "string": "", "bytes": b"", "records": None}[field.base]


def make_struct(struct, version, rng):
    """A dictionary with the fields of this version, in the order of the schema."""
    values = {}
    for field in struct.fields:
        if version in field.versions:
            omit = field.tag is not None and rng.random() < 0.5
            values[field.name] = default_of(field) if omit else make_value(field, version, rng)
    return values


# ---- our dump ----

def dump(field, value):
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(dump(field, one) for one in value) + "]"
    if field.struct:
        return dump_struct(field.struct, value)
    if field.base == "bool":
        return "true" if value else "false"
    if field.base == "uuid":
        return f'"{value.hex()}"'
    if field.base == "string":
        return f'"{value}"'
    if field.base in ("bytes", "records"):
        return '{"hex":"' + value.hex() + '"}'
    return str(value)


def dump_struct(struct, values):
    parts = [f'"{field.name}":{dump(field, values[field.name])}'
             for field in struct.fields if field.name in values]
    return "{" + ",".join(parts) + "}"


# ---- kafka-python 2.0: tuples ----

OLD_TYPES = {"bool": "Boolean", "int8": "Int8", "int16": "Int16", "int32": "Int32",
             "int64": "Int64", "string": "String", "bytes": "Bytes", "records": "Bytes"}
OLD_NAMES = {"GroupCoordinator": "FindCoordinator", "Offset": "ListOffsets",
             "ApiVersion": "ApiVersions"}
# What kafka-python 2.0.2 itself describes wrongly; Kafka's definitions and version 3 agree with us.
UNSUITABLE = {
    "Fetch request 7": "its type of a forgotten topic's name cannot be encoded",
    "Fetch request 8": "the same",
    "Fetch request 9": "the same",
    "Fetch request 10": "the same",
    "Fetch request 11": "the same",
    "ListOffsets request 4": "an int64 for the leader epoch",
    "ListOffsets request 5": "the same",
    "FindCoordinator response 1": "the throttle time is missing",
    "DescribeGroups response 3": "the authorized operations are missing",
    "ListGroups request 2": "announces version 1",
    "DescribeConfigs response 1": "a bool for the config source",
    "AlterConfigs response 1": "has the request's fields",
}


def old_name(foreign):
    return getattr(foreign, "__name__", type(foreign).__name__)


def old_fields(struct, values, version, foreign, where):
    """The values of a struct as a tuple, nested where kafka-python groups plain fields."""
    fields = iter([field for field in struct.plain() if version in field.versions])

    def fill(schema):
        result = []
        for kind in schema.fields:
            if old_name(kind) == "Schema":
                result.append(fill(kind))
                continue
            field = next(fields, None)
            if field is None:
                raise Mismatch(f"{where}: more fields there: {foreign.names}")
            result.append(old_value(field, values[field.name], version, kind, where))
        return tuple(result)

    result = fill(foreign)
    if next(fields, None) is not None:
        raise Mismatch(f"{where}: fewer fields there: {foreign.names}")
    return result


def old_value(field, value, version, foreign, where):
    where = f"{where}.{field.name}"
    if field.array:
        if old_name(foreign) != "Array":
            raise Mismatch(f"{where}: no array there")
        if value is None:
            return None
        return [old_one(field, one, version, foreign.array_of, where) for one in value]
    return old_one(field, value, version, foreign, where)


def old_one(field, value, version, foreign, where):
    if field.struct:
        if old_name(foreign) != "Schema":
            # An array of structs of one field may stand there as an array of that field.
            inner = [one for one in field.struct.plain() if version in one.versions]
            if len(inner) != 1:
                raise Mismatch(f"{where}: no struct there")
            return old_value(inner[0], value[inner[0].name], version, foreign, where)
        return old_fields(field.struct, value, version, foreign, where)
    if old_name(foreign) != OLD_TYPES.get(field.base):
        raise Mismatch(f"{where}: {old_name(foreign)} there, {field.base} here")
    return value


def old_classes():
    """Pairs of (API's name, kind) and the list of classes by version."""
    found = {}
    for name in ("admin", "fetch", "produce", "offset", "metadata", "commit", "group"):
        module = importlib.import_module(f"kafka.protocol.{name}")
        for attribute, value in vars(module).items():
            for kind in ("Request", "Response"):
                if attribute.endswith(kind) and isinstance(value, list):
                    api = attribute[:-len(kind)]
                    found[OLD_NAMES.get(api, api), kind.lower()] = value
    return found


def old_encode(classes, version, struct, values, where):
    if version >= len(classes):
        return None
    foreign = classes[version]
    if foreign.API_VERSION != version:
        raise Mismatch(f"{where}: version {foreign.API_VERSION} there")
    # It holds no reference to itself while it encodes, so we must.
    message = foreign(*old_fields(struct, values, version, foreign.SCHEMA, where))
    return message.encode()


# ---- kafka-python 3: names ----

def new_classes(apis):
    """Message classes straight from kafka-python's schemas: its own ones rename some fields."""
    from kafka.protocol.api_message import ApiMessage
    found = {}
    for api in apis:
        for kind in ("Request", "Response"):
            found[api.name, kind.lower()] = type(ApiMessage)(
                api.name + kind, (ApiMessage,), {"__module__": __name__})
    return found


def new_value(field, value, version, foreign, where):
    if value is None:
        return None
    if field.array:
        return [new_one(field, one, version, foreign, where) for one in value]
    return new_one(field, value, version, foreign, where)


def new_one(field, value, version, foreign, where):
    if field.struct:
        arguments = new_arguments(field.struct, value, version, foreign, where)
        return foreign.data_class(version=version, **arguments)
    return uuid.UUID(bytes=value) if field.base == "uuid" else value


def new_arguments(struct, values, version, foreign, where):
    ours = {field.name for field in struct.fields if version in field.versions}
    theirs = {field.name for field in foreign._fields if field.for_version_q(version)}
    if ours != theirs:
        raise Mismatch(f"{where}: only one side has {sorted(ours ^ theirs)}")
    arguments = {}
    for field in struct.fields:
        if field.name not in ours:
            continue
        other = foreign.fields[field.name]
        if other.tag != field.tag:
            raise Mismatch(f"{where}.{field.name}: tag {other.tag} there")
        if bool(field.array) != other._type_str.startswith("[]"):
            raise Mismatch(f"{where}.{field.name}: {other._type_str} there")
        if (version in field.nulls) != other.nullable_for_version_q(version):
            raise Mismatch(f"{where}.{field.name}: null is allowed on one side only")
        value = values[field.name]
        if field.tag is None or value != default_of(field):
            arguments[field.name] = new_value(field, value, version, other,
                                              f"{where}.{field.name}")
    return arguments


def new_encode(cls, version, struct, values, where):
    if version > cls.max_version:
        return None
    return cls(version=version, **new_arguments(struct, values, version, cls._struct,
                                                where)).encode()


# ---- all messages ----

def main():
    paths = sorted(glob.glob(os.path.join(ROOT, "protocol", "schema", "*.txt")))
    apis = sorted((generate.Api(path) for path in paths), key=lambda api: api.key)
    old = kafka.__version__.startswith("2.0.")
    classes, encode = (old_classes(), old_encode) if old else (new_classes(apis), new_encode)
    rng = random.Random(18)
    print("# SPDX-License-Identifier: Apache-2.0")
    print(f"# Encoded by kafka-python {kafka.__version__}; see make_golden.py.")
    for api in apis:
        for kind in ("request", "response"):
            if (api.name, kind) not in classes:
                continue
            struct = api.roots[kind]
            for version in range(api.versions.first, api.versions.last + 1):
                where = f"{api.name} {kind} {version}"
                values = make_struct(struct, version, rng)
                if old and where in UNSUITABLE:
                    continue
                try:
                    data = encode(classes[api.name, kind], version, struct, values, where)
                except Mismatch as mismatch:
                    sys.exit(str(mismatch))
                if data is not None:
                    print(api.snake, kind, version, data.hex(), dump_struct(struct, values))


if __name__ == "__main__":
    main()
