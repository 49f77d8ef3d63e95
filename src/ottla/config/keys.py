"""What a configuration key is: one row of data that everything else is made from.

Validation, DescribeConfigs, `docs/config.md` and `--check-config` read the same rows.
"""

import enum
from dataclasses import dataclass

from ottla.config.values import Limit, Value, ValueType


class Update(enum.Enum):
    """When a new value takes effect."""

    RESTART = "read-only"
    BROKER = "per-broker"
    CLUSTER = "cluster-wide"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` None: without a value unless one is set."""

    name: str
    type: ValueType
    default: Value
    doc: str
    limit: Limit | None = None
    update: Update = Update.RESTART
    acts: bool = True
    """False: checked and kept, but nothing reads it yet; setting it is a warning by name."""

    @property
    def is_secret(self) -> bool:
        return self.type is ValueType.PASSWORD

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.limit is None:
            return self.type.words
        words = self.limit.words
        return (
            words.removeprefix(", ") if self.type is ValueType.STRING else self.type.words + words
        )

    def read(self, text: str) -> Value:
        """The value of a text. ValueError, with what was expected, when it is not allowed."""
        try:
            value = self.type.parse(text.strip())
        except ValueError:
            raise ValueError(f"expected {self.expected}") from None
        if self.limit is not None and not self.limit.accepts(value):
            raise ValueError(f"expected {self.expected}")
        return value


@dataclass(frozen=True, slots=True)
class Fallback:
    """A broker key that gives a topic key its default; its value times `factor`."""

    name: str
    factor: int = 1


@dataclass(frozen=True, slots=True)
class TopicKey:
    """A key of one topic and the broker keys that stand in for it, the first one set wins."""

    key: Key
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def name(self) -> str:
        return self.key.name


def table(*rows: Key) -> dict[str, Key]:
    """Rows by name, in their order."""
    found = {row.name: row for row in rows}
    assert len(found) == len(rows), "a key has two rows"
    return found


__all__ = ["Fallback", "Key", "TopicKey", "Update", "table"]
