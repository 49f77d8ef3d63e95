"""What AlterConfigs and IncrementalAlterConfigs share: from a wish for one resource to its znode.

Any broker changes a topic and what counts for all brokers; what is a broker's own, only itself, as
the cluster protocol of Kafka's ZooKeeper mode has it. A change is checked like a properties file at
the start, then written together with the notice that all brokers hear of. What others wrote between
our reading and our writing is not lost: then the wish is carried out again on what is there now.

Keys that are in the znode already and that a wish does not touch are not checked: a program with
more keys than we know may have written them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from ottla.broker.api.api import Services
from ottla.broker.ensemble import paths
from ottla.broker.ensemble.client import ANY_VERSION
from ottla.broker.ensemble.config_watcher import DEFAULT_ENTITY, read_versioned, write_config
from ottla.broker.ensemble.encodings import MalformedZnode
from ottla.broker.ensemble.errors import EnsembleError, NoNode
from ottla.broker.errors import (
    BrokerError,
    InvalidConfig,
    InvalidRequest,
    RequestTimedOut,
    UnknownTopicOrPartition,
)
from ottla.config.broker import BROKER_KEYS, BrokerConfig, Source, read_dynamic
from ottla.config.broker_checks import check_steps
from ottla.config.problems import ConfigError, Place, Problem
from ottla.config.topic import read_overrides, sound_overrides

TOPIC_RESOURCE, BROKER_RESOURCE, LOGGER_RESOURCE = 2, 4, 8
ATTEMPTS = 50

Config = Mapping[str, str]
Change = Callable[[Config], dict[str, str]]
"""What is to become of a resource's configuration. InvalidConfig, InvalidRequest."""


class Named(Protocol):
    """A key in a request."""

    name: str


class Resource(Protocol):
    """A resource in a request of either API."""

    resource_type: int
    resource_name: str


R = TypeVar("R", bound=Resource)


def named_twice(resources: Iterable[R]) -> Counter[tuple[int, str]]:
    """How often each resource is named; more than once is refused."""
    return Counter((each.resource_type, each.resource_name) for each in resources)


def check_keys(configs: Iterable[Named], unset: Iterable[str]) -> None:
    """InvalidRequest for keys that are named twice or have no value."""
    twice = [name for name, count in Counter(each.name for each in configs).items() if count > 1]
    if twice:
        raise InvalidRequest(f"named more than once: {', '.join(twice)}")
    without = list(unset)
    if without:
        raise InvalidRequest(f"null is no value; it was given for: {', '.join(without)}")


async def alter(
    resource: Resource,
    change: Change,
    services: Services,
    *,
    replaces: bool,
    validate_only: bool,
) -> None:
    """Carry out one wish. `replaces`: the new configuration does not depend on the old one.

    BrokerError says why it was refused.
    """
    kind, name, beside = _entity(resource, services)
    try:
        for _ in range(ATTEMPTS):
            before, version = (
                ({}, ANY_VERSION)
                if replaces
                else await read_versioned(services.ensemble, kind, name)
            )
            after = change(before)
            _check(kind, name, before, after, services.config)
            if validate_only or await write_config(
                services.ensemble, kind, name, after, expected=version, beside=beside
            ):
                break
        else:
            raise RequestTimedOut(f"others change {kind}/{name} all the time")
    except NoNode as error:
        raise UnknownTopicOrPartition(f"topic {name} does not exist") from error
    except EnsembleError as error:
        raise RequestTimedOut(f"the ensemble cannot be asked now: {error}") from error
    except MalformedZnode as error:
        raise InvalidConfig(f"what the ensemble has cannot be read: {error}") from error
    if not validate_only:
        keys = sorted(key for key in before.keys() | after if before.get(key) != after.get(key))
        services.events.info("config.altered", entity=f"{kind}/{name}", keys=keys)


def _entity(resource: Resource, services: Services) -> tuple[str, str, str | None]:
    """Type and name of the znode, and a znode that must be there."""
    name = resource.resource_name
    match resource.resource_type:
        case value if value == TOPIC_RESOURCE:
            if not name:
                raise InvalidRequest("there is no default topic; name one")
            if services.metadata.topic(name) is None:
                raise UnknownTopicOrPartition(f"topic {name} does not exist")
            return "topics", name, paths.topic(name)
        case value if value == BROKER_RESOURCE:
            if not name:
                return "brokers", DEFAULT_ENTITY, None
            require_own_id(name, services)
            return "brokers", str(services.broker_id), None
        case value if value == LOGGER_RESOURCE:
            raise InvalidRequest("loggers have no configuration that changes at run time here")
        case value:
            raise InvalidRequest(f"resources of type {value} have no configuration here")


def require_own_id(name: str, services: Services) -> None:
    """A broker's own configuration is asked of that broker. InvalidRequest."""
    if not name.isascii() or not name.isdecimal():
        raise InvalidRequest(f"a broker's name is its id, a number, and not {name!r}")
    if int(name) != services.broker_id:
        raise InvalidRequest(f"this is broker {services.broker_id}, ask broker {name} itself")


def _check(kind: str, name: str, before: Config, after: Config, config: BrokerConfig) -> None:
    touched = {key: text for key, text in after.items() if before.get(key) != text}
    kept = {key: text for key, text in after.items() if key not in touched}
    if kind == "topics":
        _check_topic(name, touched, kept)
    else:
        _check_broker(touched, kept, config, per_broker=name != DEFAULT_ENTITY)


def _check_topic(name: str, touched: Config, kept: Config) -> None:
    try:
        read_overrides(touched, name)
        sound, _ = sound_overrides(kept, name)
        read_overrides({**sound, **touched}, name)
    except ConfigError as error:
        raise InvalidConfig(f"topic {name}: {_shown(error.problems)}") from error


def _check_broker(touched: Config, kept: Config, config: BrokerConfig, *, per_broker: bool) -> None:
    """InvalidRequest, the code that Kafka gives here where a topic has InvalidConfig."""
    source = Source.DYNAMIC_CLUSTER if per_broker else Source.DYNAMIC_BROKER
    other = {
        key: text
        for key, value in config.layer(source).items()
        if (text := BROKER_KEYS[key].type.format(value)) is not None
    }
    # Checked with the rest too: two keys may contradict each other.
    sound = {key: text for key, text in kept.items() if _is_sound(key, text, per_broker)}
    wanted = {**sound, **touched}
    try:
        read_dynamic(touched, per_broker=per_broker)
        after = config.with_dynamic(*((other, wanted) if per_broker else (wanted, other)))
    except ConfigError as error:
        raise InvalidRequest(_shown(error.problems)) from error
    problems = check_steps(config, after, Place("broker"))
    if problems:
        raise InvalidRequest(_shown(problems))


def _is_sound(key: str, text: str, per_broker: bool) -> bool:
    try:
        read_dynamic({key: text}, per_broker=per_broker)
    except ConfigError:
        return False
    return True


def _shown(problems: Iterable[Problem]) -> str:
    return "; ".join(
        f"{each.key}: {each.text}"
        if each.value is None
        else f"{each.key}={each.value}: {each.text}"
        for each in problems
    )


def outcome(error: BrokerError | None) -> tuple[int, str | None]:
    """Error code and message of a resource."""
    return (0, None) if error is None else (int(error.code), str(error))


__all__ = [
    "BROKER_RESOURCE",
    "TOPIC_RESOURCE",
    "Change",
    "Config",
    "alter",
    "check_keys",
    "named_twice",
    "outcome",
    "require_own_id",
]
