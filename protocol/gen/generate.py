#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the schemas in protocol/schema/ into C: one pair kp_<api>.h/.c per API and kp_apis.h/.c.

    generate.py OUTPUT_DIRECTORY SCHEMA...
    generate.py --list SCHEMA...           prints the names of the files it would write

The notation, one file per API, `#` starts a comment line:

    api NAME KEY            Kafka's name and number; the file is called like the name in snake case
    versions MIN-MAX        the versions this schema covers (or just one number)
    flexible N+ | none      the first version with compact lengths and tagged fields

    request                 then the request's fields, one per line, then the same for `response`
        FIELD TYPE [VERSIONS] [OPTION]...

Nesting is by indentation, four blanks per level.

TYPE      bool int8 int16 uint16 int32 int64 float64 uuid string bytes records, or the name of a
          struct. `[]` before it makes it an array. The fields of a struct follow, one level deeper,
          where its name first appears in the message; later uses of the name have no fields and
          no versions beyond those of the first.
VERSIONS  `4+`, `2-7` or `3`: the versions that have the field. Left out: as the struct around it.
OPTION    null             may be null, in all its versions
          null=2-7         may be null in these versions
          default=VALUE    of a number or bool (0 or false if not given), or default=null
          tag=N            a tagged field, present only when its value is not the default

In a version without the field, decoding yields its default and encoding ignores it.
"""

import os
import re
import sys

INDENT = 4
NEVER = 32767
# type: (C type, suffix of the reader's and writer's function, bytes on the wire, enum kp_type)
SCALARS = {
    "bool": ("bool", "bool", 1, "KP_BOOL"),
    "int8": ("int8_t", "i8", 1, "KP_INT8"),
    "int16": ("int16_t", "i16", 2, "KP_INT16"),
    "uint16": ("uint16_t", "u16", 2, "KP_UINT16"),
    "int32": ("int32_t", "i32", 4, "KP_INT32"),
    "int64": ("int64_t", "i64", 8, "KP_INT64"),
    "float64": ("double", "f64", 8, "KP_FLOAT64"),
    "uuid": ("struct kp_uuid", "uuid", 16, "KP_UUID"),
}
# type: (C type, bytes of its length when not flexible, enum kp_type)
SPANS = {
    "string": ("struct span", 2, "KP_STRING"),
    "bytes": ("struct span", 4, "KP_BYTES"),
    "records": ("struct kp_records", 4, "KP_RECORDS"),
}
LIMITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


class SchemaError(Exception):
    pass


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Range:
    """Versions from `first` to `last`, both included; empty when first > last."""

    def __init__(self, first, last):
        self.first, self.last = first, last

    @staticmethod
    def parse(text, around):
        match = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
        if not match:
            raise SchemaError(f"not a range of versions: {text}")
        first = int(match[1])
        last = first
        if match[2]:
            last = around.last if match[2] == "+" else int(match[3])
        if first < around.first or last > around.last or first > last:
            raise SchemaError(f"versions {text} are outside {around.first}-{around.last}")
        return Range(first, last)

    def __contains__(self, version):
        return self.first <= version <= self.last

    def condition(self, around):
        """The C expression that is true in this range, given that `around` holds; or a constant."""
        if self.first > self.last:
            return "false"
        parts = []
        if self.first > around.first:
            parts.append(f"version >= {self.first}")
        if self.last < around.last:
            parts.append(f"version <= {self.last}")
        return " && ".join(parts) or "true"


class Struct:
    """A message or a struct inside one. `versions`: those in which it is used."""

    def __init__(self, name, c_name, versions):
        self.name, self.c_name, self.versions = name, c_name, versions
        self.fields = []

    def tagged(self):
        return sorted((f for f in self.fields if f.tag is not None), key=lambda f: f.tag)

    def plain(self):
        return [f for f in self.fields if f.tag is None]


class Field:
    def __init__(self, name, base, array, versions, options):
        self.name, self.base, self.array, self.versions = name, base, array, versions
        self.struct = None
        self.nulls = Range(1, 0)
        self.tag = None
        self.default = None
        for option in options:
            key, _, value = option.partition("=")
            if key == "null":
                self.nulls = Range.parse(value, versions) if value else versions
            elif key == "default" and value:
                self.default = value
            elif key == "tag" and value.isdigit():
                self.tag = int(value)
            else:
                raise SchemaError(f"unknown option {option}")

    def pointer(self):
        return self.struct is not None and not self.array and self.nulls.first <= self.nulls.last

    def check(self):
        if self.default == "null":
            scalar = self.base in SCALARS and not self.array
            if self.nulls.first != self.versions.first or scalar:
                raise SchemaError(f"{self.name}: null is not a value of its first version")
        elif self.default is not None:
            if self.array or self.base not in SCALARS or self.base == "uuid":
                raise SchemaError(f"{self.name}: only numbers have such a default")
            self.check_number()
        if self.base in SCALARS and not self.array and self.nulls.first <= self.nulls.last:
            raise SchemaError(f"{self.name}: a {self.base} cannot be null")
        if self.tag is not None and (self.pointer() or self.base == "records"):
            raise SchemaError(f"{self.name}: this type cannot be tagged")

    def check_number(self):
        if self.base == "bool":
            if self.default not in ("true", "false"):
                raise SchemaError(f"{self.name}: a bool is true or false")
        elif self.base in LIMITS:
            half = 1 << (LIMITS[self.base] - 1)
            if not -half <= int(self.default) < half:
                raise SchemaError(f"{self.name}: {self.default} is no {self.base}")
        else:
            raise SchemaError(f"{self.name}: {self.base} has no default here")

    def c_type(self):
        if self.struct:
            return "struct " + self.struct.c_name
        return (SCALARS.get(self.base) or SPANS[self.base])[0]

    def kind(self):
        if self.struct:
            return "KP_STRUCT"
        return SCALARS[self.base][3] if self.base in SCALARS else SPANS[self.base][2]

    def number(self):
        """The default as C, for numbers and bools."""
        value = self.default
        if value is None:
            return "false" if self.base == "bool" else "0"
        if value in ("-2147483648", "-9223372036854775808"):
            return "INT32_MIN" if self.base == "int32" else "INT64_MIN"
        if value == "9223372036854775807":
            return "INT64_MAX"
        return value


class Api:
    def __init__(self, path):
        self.structs = {"request": [], "response": []}  # inner ones first
        self.roots = {}
        self.read(path)
        if snake(self.name) + ".txt" != os.path.basename(path):
            raise SchemaError(f"the file of {self.name} is called {os.path.basename(path)}")

    def read(self, path):
        stack = None
        self.flexible = None
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    stack = self.read_line(line.rstrip(), stack)
                except (SchemaError, ValueError, IndexError) as error:
                    raise SchemaError(f"{path}:{number}: {error}") from error
        for kind, root in self.roots.items():
            self.finish(kind, root)
        if len(self.roots) != 2:
            raise SchemaError(f"{path}: a request and a response are needed")

    def read_line(self, line, stack):
        words = line.split()
        if not words or words[0].startswith("#"):
            return stack
        depth, rest = divmod(len(line) - len(line.lstrip()), INDENT)
        if rest:
            raise SchemaError("indentation is not a multiple of four blanks")
        if depth:
            if not stack or depth > len(stack):
                raise SchemaError("a field without a struct around it")
            del stack[depth:]
            stack.append(self.read_field(words, stack[0], stack[-1]))
            return stack
        if words[0] == "api":
            self.name, self.key = words[1], int(words[2])
            self.snake = snake(self.name)
        elif words[0] == "versions":
            self.versions = Range.parse(words[1], Range(0, NEVER - 1))
        elif words[0] == "flexible":
            self.flexible = NEVER
            if words[1] != "none":
                self.flexible = Range.parse(words[1], Range(0, NEVER - 1)).first
        elif words[0] in ("request", "response") and self.flexible is not None:
            root = Struct("", f"kp_{self.snake}_{words[0]}", self.versions)
            root.known = {}
            self.roots[words[0]] = root
            return [root]
        else:
            raise SchemaError(f"unknown or misplaced: {words[0]}")
        return None

    def read_field(self, words, root, parent):
        """Adds a field; returns the struct whose fields may follow one level deeper, or None."""
        if parent is None:
            raise SchemaError("only structs have fields")
        name, kind, options = words[0], words[1], words[2:]
        versions = parent.versions
        if options and options[0][0].isdigit():
            versions = Range.parse(options.pop(0), versions)
        base = kind[2:] if kind.startswith("[]") else kind
        field = Field(name, base, base != kind, versions, options)
        if any(other.name == name for other in parent.fields):
            raise SchemaError(f"{name} appears twice")
        if field.tag is not None and field.versions.first < self.flexible:
            raise SchemaError(f"{name}: tagged before version {self.flexible}")
        parent.fields.append(field)
        if base in SCALARS or base in SPANS:
            field.check()
            return None
        if base in root.known:
            field.struct = root.known[base]
            if versions.first not in field.struct.versions \
                    or versions.last not in field.struct.versions:
                raise SchemaError(f"{name}: {base} was declared for fewer versions")
        else:
            field.struct = Struct(base, f"{root.c_name}_{base}", versions)
            root.known[base] = field.struct
        field.check()
        return field.struct

    def finish(self, kind, root):
        """Puts the structs in an order in which each is defined before it is used."""

        def visit(struct):
            if not struct.fields:
                raise SchemaError(f"{self.name} {kind}: {struct.c_name} has no fields")
            tags = [field.tag for field in struct.tagged()]
            if len(tags) != len(set(tags)):
                raise SchemaError(f"{self.name} {kind}: a tag of {struct.c_name} is used twice")
            for field in struct.fields:
                if field.struct and field.struct not in self.structs[kind]:
                    visit(field.struct)
            self.structs[kind].append(struct)

        visit(root)

    def all_structs(self):
        return self.structs["request"] + self.structs["response"]

    def compact(self, struct):
        """The C expression for "this version is flexible" inside `struct`."""
        if self.flexible <= struct.versions.first:
            return "true"
        return "false" if self.flexible > struct.versions.last else "compact"

    def wire_min(self, struct):
        return min(self.wire_size(struct, version)
                   for version in range(struct.versions.first, struct.versions.last + 1))

    def wire_size(self, struct, version):
        flexible = version >= self.flexible
        size = 1 if flexible else 0
        for field in struct.plain():
            if version not in field.versions:
                continue
            if field.array:
                size += 1 if flexible else 4
            elif field.pointer():
                size += 1
            elif field.struct:
                size += self.wire_size(field.struct, version)
            elif field.base in SCALARS:
                size += SCALARS[field.base][2]
            else:
                size += 1 if flexible else SPANS[field.base][1]
        return size


class Code:
    """Lines of C with their indentation."""

    def __init__(self):
        self.lines = []
        self.depth = 0

    def add(self, text=""):
        self.lines.append("    " * self.depth + text if text else "")

    def open(self, text):
        self.add(text)
        self.depth += 1

    def close(self, text="}"):
        self.depth -= 1
        self.add(text)

    def text(self):
        return "\n".join(self.lines) + "\n"


HEAD = """// SPDX-License-Identifier: Apache-2.0
// Generated by protocol/gen/generate.py from {}. Do not edit.
"""


def short(struct, kind):
    return f"{kind}_{struct.name}" if struct.name else kind


# ---- headers ----

def emit_header(api):
    code = Code()
    code.lines.append(HEAD.format(f"protocol/schema/{api.snake}.txt").rstrip())
    for line in ("#pragma once", "", '#include "protocol/describe.h"', ""):
        code.add(line)
    upper = "KP_" + api.snake.upper()
    code.open("enum {")
    code.add(f"{upper}_KEY = {api.key},")
    code.add(f"{upper}_MIN = {api.versions.first},")
    code.add(f"{upper}_MAX = {api.versions.last},")
    code.add(f"{upper}_FLEXIBLE = {api.flexible},")
    code.close("};")
    for struct in api.all_structs():
        code.add()
        emit_struct(code, struct)
    for kind in ("request", "response"):
        name = api.roots[kind].c_name
        code.add()
        for struct in api.structs[kind]:
            code.add(f"void {struct.c_name}_init(struct {struct.c_name} *m);")
        code.add(f"int {name}_decode(struct kp_reader *r, int16_t version, struct arena *arena,")
        code.add("    " + f"struct {name} *m);")
        code.add(f"void {name}_encode(struct kp_writer *w, int16_t version,")
        code.add("    " + f"const struct {name} *m);")
        code.add(f"extern const struct kp_message {name}_message;")
    return code.text()


def emit_struct(code, struct):
    code.open(f"struct {struct.c_name} {{")
    for field in struct.fields:
        star = "*" if field.array or field.pointer() else ""
        note = [f"versions {field.versions.first}-{field.versions.last}"]
        if field.nulls.first <= field.nulls.last:
            note.append("nullable")
        if field.tag is not None:
            note.append(f"tag {field.tag}")
        code.add(f"{field.c_type()} {star}{field.name}; // {', '.join(note)}")
        if field.array:
            code.add(f"int32_t {field.name}_count;")
    code.close("};")


# ---- defaults ----

def emit_default(code, field):
    target = f"m->{field.name}"
    if field.array:
        code.add(f"{target} = NULL;")
        code.add(f"{target}_count = {-1 if field.default == 'null' else 0};")
    elif field.pointer():
        code.add(f"{target} = NULL;")
    elif field.struct:
        code.add(f"{field.struct.c_name}_init(&{target});")
    elif field.base == "uuid":
        code.add(f"{target} = (struct kp_uuid){{{{0}}}};")
    elif field.base == "records":
        code.add(f"{target} = (struct kp_records){{.size = -1}};")
    elif field.base in SPANS:
        value = "(struct span){0}" if field.default == "null" else "kp_empty()"
        code.add(f"{target} = {value};")
    else:
        code.add(f"{target} = {field.number()};")


def emit_init(code, struct):
    code.open(f"void {struct.c_name}_init(struct {struct.c_name} *m)\n{{")
    for field in struct.fields:
        emit_default(code, field)
    code.close()
    code.add()


def differs(field):
    """The C expression for "this field does not hold its default"."""
    target = f"m->{field.name}"
    if field.array:
        return f"{target}_count != {-1 if field.default == 'null' else 0}"
    if field.struct:
        return f"!{field.struct.c_name}_is_default(&{target})"
    if field.base == "uuid":
        return f"!kp_uuid_is_zero({target})"
    if field.base in SPANS:
        return f"{target}.data != NULL" if field.default == "null" else \
            f"(!{target}.data || {target}.size != 0)"
    if field.base == "bool":
        return f"!{target}" if field.default == "true" else target
    return f"{target} != {field.number()}"


def emit_is_default(code, struct):
    for field in struct.fields:
        if field.array or field.struct or field.base in ("records", "float64"):
            raise SchemaError(f"{struct.c_name}: too deep for a tagged struct")
    code.open(f"static bool {struct.c_name}_is_default(const struct {struct.c_name} *m)\n{{")
    code.add("return !(" + " || ".join(differs(field) for field in struct.fields) + ");")
    code.close()
    code.add()


# ---- decoding ----

def emit_decode_value(code, api, struct, field, reader, kind):
    target = f"m->{field.name}"
    compact = api.compact(struct)
    nulls = field.nulls.condition(field.versions)
    if field.array:
        emit_decode_array(code, api, field, reader, kind, compact, nulls)
    elif field.pointer():
        present = f"kp_read_present({reader})"
        if nulls != "true":
            present = f"!({nulls}) || {present}"
        code.add(f"{target} = NULL;")
        code.open(f"if ({present}) {{")
        code.add(f"{target} = kp_read_elements({reader}, arena, 1, sizeof(*{target}));")
        code.open(f"if ({target})")
        code.add(f"decode_{short(field.struct, kind)}({reader}, version, arena, {target});")
        code.depth -= 1
        code.close()
    elif field.struct:
        code.add(f"decode_{short(field.struct, kind)}({reader}, version, arena, &{target});")
    elif field.base in SCALARS:
        code.add(f"{target} = kp_read_{SCALARS[field.base][1]}({reader});")
    elif field.base == "records":
        code.add(f"kp_read_records({reader}, {compact}, &{target});")
    else:
        code.add(f"{target} = kp_read_{field.base}({reader}, {compact}, {nulls});")


def emit_decode_array(code, api, field, reader, kind, compact, nulls):
    target = f"m->{field.name}"
    if field.struct:
        element_min = api.wire_min(field.struct)
        element = f"decode_{short(field.struct, kind)}({reader}, version, arena, &{target}[i]);"
    elif field.base in SCALARS:
        element_min = SCALARS[field.base][2]
        element = f"{target}[i] = kp_read_{SCALARS[field.base][1]}({reader});"
    else:
        element_min = 1
        element = f"{target}[i] = kp_read_{field.base}({reader}, {compact}, false);"
    code.add(f"{target}_count = kp_read_count({reader}, {compact}, {nulls}, {element_min});")
    code.add(f"{target} = kp_read_elements({reader}, arena, {target}_count, sizeof(*{target}));")
    code.open(f"for (int32_t i = 0; i < {target}_count && !{reader}->failed; i++)")
    code.add(element)
    code.depth -= 1


def emit_decode_tags(code, api, struct, kind):
    tagged = struct.tagged()
    if not tagged:
        code.add("kp_skip_tags(r);")
        return
    code.add("uint32_t tags = kp_read_uvarint(r);")
    code.open("for (uint32_t t = 0; t < tags && !r->failed; t++) {")
    code.add("uint32_t tag;")
    code.add("struct kp_reader value = kp_read_tag(r, &tag);")
    code.add("struct kp_reader *field = &value;")
    for field in tagged:
        condition = field.versions.condition(struct.versions)
        test = f"tag == {field.tag}" + ("" if condition == "true" else f" && {condition}")
        code.open(f"if ({test}) {{")
        emit_decode_value(code, api, struct, field, "field", kind)
        code.add("kp_read_tag_done(r, field);")
        code.close()
    code.close()


def emit_decode(code, api, struct, kind):
    body = Code()
    body.depth = 1
    for field in struct.tagged():
        emit_default(body, field)
    for field in struct.plain():
        condition = field.versions.condition(struct.versions)
        if condition == "true":
            emit_decode_value(body, api, struct, field, "r", kind)
            continue
        body.open(f"if ({condition}) {{")
        emit_decode_value(body, api, struct, field, "r", kind)
        body.close("} else {")
        body.depth += 1
        emit_default(body, field)
        body.close()
    compact = api.compact(struct)
    if compact == "true":
        emit_decode_tags(body, api, struct, kind)
    elif compact == "compact":
        body.open("if (compact) {")
        emit_decode_tags(body, api, struct, kind)
        body.close()
    code.add(f"static void decode_{short(struct, kind)}(struct kp_reader *r, int16_t version,")
    code.add(f"    struct arena *arena, struct {struct.c_name} *m)")
    emit_body(code, api, struct, body, ("version", "arena"))


def emit_body(code, api, struct, body, parameters):
    """The function's body, with `compact` where it is used and unused parameters marked."""
    code.open("{")
    text = "\n".join(body.lines)
    uses_compact = re.search(r"\bcompact\b", text)
    if uses_compact:
        code.add(f"const bool compact = version >= {api.flexible};")
    for parameter in parameters:
        if not re.search(rf"\b{parameter}\b", text + ("version" if uses_compact else "")):
            code.add(f"(void){parameter};")
    code.lines += body.lines
    code.close()
    code.add()


# ---- encoding ----

def emit_encode_value(code, api, struct, field, kind):
    target = f"m->{field.name}"
    compact = api.compact(struct)
    nulls = field.nulls.condition(field.versions)
    if field.array:
        if field.struct:
            element = f"encode_{short(field.struct, kind)}(w, version, &{target}[i]);"
        elif field.base in SCALARS:
            element = f"kp_write_{SCALARS[field.base][1]}(w, {target}[i]);"
        else:
            element = f"kp_write_{field.base}(w, {compact}, false, {target}[i]);"
        code.add(f"kp_write_count(w, {compact}, {nulls}, {target}_count);")
        code.open(f"for (int32_t i = 0; i < {target}_count && !w->failed; i++)")
        code.add(element)
        code.depth -= 1
    elif field.pointer():
        if nulls == "true":
            code.add(f"kp_write_i8(w, {target} ? 1 : -1);")
        else:
            code.open(f"if ({nulls})")
            code.add(f"kp_write_i8(w, {target} ? 1 : -1);")
            code.depth -= 1
            code.open(f"else if (!{target})")
            code.add("kp_writer_fail(w);")
            code.depth -= 1
        code.open(f"if ({target})")
        code.add(f"encode_{short(field.struct, kind)}(w, version, {target});")
        code.depth -= 1
    elif field.struct:
        code.add(f"encode_{short(field.struct, kind)}(w, version, &{target});")
    elif field.base in SCALARS:
        code.add(f"kp_write_{SCALARS[field.base][1]}(w, {target});")
    elif field.base == "records":
        code.add(f"kp_write_records(w, {compact}, &{target});")
    else:
        code.add(f"kp_write_{field.base}(w, {compact}, {nulls}, {target});")


def emit_encode_tags(code, api, struct, kind):
    tagged = struct.tagged()
    if not tagged:
        code.add("kp_write_uvarint(w, 0);")
        return
    for field in tagged:
        condition = field.versions.condition(struct.versions)
        test = differs(field)
        if condition != "true":
            test = f"{condition} && {test}"
        code.add(f"const bool has_{field.name} = {test};")
    count = " + ".join(f"(uint32_t)has_{field.name}" for field in tagged)
    code.add(f"kp_write_uvarint(w, {count});")
    for field in tagged:
        code.open(f"if (has_{field.name}) {{")
        code.add(f"size_t mark = kp_write_tag(w, {field.tag});")
        emit_encode_value(code, api, struct, field, kind)
        code.add("kp_write_tag_done(w, mark);")
        code.close()


def emit_encode(code, api, struct, kind):
    body = Code()
    body.depth = 1
    for field in struct.plain():
        condition = field.versions.condition(struct.versions)
        if condition == "true":
            emit_encode_value(body, api, struct, field, kind)
            continue
        body.open(f"if ({condition}) {{")
        emit_encode_value(body, api, struct, field, kind)
        body.close()
    compact = api.compact(struct)
    if compact == "true":
        emit_encode_tags(body, api, struct, kind)
    elif compact == "compact":
        body.open("if (compact) {")
        emit_encode_tags(body, api, struct, kind)
        body.close()
    code.add(f"static void encode_{short(struct, kind)}(struct kp_writer *w, int16_t version,")
    code.add(f"    const struct {struct.c_name} *m)")
    emit_body(code, api, struct, body, ("version",))


# ---- descriptors ----

def emit_descriptor(code, api, struct, kind):
    label = short(struct, kind)
    code.open(f"static const struct kp_field {label}_fields[] = {{")
    for field in struct.fields:
        where = f"struct {struct.c_name}, {field.name}"
        parts = [f'.name = "{field.name}"', f".type = {field.kind()}",
                 f".offset = offsetof({where})",
                 f".first = {field.versions.first}", f".last = {field.versions.last}",
                 f".null_first = {field.nulls.first}", f".null_last = {field.nulls.last}",
                 f".tag = {-1 if field.tag is None else field.tag}"]
        if field.array:
            parts += [".array = true", f".count_offset = offsetof({where}_count)"]
        if field.pointer():
            parts.append(".pointer = true")
        if field.struct:
            parts.append(f".element = &{short(field.struct, kind)}_struct")
        if field.default == "null":
            parts.append(".preset_null = true")
        elif field.default is not None:
            parts.append(f".preset = {field.number()}")
        code.add("{" + ", ".join(parts) + "},")
    code.close("};")
    code.open(f"static void init_any_{label}(void *m)\n{{")
    code.add(f"{struct.c_name}_init(m);")
    code.close()
    code.add()
    code.open(f"static const struct kp_struct {label}_struct = {{")
    code.add(f'.name = "{struct.name or kind}",')
    code.add(f".fields = {label}_fields,")
    code.add(f".field_count = {len(struct.fields)},")
    code.add(f".size = sizeof(struct {struct.c_name}),")
    code.add(f".wire_min = {api.wire_min(struct)},")
    code.add(f".init = init_any_{label},")
    code.close("};")
    code.add()


def emit_message(code, api, kind):
    root = api.roots[kind]
    name = root.c_name
    code.add(f"int {name}_decode(struct kp_reader *r, int16_t version, struct arena *arena,")
    code.add(f"    struct {name} *m)")
    code.open("{")
    code.add(f"decode_{kind}(r, version, arena, m);")
    code.add("return r->failed ? -1 : 0;")
    code.close()
    code.add()
    code.add(f"void {name}_encode(struct kp_writer *w, int16_t version,")
    code.add(f"    const struct {name} *m)")
    code.open("{")
    code.add(f"encode_{kind}(w, version, m);")
    code.close()
    code.add()
    for struct in api.structs[kind]:
        emit_descriptor(code, api, struct, kind)
    code.add(f"static int decode_any_{kind}(struct kp_reader *r, int16_t version,")
    code.add("    struct arena *arena, void *m)")
    code.open("{")
    code.add(f"return {name}_decode(r, version, arena, m);")
    code.close()
    code.add()
    code.add(f"static void encode_any_{kind}(struct kp_writer *w, int16_t version, const void *m)")
    code.open("{")
    code.add(f"{name}_encode(w, version, m);")
    code.close()
    code.add()
    code.open(f"const struct kp_message {name}_message = {{")
    code.add(f'.name = "{api.snake}_{kind}",')
    code.add(f".body = &{kind}_struct,")
    code.add(f".flexible_from = {api.flexible},")
    code.add(f".decode = decode_any_{kind},")
    code.add(f".encode = encode_any_{kind},")
    code.close("};")


def emit_source(api):
    code = Code()
    code.lines.append(HEAD.format(f"protocol/schema/{api.snake}.txt").rstrip())
    code.add(f'#include "gen/kp_{api.snake}.h"')
    code.add()
    for kind in ("request", "response"):
        tagged = [f.struct for s in api.structs[kind] for f in s.tagged()
                  if f.struct and not f.array]
        for struct in api.structs[kind]:
            emit_init(code, struct)
            if struct in tagged:
                emit_is_default(code, struct)
        for struct in api.structs[kind]:
            emit_decode(code, api, struct, kind)
            emit_encode(code, api, struct, kind)
        emit_message(code, api, kind)
        code.add()
    code.lines.pop()
    return code.text()


# ---- the registry ----

def emit_registry_header(apis):
    code = Code()
    code.lines.append(HEAD.format("all schemas").rstrip())
    for line in ("// Every API the schemas describe, in the order of the keys.", "#pragma once", "",
                 '#include "protocol/describe.h"', ""):
        code.add(line)
    code.add(f"enum {{ KP_APIS_COUNT = {len(apis)}, KP_APIS_KEY_MAX = {apis[-1].key} }};")
    code.add("extern const struct kp_api kp_apis[KP_APIS_COUNT];")
    code.add()
    code.add("// The row of a key, or NULL.")
    code.add("const struct kp_api *kp_api_find(int16_t key);")
    return code.text()


def emit_registry_source(apis):
    code = Code()
    code.lines.append(HEAD.format("all schemas").rstrip())
    code.add('#include "gen/kp_apis.h"')
    code.add()
    for api in apis:
        code.add(f'#include "gen/kp_{api.snake}.h"')
    code.add()
    code.open("const struct kp_api kp_apis[KP_APIS_COUNT] = {")
    for api in apis:
        code.add(f'{{{api.key}, "{api.name}", "{api.snake}", {api.versions.first}, '
                 f"{api.versions.last}, {api.flexible},")
        code.add(f" &kp_{api.snake}_request_message, &kp_{api.snake}_response_message}},")
    code.close("};")
    code.add()
    code.add("// Position of each key's row, plus one.")
    code.open("static const uint8_t rows[KP_APIS_KEY_MAX + 1] = {")
    for row, api in enumerate(apis, 1):
        code.add(f"[{api.key}] = {row},")
    code.close("};")
    code.add()
    code.open("const struct kp_api *kp_api_find(int16_t key)\n{")
    code.open("if (key < 0 || key > KP_APIS_KEY_MAX || rows[key] == 0)")
    code.add("return NULL;")
    code.depth -= 1
    code.add("return &kp_apis[rows[key] - 1];")
    code.close()
    return code.text()


# ---- files ----

def write_if_changed(path, text):
    """Leaves an equal file alone, so that nothing is compiled again for its sake."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    target, paths = arguments[0], arguments[1:]
    try:
        apis = sorted((Api(path) for path in paths), key=lambda api: api.key)
        if len({api.key for api in apis}) != len(apis):
            raise SchemaError("a key is used twice")
        files = {"kp_apis.h": emit_registry_header(apis), "kp_apis.c": emit_registry_source(apis)}
        for api in apis:
            files[f"kp_{api.snake}.h"] = emit_header(api)
            files[f"kp_{api.snake}.c"] = emit_source(api)
    except SchemaError as error:
        sys.exit(f"generate.py: {error}")
    if target == "--list":
        print("\n".join(sorted(files)))
        return
    os.makedirs(target, exist_ok=True)
    for name, text in files.items():
        write_if_changed(os.path.join(target, name), text)


if __name__ == "__main__":
    main(sys.argv[1:])
