"""The configuration of a broker: a properties file, overrides and dynamic values in layers."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ottla.config import inert_keys, keys_cluster, keys_groups, keys_log
from ottla.config.broker_checks import check_broker, read_listeners
from ottla.config.keys import Key, Update
from ottla.config.keys_cluster import EMBEDDED
from ottla.config.listeners import EnsembleAddress, Listener, parse_ensemble
from ottla.config.problems import ConfigError, Place, Problem, closest
from ottla.config.properties import Entry, parse_overrides, read
from ottla.config.resolve import Findings, Values, resolve
from ottla.config.topic import Origin, TopicConfig, inherit, read_overrides
from ottla.config.values import Value

BROKER_KEYS: Mapping[str, Key] = keys_cluster.ALL | keys_log.ALL | keys_groups.ALL
"""Every broker key, by name."""

_DEFAULTS = {name: row.default for name, row in BROKER_KEYS.items() if row.default is not None}


class Source(enum.Enum):
    """Where a broker key's value comes from, the strongest first."""

    DYNAMIC_BROKER = enum.auto()
    DYNAMIC_CLUSTER = enum.auto()
    STATIC = enum.auto()
    DEFAULT = enum.auto()


# Where a problem of a value set at run time is.
_BROKER, _CLUSTER, _TOGETHER = "broker", "cluster", "together"
_LAYERED = (Source.DYNAMIC_BROKER, Source.DYNAMIC_CLUSTER, Source.STATIC)


@dataclass(frozen=True, slots=True)
class _Layers:
    """Values that are set, by source."""

    by_source: Mapping[Source, Mapping[str, Value]]

    def flat(self) -> dict[str, Value]:
        """What is set, the strongest source winning."""
        flat: dict[str, Value] = {}
        for source in reversed(_LAYERED):
            flat.update(self.by_source.get(source, {}))
        return flat


class BrokerConfig(Values):
    """A checked configuration; immutable, `with_dynamic` makes another.

    `warnings` are findings that do not keep the broker from starting.
    """

    def __init__(self, layers: _Layers, warnings: tuple[Problem, ...] = ()) -> None:
        self._layers = layers
        self._set = layers.flat()
        super().__init__({name: row.default for name, row in BROKER_KEYS.items()} | self._set)
        self.warnings = warnings
        self._listeners = read_listeners(self)

    @classmethod
    def from_properties(
        cls, properties: Mapping[str, str] | None = None, *, source: str = "settings"
    ) -> "BrokerConfig":
        """From a mapping. ConfigError with every problem."""
        place = Place(source)
        entries = [Entry(key, value, place) for key, value in (properties or {}).items()]
        return cls._from_entries(entries, [], place)

    @classmethod
    def load(cls, path: str, overrides: Sequence[str] = ()) -> "BrokerConfig":
        """From a file and `key=value` texts that replace its lines. ConfigError as above."""
        entries, problems = read(path)
        more, others = parse_overrides(tuple(overrides))
        return cls._from_entries([*entries, *more], [*problems, *others], Place(path))

    @classmethod
    def _from_entries(
        cls, entries: list[Entry], problems: list[Problem], place: Place
    ) -> "BrokerConfig":
        found = resolve(entries, BROKER_KEYS, _is_inert)
        check_broker(found, BROKER_KEYS, place)
        if problems or found.problems:
            raise ConfigError(_in_order([*problems, *found.problems]))
        layers = _Layers({Source.STATIC: found.values})
        return cls(layers, tuple(_in_order(found.warnings)))

    def with_dynamic(self, cluster: Mapping[str, str], broker: Mapping[str, str]) -> "BrokerConfig":
        """This configuration under values set at run time, in place of earlier such values.

        ConfigError for any that is refused, by itself or together with the others.
        """
        layers = dict(self._layers.by_source)
        layers[Source.DYNAMIC_CLUSTER] = read_dynamic(cluster, per_broker=False)
        layers[Source.DYNAMIC_BROKER] = read_dynamic(broker, per_broker=True)
        flat = _Layers(layers).flat()
        found = Findings(values=flat)
        check_broker(found, BROKER_KEYS, Place(_TOGETHER))
        if found.problems:
            raise ConfigError(found.problems)
        return BrokerConfig(_Layers(layers), self.warnings)

    def with_sound_dynamic(
        self, cluster: Mapping[str, str], broker: Mapping[str, str]
    ) -> "tuple[BrokerConfig, list[Problem]]":
        """This configuration under those values that it takes, and what is wrong with the others.

        For what was written past our checks.
        """
        layers = {_CLUSTER: dict(cluster), _BROKER: dict(broker)}
        refused: list[Problem] = []
        while True:
            try:
                return self.with_dynamic(layers[_CLUSTER], layers[_BROKER]), refused
            except ConfigError as error:
                refused += error.problems
                dropped = [
                    layer.pop(problem.key, None)
                    for problem in error.problems
                    for name, layer in layers.items()
                    if problem.place.source in {name, _TOGETHER}
                ]
                if all(text is None for text in dropped):
                    # They contradict each other by way of a key that none of them sets.
                    layers = {_CLUSTER: {}, _BROKER: {}}

    def with_ensemble(self, host: str, port: int) -> "BrokerConfig":
        """This configuration with one member's address in place of `embedded`."""
        layers = dict(self._layers.by_source)
        shown = f"[{host}]" if ":" in host else host
        connect = {"zookeeper.connect": f"{shown}:{port}"}
        layers[Source.STATIC] = {**layers.get(Source.STATIC, {}), **connect}
        return BrokerConfig(_Layers(layers), self.warnings)

    def source(self, name: str) -> Source:
        for source in _LAYERED:
            if name in self._layers.by_source.get(source, {}):
                return source
        return Source.DEFAULT

    def layer(self, source: Source) -> Mapping[str, Value]:
        """The values that come from one source; of DEFAULT those that are not None."""
        if source is Source.DEFAULT:
            return _DEFAULTS
        return self._layers.by_source.get(source, {})

    def differences(self, other: "BrokerConfig") -> set[str]:
        """The keys that are set to different values anywhere, whether those count or not."""
        return {
            name
            for source in _LAYERED
            for one, two in ((self.layer(source), other.layer(source)),)
            for name in one.keys() | two.keys()
            if one.get(name) != two.get(name)
        }

    def is_set(self, name: str) -> bool:
        return name in self._set

    def text(self, name: str) -> str | None:
        """The value as DescribeConfigs shows it; None when there is none."""
        return BROKER_KEYS[name].type.format(self[name])

    @property
    def broker_id(self) -> int:
        """The id by broker.id or node.id; -1 when one is to be generated."""
        own = self.int("broker.id")
        return own if own >= 0 else self.int("node.id")

    @property
    def log_dirs(self) -> tuple[str, ...]:
        dirs = self["log.dirs"]
        return self.list("log.dirs") if dirs else (self.str("log.dir"),)

    def listeners(self) -> tuple[Listener, ...]:
        """Sockets to open, in the order of the file."""
        return self._listeners.bound

    def advertised_listeners(self) -> tuple[Listener, ...]:
        """What clients are told. Host "": this machine's name; port 0: the bound port."""
        return self._listeners.advertised

    def inter_broker_listener(self) -> Listener:
        """The advertised listener that other brokers use."""
        return self._listeners.between_brokers

    @property
    def uses_embedded_coordinator(self) -> bool:
        return self["zookeeper.connect"] == EMBEDDED

    def zookeeper_connect(self) -> EnsembleAddress:
        """The ensemble's members and chroot; not for `embedded`, whose port may be any."""
        assert not self.uses_embedded_coordinator, "the embedded coordinator's address is bound"
        return parse_ensemble(self.str("zookeeper.connect"))

    @property
    def zookeeper_connection_timeout_ms(self) -> int:
        own = self.optional_int("zookeeper.connection.timeout.ms")
        return self.int("zookeeper.session.timeout.ms") if own is None else own

    def topic_config(
        self, overrides: Mapping[str, str] | None = None, *, topic: str = "topic"
    ) -> TopicConfig:
        """A topic's values: its own, else the broker's, else defaults. ConfigError names faults."""
        own = read_overrides(overrides or {}, topic)
        values: dict[str, Value] = {}
        origins: dict[str, Origin] = {}
        for name, row in keys_log.TOPIC.items():
            if name in own:
                values[name], origins[name] = own[name], Origin("topic")
            else:
                values[name], origins[name] = inherit(row, self._set)
        return TopicConfig(values, origins)


def read_dynamic(texts: Mapping[str, str], *, per_broker: bool) -> dict[str, Value]:
    """Values of keys that may change at run time. ConfigError names every fault."""
    place = Place(_BROKER if per_broker else _CLUSTER)
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for name, text in texts.items():
        row = BROKER_KEYS.get(name)
        if row is None:
            problems.append(Problem(place, name, None, _unknown(name)))
        elif row.update is Update.RESTART:
            problems.append(Problem(place, name, text, "changes with a restart only"))
        elif row.update is Update.BROKER and not per_broker:
            problems.append(Problem(place, name, text, "is set for each broker, not for all"))
        else:
            try:
                values[name] = row.read(text)
            except ValueError as error:
                shown = None if row.is_secret else text
                problems.append(Problem(place, name, shown, str(error)))
    if problems:
        raise ConfigError(problems)
    return values


def _unknown(name: str) -> str:
    if _is_inert(name):
        return "is a known key that does nothing here yet"
    near = closest(name, BROKER_KEYS)
    return "is not a key of a broker" + (f"; did you mean {near}?" if near else "")


def _is_inert(name: str) -> bool:
    return name in inert_keys.BROKER or name.startswith(inert_keys.BROKER_PREFIXES)


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.place.source, problem.place.line))


__all__ = ["BROKER_KEYS", "BrokerConfig", "Source", "read_dynamic"]
