"""Relations between broker keys, and keys whose text makes one thing together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ottla.config.keys import Key
from ottla.config.keys_cluster import EMBEDDED
from ottla.config.listeners import (
    SERVED,
    Listener,
    parse_ensemble,
    parse_listeners,
    parse_protocol_map,
)
from ottla.config.problems import Place, Problem
from ottla.config.resolve import Findings, Values

_T = TypeVar("_T")
_SIZES = (
    "background.threads",
    "log.cleaner.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
)
_REFUSED = {
    "process.roles": "asks for KRaft mode; brokers here work with a coordinator ensemble"
    " (zookeeper.connect)",
    "authorizer.class.name": "asks for access control, which is not there yet; the broker will"
    " not run without the rules you rely on",
}


@dataclass(frozen=True, slots=True)
class Listeners:
    bound: tuple[Listener, ...]
    advertised: tuple[Listener, ...]
    between_brokers: Listener


def read_listeners(values: Values) -> Listeners:
    """The listeners of checked values. ValueError when they were not checked."""
    protocols = parse_protocol_map(values.str("listener.security.protocol.map"))
    bound = parse_listeners(values.str("listeners"), protocols, shared=False)
    text = values.optional_str("advertised.listeners")
    advertised = parse_listeners(text, protocols, shared=True) if text else bound
    name = values.optional_str("inter.broker.listener.name")
    protocol = values.str("security.inter.broker.protocol")
    wanted = name.upper() if name else protocol
    chosen = next((one for one in advertised if one.name == wanted), None)
    if chosen is None:
        raise ValueError(
            f"{wanted} is the listener between brokers, but only"
            f" {', '.join(one.name for one in advertised)} are advertised"
        )
    return Listeners(bound, advertised, chosen)


def check_broker(found: Findings, keys: Mapping[str, Key], place: Place) -> None:
    """Add what is wrong between keys that are well formed one by one."""
    effective = Values({name: row.default for name, row in keys.items()} | found.values)
    for key, text in _REFUSED.items():
        if key in found.entries and found.entries[key].value:
            found.warnings = [warning for warning in found.warnings if warning.key != key]
            found.problem(key, text, place)
    _check_listeners(found, effective, place)
    _check_ensemble(found, effective, place)
    _check_id(found, effective, place)
    _check_logs(found, effective, place)
    _check_replication(found, effective, place)
    if effective.int("group.min.session.timeout.ms") > effective.int(
        "group.max.session.timeout.ms"
    ):
        found.problem("group.min.session.timeout.ms", "is above the maximum", place)
    if 0 < effective.int("queued.max.request.bytes") < effective.int("socket.request.max.bytes"):
        found.problem("queued.max.request.bytes", "is below socket.request.max.bytes", place)


def _try(found: Findings, key: str, place: Place, read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except ValueError as error:
        found.problem(key, str(error), place)
        return None


def _check_listeners(found: Findings, effective: Values, place: Place) -> None:
    protocols = _try(
        found,
        "listener.security.protocol.map",
        place,
        lambda: parse_protocol_map(effective.str("listener.security.protocol.map")),
    )
    if protocols is None:
        return
    bound = _try(
        found,
        "listeners",
        place,
        lambda: parse_listeners(effective.str("listeners"), protocols, shared=False),
    )
    if bound is None:
        return
    for one in bound:
        if one.protocol not in SERVED:
            text = f"{one.name} speaks {one.protocol}; only PLAINTEXT listeners are served yet"
            found.problem("listeners", text, place)
    advertised_text = effective.optional_str("advertised.listeners")
    advertised = bound
    key = "listeners"
    if advertised_text:
        key = "advertised.listeners"
        read = _try(
            found, key, place, lambda: parse_listeners(advertised_text, protocols, shared=True)
        )
        if read is None:
            return
        advertised = read
    names = {one.name for one in bound}
    for one in advertised:
        if one.name not in names:
            text = f"{one.name} is not one of the listeners {', '.join(sorted(names))}"
            found.problem(key, text, place)
        if one.host in {"0.0.0.0", "::"}:
            text = (
                f"clients cannot connect to {one.host}; name a host in advertised.listeners,"
                " or leave the host empty"
            )
            found.problem(key, text, place)
    if (
        "inter.broker.listener.name" in found.values
        and "security.inter.broker.protocol" in found.values
    ):
        text = "is set together with security.inter.broker.protocol; only one of them may be"
        found.problem("inter.broker.listener.name", text, place)
    name = effective.optional_str("inter.broker.listener.name")
    wanted = name.upper() if name else effective.str("security.inter.broker.protocol")
    if all(one.name != wanted for one in advertised):
        shown = ", ".join(one.name for one in advertised)
        text = f"brokers would use the listener {wanted}, but only {shown} is advertised"
        found.problem("inter.broker.listener.name", text, place)


def _check_ensemble(found: Findings, effective: Values, place: Place) -> None:
    text = effective.optional_str("zookeeper.connect")
    if text is None:
        # Not while process.roles is refused: that message says it all.
        if "process.roles" not in found.entries and "zookeeper.connect" not in {
            problem.key for problem in found.problems
        }:
            missing = f"is not set: the ensemble's host:port list, or {EMBEDDED}"
            found.problem("zookeeper.connect", missing, place)
    elif text != EMBEDDED:
        _try(found, "zookeeper.connect", place, lambda: parse_ensemble(text))


def _check_id(found: Findings, effective: Values, place: Place) -> None:
    broker_id, node_id = effective.int("broker.id"), effective.int("node.id")
    if "broker.id" in found.values and "node.id" in found.values and broker_id != node_id:
        found.problem("node.id", f"differs from broker.id={broker_id}", place)
    own = max(broker_id, node_id)
    generated = effective.bool("broker.id.generation.enable")
    highest = effective.int("reserved.broker.max.id")
    if own < 0 and not generated:
        found.problem("broker.id", "must be set: broker.id.generation.enable is false", place)
    if own > highest and generated:
        text = f"is above reserved.broker.max.id={highest}, where generated ids begin"
        found.problem("broker.id", text, place)


def _check_logs(found: Findings, effective: Values, place: Place) -> None:
    dirs = effective["log.dirs"]
    if isinstance(dirs, tuple):
        if len(set(dirs)) != len(dirs):
            found.problem("log.dirs", "names a directory twice", place)
        if not all(dirs):
            found.problem("log.dirs", "has an empty place between commas", place)
    threads = effective.int("log.cleaner.threads")
    memory = effective.int("log.cleaner.dedupe.buffer.size")
    if threads and memory // threads <= 1024 * 1024:
        text = f"is less than 1 MiB for each of log.cleaner.threads={threads}"
        found.problem("log.cleaner.dedupe.buffer.size", text, place)


def _check_replication(found: Findings, effective: Values, place: Place) -> None:
    wait = effective.int("replica.fetch.wait.max.ms")
    for key in ("replica.socket.timeout.ms", "replica.lag.time.max.ms"):
        if wait > effective.int(key):
            text = f"is above {key}={effective.int(key)}"
            found.problem("replica.fetch.wait.max.ms", text, place)
    replicas = effective.int("default.replication.factor")
    required = effective.int("min.insync.replicas")
    if required > replicas:
        text = (
            f"is above default.replication.factor={replicas}: topics made without a number of"
            " replicas refuse every write with acks=all"
        )
        found.warning("min.insync.replicas", text, place)


def check_steps(before: Values, after: Values, place: Place) -> list[Problem]:
    """What changes too far in one step while the broker runs: at most to half or to double."""
    problems = []
    for key in _SIZES:
        now, wanted = before.int(key), after.int(key)
        if wanted == now:
            continue
        if wanted < 1:
            problems.append(Problem(place, key, str(wanted), "expected an integer >= 1"))
        elif not now // 2 <= wanted <= 2 * now:
            text = f"is not between half and double of what it is now, {now}"
            problems.append(Problem(place, key, str(wanted), text))
    return problems


__all__ = ["Listeners", "check_broker", "check_steps", "read_listeners"]
