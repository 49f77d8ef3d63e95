"""Writes `docs/events.md` from the places that write events.

    python -m ottla.scripts.event_docs docs/events.md

Reads the sources as syntax trees and imports none of them. Four forms of writing are known:

* `events.info("area.past_verb", field=...)`;
* a function that passes its own argument on as the event's name: its calls name the events;
* a group's `self._note("group...", field=...)`, written as info by the shard that owns the group;
* the same in a function that marks its note with `is_warning=True`.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[1]
LEVELS: Final = ("debug", "info", "warning", "error")
_NOTE: Final = "_note"
_NOTE_FIELDS: Final = ("group", "generation")

_HEAD = """\
# Events

Generated from the sources by `python -m ottla.scripts.event_docs docs/events.md`.

Every line of a daemon's event log is one of these, with a time, its level and its fields. A name is
an area and what happened; `logging.yaml` sets the level of each area. *debug*: per request or per
connection. *info*: what an operator would ask about. *warning*: degraded, and expected to heal by
itself. *error*: a person is needed. Events of one partition's log (`log`, `leader_epochs`,
`producer_snapshot`) also carry its `partition`; a coordinator inside a broker's process adds
`daemon=coordinator`.
"""


@dataclass(slots=True)
class Event:
    """One event with all that its places of writing say."""

    levels: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    fields: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Forwarder:
    """A function that writes the event it is given. `position` counts arguments without self."""

    name: str
    position: int
    level: str
    fields: tuple[str, ...]


Found = tuple[str, str, tuple[str, ...]]  # event, level, fields


def collect(source: Path = SOURCE) -> dict[str, Event]:
    """Every event by its name, in the order of names."""
    events: dict[str, Event] = {}
    for path in sorted(source.rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for name, level, fields in _events_of(ast.parse(path.read_text(encoding="utf-8"))):
            event = events.setdefault(name, Event())
            event.levels.add(level)
            event.modules.add(module)
            event.fields.update(dict.fromkeys(fields))
    return dict(sorted(events.items()))


def _events_of(tree: ast.Module) -> Iterator[Found]:
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    forwarders = {each.name: each for function in functions for each in _forwarders(function)}
    warnings = {
        call
        for function in functions
        if any(_marks_warning(node) for node in ast.walk(function))
        for call in _calls(function)
    }
    for call in _calls(tree):
        level = _level(call)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else _name(call.func)
        if level is not None and (event := _constant(call.args, 0)):
            yield event, level, _fields(call)
        elif name == _NOTE and (event := _constant(call.args, 0)):
            yield event, "warning" if call in warnings else "info", (*_NOTE_FIELDS, *_fields(call))
        elif (forwarder := forwarders.get(name)) and (
            event := _constant(call.args, forwarder.position)
        ):
            yield event, forwarder.level, forwarder.fields


def _forwarders(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[_Forwarder]:
    parameters = [each.arg for each in function.args.args if each.arg != "self"]
    for call in _calls(function):
        level = _level(call)
        first = _name(call.args[0]) if call.args else ""
        if level is not None and first in parameters:
            yield _Forwarder(function.name, parameters.index(first), level, _fields(call))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _level(call: ast.Call) -> str | None:
    """The level of `events.<level>(...)`, whatever object holds the event log; else None."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
        return None
    holder = call.func.value
    name = holder.attr if isinstance(holder, ast.Attribute) else _name(holder)
    return call.func.attr if name.lstrip("_") == "events" else None


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _constant(arguments: list[ast.expr], position: int) -> str:
    node = arguments[position] if position < len(arguments) else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _fields(call: ast.Call) -> tuple[str, ...]:
    names = (each.arg for each in call.keywords if each.arg is not None)
    return tuple("exception" if name == "exc_info" else name for name in names)


def _marks_warning(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.keyword)
        and node.arg == "is_warning"
        and isinstance(node.value, ast.Constant)
        and node.value.value is True
    )


def render() -> str:
    """The whole document: a table for each area."""
    parts = [_HEAD]
    area = ""
    for name, event in collect().items():
        if area != (area := name.partition(".")[0]):
            parts.append(f"\n## {area}\n\n| event | level | fields | module |\n|---|---|---|---|\n")
        levels = ", ".join(level for level in LEVELS if level in event.levels)
        fields = ", ".join(f"`{each}`" for each in event.fields)
        modules = ", ".join(f"`{module}`" for module in sorted(event.modules))
        parts.append(f"| `{name}` | {levels} | {fields} | {modules} |\n")
    return "".join(parts)


def main(arguments: list[str]) -> None:
    """Write to the named file, or to the standard output."""
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main(sys.argv[1:])
