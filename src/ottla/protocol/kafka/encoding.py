"""Compiles a declared message into one straight-line encoding function per version.

The generated function hands byte strings to `write` (the `append` of a list that is joined in the
end). Neighbouring fixed-size values, the length behind them and a list of numbers behind that are
packed in one call. A RECORDS value is handed on as the object it is, never copied here.
"""

import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ottla.protocol.kafka.decoding import check_version
from ottla.protocol.kafka.errors import EncodeError, UnsupportedVersion
from ottla.protocol.kafka.schema import (
    BOOL,
    STRING,
    UUID,
    Array,
    Field,
    Kind,
    Schema,
    schema_of,
)
from ottla.protocol.kafka.wire import Packers, uvarint

Encoder = Callable[[Any, Callable[[Any], None]], None]

_FAILURES = (struct.error, AttributeError, TypeError, UnicodeEncodeError, OverflowError)


def encoder_of(schema: Schema, version: int) -> Encoder:
    """The function `(message, write)` of a message's version."""
    encoder = schema.encoders.get(version)
    if encoder is None:
        encoder = schema.encoders[version] = _compile(schema, version)
    return encoder


def encoder_source(cls: type, version: int) -> str:
    """The generated source, for curious eyes and for tests."""
    return _Writer(schema_of(cls), version).source(cls)


def _compile(schema: Schema, version: int) -> Encoder:
    check_version(schema, version)
    writer = _Writer(schema, version)
    source = writer.source(schema.cls)
    exec(compile(source, f"<encode {schema.name} v{version}>", "exec"), writer.names)
    encoder: Encoder = writer.names["encode"]
    return encoder


class _Writer:
    """Writes the source of one encoder."""

    def __init__(self, schema: Schema, version: int) -> None:
        self.schema = schema
        self.version = version
        self.flexible = version >= schema.flexible_from
        self.lines: list[str] = []
        self.indent = 2
        # What the line is about: (letter for struct or "", expression, path of the field).
        self.labels: dict[int, list[tuple[str, str, str]]] = {}
        self.run: list[tuple[str, str, str]] = []
        self.used = 0
        self.write = "write"
        self.names: dict[str, Any] = {
            "uvarint": uvarint,
            "lacks": self._lacks,
            "failures": _FAILURES,
            "failed": self._failed,
        }

    def source(self, cls: type) -> str:
        self.lines = ["def encode(message, write):", " try:"]
        self.structure(cls, "message", "")
        self.flush()
        return "\n".join(
            [
                *self.lines,
                "  return",
                " except failures as error:",
                "  raise failed(error) from None",
                "",
            ]
        )

    def emit(self, line: str, path: str = "", expression: str = "") -> None:
        self.lines.append(" " * self.indent + line)
        if path:
            self.labels[len(self.lines)] = [("", expression, path)]

    def fresh(self, stem: str) -> str:
        self.used += 1
        return f"{stem}{self.used}"

    def constant(self, stem: str, value: object) -> str:
        name = self.fresh(stem)
        self.names[name] = value
        return name

    # Runs of fixed-size values.

    def collect(self, letter: str, expression: str, path: str) -> None:
        """Add a value to the run; the letter "x" is a zero byte and has no expression."""
        self.run.append((letter, expression, path))

    def flush(self) -> None:
        run, self.run = self.run, []
        if run:
            self.pack(run)

    def pack(self, run: list[tuple[str, str, str]]) -> None:
        letters = "".join(entry[0] for entry in run)
        if not letters.strip("x"):
            self.emit(f"{self.write}({bytes(len(letters))!r})")
            return
        pack = self.constant("pack", struct.Struct(">" + letters).pack)
        values = ", ".join(entry[1] for entry in run if entry[0] != "x")
        self.emit(f"{self.write}({pack}({values}))")
        self.labels[len(self.lines)] = run

    def length(self, count: str, path: str, *, flexible: bool, short: bool) -> None:
        """Write the run and the length prefix `count`; -1 is null. Compact adds the 1 here."""
        if not flexible:
            self.collect("h" if short else "i", count, path)
            self.flush()
            return
        run, self.run = self.run, []
        self.emit(f"if {count} < 127:")
        self.indent += 1
        self.pack([*run, ("B", f"{count} + 1", path)])
        self.indent -= 1
        self.emit("else:")
        self.indent += 1
        if run:
            self.pack(run)
        self.emit(f"{self.write}(uvarint({count} + 1))", path)
        self.indent -= 1

    # Values.

    def value(
        self, kind: Kind | Array | type, source: str, path: str, *, nullable: bool, flexible: bool
    ) -> None:
        """Encode what an expression gives."""
        if isinstance(kind, Array):
            self.array(kind, source, path, nullable=nullable, flexible=flexible)
        elif isinstance(kind, type):
            self.nested(kind, source, path, nullable=nullable)
        elif kind is UUID:
            self.collect(kind.format, f"{source}.bytes", path)
        elif kind.size:
            self.collect(kind.format, source, path)
        else:
            self.sized(kind, source, path, nullable=nullable, flexible=flexible)

    def sized(self, kind: Kind, source: str, path: str, *, nullable: bool, flexible: bool) -> None:
        data, count = self.fresh("data"), self.fresh("n")
        encoded = f"{source}.encode()" if kind is STRING else source
        if nullable:
            self.emit(f"{data} = {source}")
            self.emit(f"if {data} is None:")
            self.emit(f" {count} = -1")
            self.emit("else:")
            if kind is STRING:
                self.emit(f" {data} = {data}.encode()", path, source)
            self.emit(f" {count} = len({data})", path, source)
        else:
            self.emit(f"{data} = {encoded}", path, source)
            self.emit(f"{count} = len({data})", path, source)
        self.length(count, path, flexible=flexible, short=kind is STRING)
        self.emit(f"if {count} > 0:")
        self.emit(f" {self.write}({data})", path)

    def array(self, kind: Array, source: str, path: str, *, nullable: bool, flexible: bool) -> None:
        element = kind.element
        items, count = self.fresh("items"), self.fresh("n")
        self.emit(f"{items} = {source}", path, source)
        if not nullable and isinstance(element, Kind) and element.format and element is not UUID:
            self.numbers(element, items, path, flexible=flexible)
            return
        if nullable:
            self.emit(f"{count} = -1 if {items} is None else len({items})", path, source)
        else:
            self.emit(f"{count} = len({items})", path, source)
        self.length(count, path, flexible=flexible, short=False)
        if nullable:
            self.emit(f"if {count} > 0:")
            self.indent += 1
        item = self.fresh("item")
        self.emit(f"for {item} in {items}:", path, source)
        self.indent += 1
        self.value(element, item, f"{path}[]", nullable=False, flexible=flexible)
        self.flush()
        self.indent -= 2 if nullable else 1

    def numbers(self, element: Kind, items: str, path: str, *, flexible: bool) -> None:
        """A list of numbers goes into the same call as the run and the length before it."""
        run, self.run = self.run, []
        values = [entry for entry in run if entry[0] != "x"]
        packers = self.constant(
            "packers",
            Packers(
                "".join(entry[0] for entry in run), len(values), element.format, compact=flexible
            ),
        )
        count = self.fresh("n")
        self.emit(f"{count} = len({items})", path, items)
        length = f"{count} + 1" if flexible else count
        arguments = ", ".join([*[entry[1] for entry in values], length, f"*{items}"])
        self.emit(f"{self.write}({packers}[{count}]({arguments}))")
        self.labels[len(self.lines)] = [*run, (f"*{element.format}", items, path)]

    def nested(self, cls: type, source: str, path: str, *, nullable: bool) -> None:
        name = source if source.isidentifier() else self.fresh("part")
        if name != source:
            self.emit(f"{name} = {source}")
        if not nullable:
            self.structure(cls, name, path)
            return
        run = self.run
        self.emit(f"if {name} is None:")
        self.indent += 1
        self.run = [*run, ("b", "-1", path)]
        self.flush()
        self.indent -= 1
        self.emit("else:")
        self.indent += 1
        self.run = [*run, ("b", "1", path)]
        self.structure(cls, name, path)
        self.flush()
        self.indent -= 1

    def structure(self, cls: type, name: str, path: str) -> None:
        prefix = f"{path}." if path else ""
        tagged = []
        for field in schema_of(cls).fields:
            source = f"{name}.{field.name}"
            if not field.is_in(self.version):
                if not field.ignorable:
                    self.emit(f"if {self.differs(field, source)}:", prefix + field.name, source)
                    self.emit(f" lacks({prefix + field.name!r}, {source})")
            elif self.flexible and field.is_tagged_in(self.version):
                tagged.append(field)
            else:
                self.field(field, source, prefix + field.name)
        if self.flexible:
            self.tags(sorted(tagged, key=lambda field: field.tag or 0), name, prefix)

    def field(self, field: Field, source: str, path: str) -> None:
        self.value(
            field.kind,
            source,
            path,
            nullable=field.is_nullable_in(self.version),
            flexible=self.flexible and field.flexible,
        )

    def differs(self, field: Field, source: str) -> str:
        """An expression for: the field does not have its default."""
        if field.is_fresh_list:
            nullable = field.is_nullable_in(self.version) or field.nullable_since <= field.until
            return f"({source} is None or {source})" if nullable else source
        default = field.default_value()
        if default is None:
            return f"{source} is not None"
        if field.kind is BOOL:
            return f"not {source}" if default else source
        if isinstance(field.kind, type):
            name = self.constant("default", default)
            return f"({source} is not {name} and {source} != {name})"
        if isinstance(default, int | float | str | bytes):
            return f"{source} != {default!r}"
        return f"{source} != {self.constant('default', default)}"

    def tags(self, tagged: list[Field], name: str, prefix: str) -> None:
        """The tagged section: a zero byte at the end of the run unless something is set."""
        none = ("x", "", f"{prefix}(tagged fields)")
        if not tagged:
            self.run.append(none)
            return
        sources = {field.name: f"{name}.{field.name}" for field in tagged}
        flags = []
        for field in tagged:
            flag = self.fresh("set")
            self.emit(f"{flag} = {self.differs(field, sources[field.name])}")
            flags.append(flag)
        run = self.run
        self.emit(f"if {' or '.join(flags)}:")
        self.indent += 1
        self.run = list(run)
        self.flush()
        number = " + ".join(f"(1 if {flag} else 0)" for flag in flags)
        self.emit(f"{self.write}(uvarint({number}))")
        for flag, field in zip(flags, tagged, strict=True):
            self.emit(f"if {flag}:")
            self.indent += 1
            self.tag(field, sources[field.name], prefix + field.name)
            self.indent -= 1
        self.indent -= 1
        self.emit("else:")
        self.indent += 1
        self.run = [*run, none]
        self.flush()
        self.indent -= 1

    def tag(self, field: Field, source: str, path: str) -> None:
        """One tagged field: number, size, content."""
        parts, inner, outer = self.fresh("parts"), self.fresh("write"), self.write
        self.emit(f"{parts} = []")
        self.emit(f"{inner} = {parts}.append")
        self.write = inner
        self.field(field, source, path)
        self.flush()
        self.write = outer
        content = self.fresh("content")
        self.emit(f"{content} = b''.join({parts})")
        head = uvarint(field.tag or 0)
        self.emit(f"{outer}({head!r} + uvarint(len({content})) + {content})")

    # Failures.

    def _lacks(self, path: str, value: object) -> None:
        raise UnsupportedVersion(
            f"{self.schema.name} v{self.version} has no {path}, but it is set to {value!r}"
        )

    def _failed(self, error: Exception) -> EncodeError:
        trace = error.__traceback__
        assert isinstance(trace, TracebackType)
        seen = trace.tb_frame.f_locals
        places = self.labels.get(trace.tb_lineno, [("", "", "?")])
        where = f"{self.schema.name} v{self.version}: "
        for letter, expression, path in places:
            problem = _problem(letter, expression, {**self.names, **seen})
            if problem:
                return EncodeError(f"{where}{path} {problem}")
        return EncodeError(f"{where}{places[0][2]}: {error}")


def _problem(letter: str, expression: str, names: dict[str, Any]) -> str:
    """What keeps the value of a generated expression from being packed, if anything does."""
    if letter == "x" or not expression:
        return ""
    try:
        value = eval(expression, names)
    except AttributeError as error:
        return f"cannot be encoded: {error}"
    if not letter:
        return f"cannot be encoded: {value!r}"
    numbered = letter.startswith("*")
    for number in value if numbered else [value]:
        try:
            struct.pack(">" + letter.lstrip("*"), number)
        except struct.error as error:
            return f"cannot be {number!r}: {error}"
    return ""
