"""Types and limits of configuration values: text from a file to a value, and what is allowed.

A value type says what a text must look like, a limit which of those values a key takes. Both know
their own words, so that a message can name what was expected.
"""

import enum
import math
from dataclasses import dataclass
from typing import Protocol

Value = str | int | float | bool | tuple[str, ...] | None
"""None: the key is not set and has no default."""

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
DOUBLE_MAX = 1.7976931348623157e308

_WIDTHS = {"SHORT": 16, "INT": 32, "LONG": 64}


class ValueType(enum.Enum):
    """Kafka's types of configuration values, by the names that DescribeConfigs uses."""

    BOOLEAN = "BOOLEAN"
    STRING = "STRING"
    INT = "INT"
    SHORT = "SHORT"
    LONG = "LONG"
    DOUBLE = "DOUBLE"
    LIST = "LIST"
    CLASS = "CLASS"
    PASSWORD = "PASSWORD"

    @property
    def words(self) -> str:
        return _WORDS[self]

    def parse(self, text: str) -> Value:
        """The value of a trimmed text. ValueError when it has another shape."""
        match self:
            case ValueType.BOOLEAN:
                folded = text.lower()
                if folded not in {"true", "false"}:
                    raise ValueError
                return folded == "true"
            case ValueType.INT | ValueType.SHORT | ValueType.LONG:
                return _integer(text, _WIDTHS[self.value])
            case ValueType.DOUBLE:
                number = float(text)
                if math.isnan(number):
                    raise ValueError
                return number
            case ValueType.LIST:
                return tuple(part.strip() for part in text.split(",")) if text else ()
            case ValueType.STRING | ValueType.CLASS | ValueType.PASSWORD:
                return text

    def format(self, value: Value) -> str | None:
        """The text that parses to `value`; None for a key that is not set."""
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(value)
        return str(value)


def _integer(text: str, bits: int) -> int:
    # int() takes underscores and non-ASCII digits, which no other reader of the file would.
    if not text.lstrip("+-").isascii() or "_" in text:
        raise ValueError
    number = int(text)
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError
    return number


_WORDS = {
    ValueType.BOOLEAN: "true or false",
    ValueType.STRING: "text",
    ValueType.INT: "an integer",
    ValueType.SHORT: "an integer",
    ValueType.LONG: "an integer",
    ValueType.DOUBLE: "a number",
    ValueType.LIST: "a list with commas",
    ValueType.CLASS: "a class name",
    ValueType.PASSWORD: "a password",
}


class Limit(Protocol):
    """Which values of its type a key takes."""

    @property
    def words(self) -> str:
        """Continues the words of the type: `an integer` + ` >= 1`; or stands alone."""
        ...

    def accepts(self, value: Value) -> bool: ...


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; None is no bound."""

    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        if self.high is None:
            return f" >= {self.low}"
        if self.low is None:
            return f" <= {self.high}"
        return f" from {self.low} to {self.high}"

    def accepts(self, value: Value) -> bool:
        assert isinstance(value, int | float)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts; a list takes any of them, each at most once."""

    allowed: tuple[str, ...]

    @property
    def words(self) -> str:
        return ", one of " + ", ".join(self.allowed)

    def accepts(self, value: Value) -> bool:
        if isinstance(value, tuple):
            return len(set(value)) == len(value) and all(one in self.allowed for one in value)
        return value in self.allowed


@dataclass(frozen=True, slots=True)
class Either:
    """One number apart, or a range: `-1` for "never", else a duration."""

    apart: int
    otherwise: Range

    @property
    def words(self) -> str:
        return f"{self.otherwise.words}, or {self.apart}"

    def accepts(self, value: Value) -> bool:
        return value == self.apart or self.otherwise.accepts(value)


def at_least(low: float) -> Range:
    return Range(low)


def between(low: float, high: float) -> Range:
    return Range(low, high)


def one_of(*allowed: str) -> Choice:
    return Choice(allowed)


__all__ = [
    "DOUBLE_MAX",
    "INT32_MAX",
    "INT64_MAX",
    "Choice",
    "Either",
    "Limit",
    "Range",
    "Value",
    "ValueType",
    "at_least",
    "between",
    "one_of",
]
