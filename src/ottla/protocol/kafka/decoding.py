"""Compiles a declared message into one straight-line decoding function per version.

The generated function walks a `position` over the buffer. Neighbouring fixed-size values, together
with the length that follows them, are unpacked in one call straight into the new object's slots.
Every claimed length or count is compared with the bytes that remain before anything is made of it.
What goes wrong inside is looked up by source line, so that the happy path carries no bookkeeping
and an error still names its field.
"""

import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ottla.protocol.kafka.errors import DecodeError, UnsupportedVersion
from ottla.protocol.kafka.schema import (
    BOOL,
    BYTES,
    RECORDS,
    STRING,
    UUID,
    Array,
    Field,
    Kind,
    Schema,
    holds_records,
    schema_of,
)
from ottla.protocol.kafka.wire import (
    Malformed,
    Unpackers,
    bad_count,
    bad_size,
    bad_tag,
    read_uvarint,
    rest_of_uvarint,
    skip_tags,
    uuid_of,
)

Decoder = Callable[[Any, int], tuple[Any, int]]

_COPIED_SIZE_MAX = 4096
_FAILURES = (IndexError, struct.error, Malformed, UnicodeDecodeError)


def decoder_of(schema: Schema, version: int) -> Decoder:
    """The function `(buffer, position) -> (message, end position)` of a message's version."""
    decoder = schema.decoders.get(version)
    if decoder is None:
        decoder = schema.decoders[version] = _compile(schema, version)
    return decoder


def check_version(schema: Schema, version: int) -> None:
    """Raise `UnsupportedVersion` unless the message has the version."""
    if schema.versions is None:
        raise UnsupportedVersion(f"{schema.name} is part of a message and has no versions itself")
    first, last = schema.versions
    if not first <= version <= last:
        raise UnsupportedVersion(f"{schema.name} has versions {first} to {last}, not {version}")


def decoder_source(cls: type, version: int) -> str:
    """The generated source, for curious eyes and for tests."""
    return _Writer(schema_of(cls), version).source(cls)


def _compile(schema: Schema, version: int) -> Decoder:
    check_version(schema, version)
    writer = _Writer(schema, version)
    source = writer.source(schema.cls)
    names = writer.names
    exec(compile(source, f"<decode {schema.name} v{version}>", "exec"), names)
    decoder: Decoder = names["decode"]
    return decoder


def least_size(kind: Kind | Array | type, version: int, *, flexible: bool) -> int:
    """The fewest bytes that a value of the kind can take, null excluded."""
    if isinstance(kind, Array):
        return 1 if flexible else 4
    if isinstance(kind, Kind):
        if kind.size:
            return kind.size
        return 1 if flexible else 2 if kind is STRING else 4
    size = 1 if flexible else 0
    for field in schema_of(kind).fields:
        if field.is_in(version) and not (flexible and field.is_tagged_in(version)):
            is_struct = isinstance(field.kind, type)
            if is_struct and field.is_nullable_in(version):
                size += 1
            else:
                size += least_size(field.kind, version, flexible=flexible and field.flexible)
    return size


class _Writer:
    """Writes the source of one decoder."""

    def __init__(self, schema: Schema, version: int) -> None:
        self.schema = schema
        self.version = version
        self.flexible = version >= schema.flexible_from
        self.lines: list[str] = []
        self.indent = 2
        # What the line is about: (bytes from the start of the run, path of the field) per value.
        self.labels: dict[int, list[tuple[int, str]]] = {}
        self.run: list[tuple[str, int, str, str]] = []  # letter, size, target, path
        self.converted: list[str] = []  # lines to follow the run that is being collected
        self.used = 0
        self.names: dict[str, Any] = {
            "new": object.__new__,
            "rest_of_uvarint": rest_of_uvarint,
            "read_uvarint": read_uvarint,
            "skip_tags": skip_tags,
            "bad_size": bad_size,
            "bad_count": bad_count,
            "bad_tag": bad_tag,
            "uuid_of": uuid_of,
            "failures": _FAILURES,
            "failed": self._failed,
        }

    # The frame of the function.

    def source(self, cls: type) -> str:
        records = holds_records(cls)
        if records:
            prologue = [
                f" if len(data) <= {_COPIED_SIZE_MAX}:",
                "  buffer = data if type(data) is bytes else bytes(data)",
                "  view = memoryview(buffer)",
                " else:",
                "  view = memoryview(data)",
                "  buffer = data if type(data) is bytes else view",
            ]
        else:
            prologue = [" buffer = data if type(data) is bytes else bytes(data)"]
        self.text = 'str(buffer[{0}:{1}], "utf-8")' if records else "buffer[{0}:{1}].decode()"
        self.raw = "bytes(buffer[{0}:{1}])" if records else "buffer[{0}:{1}]"
        self.lines = ["def decode(data, position):", *prologue, " end = len(buffer)", " try:"]
        self.structure(cls, "message", "")
        self.flush()
        return "\n".join(
            [
                *self.lines,
                "  return message, position",
                " except failures as error:",
                "  raise failed(error) from None",
                "",
            ]
        )

    def emit(self, line: str, path: str = "") -> None:
        self.lines.append(" " * self.indent + line)
        if path:
            self.labels[len(self.lines)] = [(0, path)]

    def fresh(self, stem: str) -> str:
        self.used += 1
        return f"{stem}{self.used}"

    def constant(self, stem: str, value: object) -> str:
        name = self.fresh(stem)
        self.names[name] = value
        return name

    # Runs of fixed-size values.

    def collect(self, letter: str, size: int, target: str, path: str) -> None:
        self.run.append((letter, size, target, path))

    def flush(self) -> None:
        run, self.run = self.run, []
        converted, self.converted = self.converted, []
        if run:
            size = sum(entry[1] for entry in run)
            path = run[0][3]
            if [entry[0] for entry in run] == ["B"]:
                self.emit(f"{run[0][2]} = buffer[position]", path)
            else:
                unpack = self.constant(
                    "unpack", struct.Struct(">" + "".join(r[0] for r in run)).unpack_from
                )
                targets = ", ".join(entry[2] for entry in run)
                comma = "," if len(run) == 1 else ""
                self.emit(f"{targets}{comma} = {unpack}(buffer, position)", path)
                places, offset = [], 0
                for _, width, _, where in run:
                    offset += width
                    places.append((offset, where))
                self.labels[len(self.lines)] = places
            self.emit(f"position += {size}")
        for line in converted:
            self.emit(line)

    def length(self, path: str, *, flexible: bool, short: bool) -> str:
        """Read a length prefix into a variable, -1 meaning null; ends the run."""
        name = self.fresh("n")
        if flexible:
            self.collect("B", 1, name, path)
            self.flush()
            self.emit(f"if {name} > 127:")
            self.emit(f" {name}, position = rest_of_uvarint(buffer, position, {name})", path)
            self.emit(f"{name} -= 1")
        else:
            self.collect(*(("h", 2) if short else ("i", 4)), name, path)
            self.flush()
        return name

    # Values.

    def value(
        self, kind: Kind | Array | type, target: str, path: str, *, nullable: bool, flexible: bool
    ) -> None:
        """Decode a value of a kind into an assignable expression."""
        if isinstance(kind, Array):
            self.array(kind, target, path, nullable=nullable, flexible=flexible)
        elif isinstance(kind, type):
            self.nested(kind, target, path, nullable=nullable)
        elif kind is UUID:
            name = self.fresh("u")
            self.collect(kind.format, kind.size, name, path)
            self.converted.append(f"{target} = uuid_of({name})")
        elif kind.size:
            self.collect(kind.format, kind.size, target, path)
        else:
            self.sized(kind, target, path, nullable=nullable, flexible=flexible)

    def sized(self, kind: Kind, target: str, path: str, *, nullable: bool, flexible: bool) -> None:
        count = self.length(path, flexible=flexible, short=kind is STRING)
        if nullable:
            self.emit(f"if {count} < 0:")
            self.emit(f" {target} = None")
            self.emit("else:")
            self.indent += 1
        last = self.fresh("e")
        self.emit(f"{last} = position + {count}")
        self.emit(f"if {last} > end:" if nullable else f"if {count} < 0 or {last} > end:")
        self.emit(f" bad_size({count}, end - position)", path)
        form = {STRING: self.text, BYTES: self.raw, RECORDS: "view[{0}:{1}]"}[kind]
        self.emit(f"{target} = {form.format('position', last)}", path)
        self.emit(f"position = {last}")
        if nullable:
            self.indent -= 1

    def array(self, kind: Array, target: str, path: str, *, nullable: bool, flexible: bool) -> None:
        element = kind.element
        count = self.length(path, flexible=flexible, short=False)
        if nullable:
            self.emit(f"if {count} < 0:")
            self.emit(f" {target} = None")
            self.emit("else:")
            self.indent += 1
        width = max(1, least_size(element, self.version, flexible=self.flexible))
        least = count if width == 1 else f"{count} * {width}"
        low = "" if nullable else f"{count} < 0 or "
        self.emit(f"if {low}{least} > end - position:")
        self.emit(f" bad_count({count}, end - position)", path)
        if isinstance(element, Kind) and element.format and element not in {UUID, BOOL}:
            unpackers = self.constant("unpackers", Unpackers(element.format))
            self.emit(f"{target} = list({unpackers}[{count}](buffer, position))", path)
            self.emit(f"position += {least}")
        else:
            items = self.fresh("items")
            item = self.fresh("item")
            self.emit(f"{items} = []")
            self.emit(f"for _ in range({count}):")
            self.indent += 1
            self.value(element, item, f"{path}[]", nullable=False, flexible=flexible)
            self.flush()
            self.emit(f"{items}.append({item})")
            self.indent -= 1
            self.emit(f"{target} = {items}")
        if nullable:
            self.indent -= 1

    def nested(self, cls: type, target: str, path: str, *, nullable: bool) -> None:
        if nullable:
            mark = self.fresh("n")
            self.collect("b", 1, mark, path)
            self.flush()
            self.emit(f"if {mark} < 0:")
            self.emit(f" {target} = None")
            self.emit("else:")
            self.indent += 1
        name = target if target.isidentifier() else self.fresh("part")
        self.structure(cls, name, path)
        if name != target:
            self.emit(f"{target} = {name}")
        if nullable:
            self.flush()
            self.indent -= 1

    def structure(self, cls: type, name: str, path: str) -> None:
        """Decode the fields of a structure, and its tagged section, into a new object."""
        prefix = f"{path}." if path else ""
        self.emit(f"{name} = new({self.constant('Class', cls)})")
        tagged = []
        for field in schema_of(cls).fields:
            target = f"{name}.{field.name}"
            if not field.is_in(self.version):
                self.default(field, target)
            elif self.flexible and field.is_tagged_in(self.version):
                self.default(field, target)
                tagged.append(field)
            else:
                self.field(field, target, prefix + field.name)
        if self.flexible:
            self.tags(tagged, name, prefix)

    def field(self, field: Field, target: str, path: str) -> None:
        self.value(
            field.kind,
            target,
            path,
            nullable=field.is_nullable_in(self.version),
            flexible=self.flexible and field.flexible,
        )

    def default(self, field: Field, target: str) -> None:
        if field.is_fresh_list:
            self.emit(f"{target} = []")
        else:
            value = field.default_value()
            literal = value is None or isinstance(value, bool | int | str | bytes)
            self.emit(
                f"{target} = {value!r}"
                if literal
                else f"{target} = {self.constant('default', value)}"
            )

    def tags(self, tagged: list[Field], name: str, prefix: str) -> None:
        count = self.fresh("n")
        path = f"{prefix}(tagged fields)"
        self.collect("B", 1, count, path)
        self.flush()
        self.emit(f"if {count}:")
        self.emit(f" if {count} > 127:")
        self.emit(f"  {count}, position = rest_of_uvarint(buffer, position, {count})", path)
        if not tagged:
            self.emit(f" position = skip_tags(buffer, position, {count}, end)", path)
            return
        tag, size, last = self.fresh("tag"), self.fresh("size"), self.fresh("e")
        self.emit(f" for _ in range({count}):")
        self.indent += 2
        self.emit(f"{tag}, position = read_uvarint(buffer, position)", path)
        self.emit(f"{size}, position = read_uvarint(buffer, position)", path)
        self.emit(f"{last} = position + {size}")
        self.emit(f"if {last} > end:")
        self.emit(f" bad_size({size}, end - position)", path)
        word = "if"
        for field in tagged:
            self.emit(f"{word} {tag} == {field.tag}:")
            word = "elif"
            self.indent += 1
            self.field(field, f"{name}.{field.name}", prefix + field.name)
            self.flush()
            self.emit(f"if position != {last}:")
            self.emit(f" bad_tag({tag}, position - {last} + {size}, {size})", prefix + field.name)
            self.indent -= 1
        self.emit("else:")
        self.emit(f" position = {last}")
        self.indent -= 2

    # Failures.

    def _failed(self, error: Exception) -> DecodeError:
        trace = error.__traceback__
        assert isinstance(trace, TracebackType)
        seen = trace.tb_frame.f_locals
        places = self.labels.get(trace.tb_lineno, [(0, "?")])
        left = seen["end"] - seen["position"]
        path = next((path for reach, path in places if reach > left), places[-1][1])
        if isinstance(error, Malformed):
            reason = str(error)
        elif isinstance(error, UnicodeDecodeError):
            reason = f"is not UTF-8: {error.reason}"
        else:
            reason = "is cut off by the end of the data"
        return DecodeError(f"{self.schema.name} v{self.version}: {path} {reason}")
