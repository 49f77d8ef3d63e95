"""The configuration of one topic: its own keys over the broker's."""

from collections.abc import Mapping
from dataclasses import dataclass

from ottla.config.keys import TopicKey
from ottla.config.keys_log import TOPIC
from ottla.config.problems import ConfigError, Place, Problem, closest
from ottla.config.resolve import Values
from ottla.config.values import INT64_MAX, Value


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a topic's value comes from: the topic, a broker key that is set, or the default."""

    kind: str  # "topic", "broker", "default"
    broker_key: str | None = None


class TopicConfig(Values):
    """Every topic key with its effective value; see `BrokerConfig.topic_config`."""

    def __init__(self, values: Mapping[str, Value], origins: Mapping[str, Origin]) -> None:
        super().__init__(values)
        self._origins = origins

    def origin(self, name: str) -> Origin:
        return self._origins[name]

    def text(self, name: str) -> str | None:
        """The value as DescribeConfigs shows it."""
        return TOPIC[name].key.type.format(self[name])

    @property
    def timestamp_before_max_ms(self) -> int:
        """How far behind the clock a timestamp may lie, the older key considered."""
        return self._timestamp_max_ms("message.timestamp.before.max.ms")

    @property
    def timestamp_after_max_ms(self) -> int:
        """How far ahead of the clock a timestamp may lie, the older key considered."""
        return self._timestamp_max_ms("message.timestamp.after.max.ms")

    def _timestamp_max_ms(self, name: str) -> int:
        own = self.int(name)
        return own if own != INT64_MAX else self.int("message.timestamp.difference.max.ms")


def read_overrides(overrides: Mapping[str, str], source: str) -> dict[str, Value]:
    """The values of a topic's own keys. ConfigError names every fault."""
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    place = Place(source)
    for name, text in overrides.items():
        row = TOPIC.get(name)
        if row is None:
            near = closest(name, TOPIC)
            hint = f"; did you mean {near}?" if near else ""
            problems.append(Problem(place, name, text, f"is not a key of a topic{hint}"))
            continue
        try:
            values[name] = row.key.read(text)
        except ValueError as error:
            problems.append(Problem(place, name, text, str(error)))
    shortest, longest = values.get("min.compaction.lag.ms"), values.get("max.compaction.lag.ms")
    if isinstance(shortest, int) and isinstance(longest, int) and shortest > longest:
        text = f"is above max.compaction.lag.ms={longest}"
        problems.append(Problem(place, "min.compaction.lag.ms", str(shortest), text))
    if problems:
        raise ConfigError(problems)
    return values


def sound_overrides(
    overrides: Mapping[str, str], source: str
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """The overrides that `read_overrides` takes, and what is wrong with the others.

    For what was written past our checks: the rest of a topic's configuration still counts.
    """
    sound = dict(overrides)
    refused: list[Problem] = []
    while True:
        try:
            read_overrides(sound, source)
        except ConfigError as error:
            refused += error.problems
            for problem in error.problems:
                sound.pop(problem.key, None)
        else:
            return sound, tuple(refused)


def inherit(row: TopicKey, broker: Mapping[str, Value]) -> tuple[Value, Origin]:
    """A topic key's value from the broker keys that are set, else its default."""
    for fallback in row.fallbacks:
        value = broker.get(fallback.name)
        if value is None:
            continue
        if fallback.factor != 1 and isinstance(value, int) and value >= 0:
            value = min(value * fallback.factor, INT64_MAX)
        return value, Origin("broker", fallback.name)
    return row.key.default, Origin("default")


__all__ = ["Origin", "TopicConfig", "inherit", "read_overrides", "sound_overrides"]
