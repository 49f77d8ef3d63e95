"""Which offsets of a group are too old, and which topics its members read (KIP-211)."""

import struct

from ottla.broker.groups.group import Group
from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import CONSUMER_PROTOCOL
from ottla.broker.ids import TopicPartition

_HEAD = struct.Struct(">hi")  # version, number of topics
_LENGTH = struct.Struct(">h")


def subscribed_topics(group: Group) -> frozenset[str] | None:
    """The topics that the members of a consumer group subscribe to; None when nobody can tell."""
    if group.protocol_type != CONSUMER_PROTOCOL:
        return None
    if not group.members:
        return frozenset()
    if group.protocol is None:
        return None
    topics: set[str] = set()
    for member in group.members.by_id.values():
        try:
            topics.update(_topics(dict(member.protocols)[group.protocol]))
        except (KeyError, struct.error, UnicodeDecodeError):
            return None  # opaque to us, as is any other protocol type's metadata
    return frozenset(topics)


def _topics(subscription: bytes) -> list[str]:
    """The part of ConsumerProtocolSubscription that all its versions begin with."""
    _, count = _HEAD.unpack_from(subscription, 0)
    position = _HEAD.size
    topics: list[str] = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(subscription, position)
        position += _LENGTH.size
        name = subscription[position : position + length]
        if length < 0 or len(name) != length:
            raise struct.error("a topic name is cut")
        topics.append(name.decode())
        position += length
    return topics


def expired_offsets(
    group: Group, now_ms: int, retention_ms: int
) -> tuple[list[TopicPartition], int | None]:
    """(offsets to delete now, wall time of the next one; None: not before something changes).

    An empty group's offsets age from the moment it became empty, those of a consumer that manages
    itself from their commit, and those of a stable consumer group too once nobody subscribes to
    their topic any more. In the middle of a rebalance nothing expires.
    """
    if group.protocol_type is None:
        return group.offsets.expired(now_ms, retention_ms, since_ms=None, kept_topics=frozenset())
    if group.state is GroupState.EMPTY:
        since_ms = group.state_since_ms if group.state_since_ms >= 0 else None
        return group.offsets.expired(
            now_ms, retention_ms, since_ms=since_ms, kept_topics=frozenset()
        )
    topics = subscribed_topics(group) if group.state is GroupState.STABLE else None
    if topics is None:
        return [], None
    return group.offsets.expired(now_ms, retention_ms, since_ms=None, kept_topics=topics)


__all__ = ["expired_offsets", "subscribed_topics"]
