"""From entries of a file to checked values: the part that knows no particular key."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ottla.config.keys import Key
from ottla.config.problems import Place, Problem, closest
from ottla.config.properties import Entry
from ottla.config.values import Value


@dataclass(slots=True)
class Findings:
    """What reading a file gave: values by key, where each was set, what is wrong or odd."""

    values: dict[str, Value] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def place_of(self, key: str, fallback: Place) -> Place:
        entry = self.entries.get(key)
        return entry.place if entry else fallback

    def problem(self, key: str, text: str, fallback: Place) -> None:
        """Note a fault of a key that is well formed in itself."""
        self.problems.append(self._about(key, text, fallback))

    def warning(self, key: str, text: str, fallback: Place) -> None:
        self.warnings.append(self._about(key, text, fallback))

    def _about(self, key: str, text: str, fallback: Place) -> Problem:
        entry = self.entries.get(key)
        if entry is None:
            return Problem(fallback, key, None, text)
        return Problem(entry.place, key, entry.value, text)


def resolve(
    entries: Iterable[Entry], keys: Mapping[str, Key], is_inert: Callable[[str], bool]
) -> Findings:
    """Check every entry. A later entry of a key replaces an earlier one.

    A key that nobody knows is a problem when a known one is near, for it was misspelt; else it is a
    warning, since properties files also carry keys of plug-ins.
    """
    found = Findings()
    for entry in entries:
        earlier = found.entries.get(entry.key)
        if earlier is not None and earlier.place.source == entry.place.source:
            text = f"was set before at {earlier.place}; the later one counts"
            found.warnings.append(Problem(entry.place, entry.key, None, text))
        found.entries[entry.key] = entry
    for entry in found.entries.values():
        _check(entry, keys, is_inert, found)
    return found


def _check(
    entry: Entry, keys: Mapping[str, Key], is_inert: Callable[[str], bool], found: Findings
) -> None:
    row = keys.get(entry.key)
    if row is not None:
        shown = None if row.is_secret else entry.value
        if entry.value == "" and row.default is None:
            return  # as Kafka: an empty text for a key without a default leaves it unset
        try:
            found.values[entry.key] = row.read(entry.value)
        except ValueError as error:
            found.problems.append(Problem(entry.place, entry.key, shown, str(error)))
            return
        if not row.acts:
            text = "is checked, but does nothing here yet"
            found.warnings.append(Problem(entry.place, entry.key, None, text))
    elif is_inert(entry.key):
        text = "is a known key that does nothing here yet"
        found.warnings.append(Problem(entry.place, entry.key, None, text))
    elif near := closest(entry.key, keys):
        text = f"is no key; did you mean {near}?"
        found.problems.append(Problem(entry.place, entry.key, None, text))
    else:
        text = "is not a key that anything here reads"
        found.warnings.append(Problem(entry.place, entry.key, None, text))


# The accessors of `Values` have the names of the types they return and hide them inside the class.
Whole = int
Real = float
Truth = bool
Text = str


class Values:
    """Typed access to values by key. A key that does not exist is a KeyError: a bug."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def __getitem__(self, name: Text) -> Value:
        return self._values[name]

    def int(self, name: Text) -> Whole:
        value = self._values[name]
        assert isinstance(value, Whole), f"{name} is not set to an integer"
        return value

    def optional_int(self, name: Text) -> Whole | None:
        return None if self._values[name] is None else self.int(name)

    def float(self, name: Text) -> Real:
        value = self._values[name]
        assert isinstance(value, Whole | Real), f"{name} is not set to a number"
        return Real(value)

    def bool(self, name: Text) -> Truth:
        value = self._values[name]
        assert value is True or value is False, f"{name} is not set to a truth value"
        return value

    def str(self, name: Text) -> Text:
        value = self._values[name]
        assert isinstance(value, Text), f"{name} is not set to a text"
        return value

    def optional_str(self, name: Text) -> Text | None:
        return None if self._values[name] is None else self.str(name)

    def list(self, name: Text) -> tuple[Text, ...]:
        value = self._values[name]
        assert isinstance(value, tuple), f"{name} is not set to a list"
        return value


__all__ = ["Findings", "Values", "resolve"]
