"""Which brokers a new partition goes to, and what a topic may be called.

Pure; chance is an argument. Follows Kafka's AdminUtils (replica assignment), Topic (names) and
AdminZkClient (manual assignments). Every refusal is a `Refused` with the error code that a client
sees.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ottla.broker.ensemble.values import BrokerInfo
from ottla.broker.ids import BrokerId
from ottla.protocol.kafka.errors import ErrorCode

MAX_NAME_LENGTH = 249
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+\Z")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A broker that may receive replicas, with its rack if it names one."""

    id: BrokerId
    rack: str | None = None


class Refused(Exception):
    """An administrative wish that cannot be granted: the code on the wire and the reason."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def candidates(brokers: Iterable[BrokerInfo]) -> list[Candidate]:
    """Brokers in the order of their ids; racks are dropped unless every broker has one."""
    ordered = sorted(brokers, key=lambda broker: broker.id)
    if any(broker.rack is None for broker in ordered):
        return [Candidate(broker.id) for broker in ordered]
    return [Candidate(broker.id, broker.rack) for broker in ordered]


def check_topic_name(name: str) -> None:
    """Refuse what cannot be a directory name or breaks Kafka's rules for topics."""
    if not name:
        reason = "the empty string is not allowed"
    elif name in {".", ".."}:
        reason = f"'{name}' is not allowed"
    elif len(name) > MAX_NAME_LENGTH:
        reason = f"the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    elif not _LEGAL_NAME.match(name):
        reason = (
            f"'{name}' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'"
        )
    else:
        return
    raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {reason}")


def colliding_topics(name: str, existing: Iterable[str]) -> list[str]:
    """Topics that differ from `name` only by '.' against '_', which metric names confuse."""
    if "." not in name and "_" not in name:
        return []
    flat = name.replace(".", "_")
    return [other for other in existing if other != name and other.replace(".", "_") == flat]


def assign_replicas(
    brokers: Sequence[Candidate],
    partitions: int,
    replication_factor: int,
    rng: Random,
    *,
    start_index: int | None = None,
    first_partition: int = 0,
) -> dict[int, list[BrokerId]]:
    """Replicas of `partitions` new partitions numbered from `first_partition`.

    First replicas go round robin from a random broker, the others follow at a shift that grows
    with each round; with racks, every rack gets a replica before one gets two. A given
    `start_index` replaces both random choices, as when partitions are added to a topic.
    """
    if partitions <= 0:
        raise Refused(ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0.")
    if replication_factor <= 0:
        raise Refused(
            ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0."
        )
    if replication_factor > len(brokers):
        raise Refused(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Replication factor: {replication_factor} larger than available brokers: "
            f"{len(brokers)}.",
        )
    count = len(brokers)
    start = rng.randrange(count) if start_index is None else start_index
    shift = rng.randrange(count) if start_index is None else start_index
    racks = {broker.id: broker.rack for broker in brokers if broker.rack is not None}
    aware = len(racks) == count
    order = alternate_racks(racks) if aware else [broker.id for broker in brokers]
    assigned: dict[int, list[BrokerId]] = {}
    for partition in range(first_partition, first_partition + partitions):
        if partition > 0 and partition % count == 0:
            shift += 1
        first = (partition + start) % count
        if aware:
            assigned[partition] = _spread(order, racks, first, shift, replication_factor)
        else:
            followers = (
                order[_follower(first, shift, nth, count)] for nth in range(replication_factor - 1)
            )
            assigned[partition] = [order[first], *followers]
    assert all(len(set(replicas)) == replication_factor for replicas in assigned.values())
    return assigned


def _follower(first: int, shift: int, nth: int, count: int) -> int:
    """Where the nth further replica goes: never on the first one's place."""
    return (first + 1 + (shift + nth) % (count - 1)) % count


def _spread(
    order: list[BrokerId],
    racks: Mapping[BrokerId, str],
    first: int,
    shift: int,
    replication_factor: int,
) -> list[BrokerId]:
    rack_count = len(set(racks.values()))
    replicas = [order[first]]
    used_racks = {racks[order[first]]}
    nth = 0
    while len(replicas) < replication_factor:
        broker = order[_follower(first, shift * rack_count, nth, len(order))]
        rack = racks[broker]
        rack_is_free = rack not in used_racks or len(used_racks) == rack_count
        if rack_is_free and broker not in replicas:
            replicas.append(broker)
            used_racks.add(rack)
        nth += 1
    return replicas


def alternate_racks(racks: Mapping[BrokerId, str]) -> list[BrokerId]:
    """All brokers, taking one of each rack in turn; racks by name, brokers by id."""
    by_rack: dict[str, list[BrokerId]] = {}
    for broker in sorted(racks):
        by_rack.setdefault(racks[broker], []).append(broker)
    columns = [by_rack[rack] for rack in sorted(by_rack)]
    longest = max((len(column) for column in columns), default=0)
    return [column[row] for row in range(longest) for column in columns if row < len(column)]


def check_manual_assignment(assignment: Mapping[int, Sequence[BrokerId]]) -> None:
    """Check what CreateTopics names itself: equal sizes, no broker twice, partitions from 0.

    Unknown brokers are accepted here, as Kafka does: such a partition waits for its brokers.
    """
    code = ErrorCode.INVALID_REPLICA_ASSIGNMENT
    if any(not replicas for replicas in assignment.values()):
        raise Refused(code, "Every partition needs at least one replica.")
    if len({len(replicas) for replicas in assignment.values()}) != 1:
        raise Refused(code, "All partitions should have the same number of replicas")
    for partition, replicas in assignment.items():
        if len(set(replicas)) != len(replicas):
            raise Refused(
                code, f"Duplicate replica assignment found: partition {partition} on {replicas}"
            )
        if any(replica < 0 for replica in replicas):
            raise Refused(code, f"Invalid broker id in partition {partition}: {replicas}")
    if sorted(assignment) != list(range(len(assignment))):
        raise Refused(code, "partitions should be a consecutive 0-based integer sequence")


def place_added_partitions(
    existing: Mapping[int, Sequence[BrokerId]],
    brokers: Sequence[Candidate],
    count: int,
    manual: Sequence[Sequence[BrokerId]] | None,
    rng: Random,
) -> dict[int, list[BrokerId]]:
    """The partitions that take a topic from `len(existing)` to `count` partitions.

    `manual` lists the replicas of each new partition in order, or is None for automatic placement,
    which continues from the broker of partition 0.
    """
    present = len(existing)
    if count < present:
        raise Refused(
            ErrorCode.INVALID_PARTITIONS,
            f"Topic currently has {present} partitions, which is higher than the requested "
            f"{count}.",
        )
    if count == present:
        raise Refused(ErrorCode.INVALID_PARTITIONS, f"Topic already has {present} partitions.")
    factor = len(existing[0])
    if manual is not None:
        _check_added(manual, count - present, factor, {broker.id for broker in brokers})
        return {present + nth: list(replicas) for nth, replicas in enumerate(manual)}
    first = existing[0][0]
    start = next((at for at, broker in enumerate(brokers) if broker.id >= first), 0)
    return assign_replicas(
        brokers, count - present, factor, rng, start_index=start, first_partition=present
    )


def _check_added(
    manual: Sequence[Sequence[BrokerId]], wanted: int, factor: int, known: Collection[BrokerId]
) -> None:
    code = ErrorCode.INVALID_REPLICA_ASSIGNMENT
    unknown = sorted({replica for replicas in manual for replica in replicas} - set(known))
    if unknown:
        names = ", ".join(map(str, unknown))
        raise Refused(code, f"Unknown broker(s) in replica assignment: {names}.")
    if len(manual) != wanted:
        raise Refused(
            code,
            f"Increasing the number of partitions by {wanted} but {len(manual)} assignments "
            "provided.",
        )
    for replicas in manual:
        if len(set(replicas)) != len(replicas):
            raise Refused(
                code, f"Duplicate brokers not allowed in replica assignment: {list(replicas)}."
            )
        if len(replicas) != factor:
            raise Refused(
                code,
                f"Inconsistent replication factor between partitions: {list(replicas)} has "
                f"{len(replicas)} replicas, the topic has {factor}.",
            )
