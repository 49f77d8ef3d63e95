"""The records of __consumer_offsets, in the formats and versions that Kafka 3.9 writes.

| record         | key                                | value                                    |
|----------------|------------------------------------|------------------------------------------|
| offset         | version 1: group, topic, partition | OffsetCommitValue 3, or 1 with an expiry |
| group metadata | version 2: group                   | GroupMetadataValue 3                     |

Both start with their version as int16; no value is a tombstone. All versions of values that Kafka
3.9 reads are read here, 0 to 4. Keys of other versions belong to other kinds of groups.
"""

from dataclasses import dataclass
from typing import TypeVar

from ottla.broker.groups.values import GroupRecord, MemberRecord, OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.codec import decode_versioned, encode_versioned
from ottla.protocol.kafka.errors import DecodeError, UnsupportedVersion
from ottla.protocol.kafka.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
)

T = TypeVar("T")

_OFFSET_KEY_VERSION = 1
_GROUP_KEY_VERSION = 2
_VALUE_VERSION = 3
_EXPIRING_VALUE_VERSION = 1


@dataclass(frozen=True, slots=True)
class OffsetKey:
    group_id: str
    tp: TopicPartition


@dataclass(frozen=True, slots=True)
class GroupKey:
    group_id: str


def encode_offset_key(group_id: str, tp: TopicPartition) -> bytes:
    key = OffsetCommitKey(group=group_id, topic=tp.topic, partition=tp.partition)
    return encode_versioned(key, _OFFSET_KEY_VERSION)


def encode_offset(entry: OffsetEntry) -> bytes:
    value = OffsetCommitValue(
        offset=entry.offset,
        leader_epoch=entry.leader_epoch,
        metadata=entry.metadata,
        commit_timestamp=entry.commit_ms,
        expire_timestamp=entry.expire_ms,
    )
    version = _VALUE_VERSION if entry.expire_ms < 0 else _EXPIRING_VALUE_VERSION
    return encode_versioned(value, version)


def encode_group_key(group_id: str) -> bytes:
    return encode_versioned(GroupMetadataKey(group=group_id), _GROUP_KEY_VERSION)


def encode_group(record: GroupRecord) -> bytes:
    value = GroupMetadataValue(
        protocol_type=record.protocol_type or "",
        generation=record.generation,
        protocol=record.protocol,
        leader=record.leader,
        current_state_timestamp=record.state_since_ms,
        members=[
            MemberMetadata(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_ms,
                session_timeout=member.session_ms,
                subscription=member.subscription,
                assignment=member.assignment,
            )
            for member in record.members
        ],
    )
    return encode_versioned(value, _VALUE_VERSION)


def decode_key(data: bytes) -> OffsetKey | GroupKey | None:
    """What a record is about; None for a key of a version that is not ours. DecodeError."""
    if len(data) < 2:
        raise DecodeError(f"{len(data)} bytes cannot hold the version of a key")
    version = int.from_bytes(data[:2], "big", signed=True)
    if version in (0, _OFFSET_KEY_VERSION):
        offset_key = _decode(OffsetCommitKey, data)
        tp = TopicPartition(offset_key.topic, offset_key.partition)
        return OffsetKey(offset_key.group, tp)
    if version == _GROUP_KEY_VERSION:
        group_key = _decode(GroupMetadataKey, data)
        return GroupKey(group_key.group)
    return None


def decode_offset(data: bytes) -> OffsetEntry:
    """DecodeError."""
    value = _decode(OffsetCommitValue, data)
    return OffsetEntry(
        offset=value.offset,
        leader_epoch=value.leader_epoch,
        metadata=value.metadata,
        commit_ms=value.commit_timestamp,
        expire_ms=value.expire_timestamp,
    )


def decode_group(data: bytes) -> GroupRecord:
    """DecodeError, also for members without the protocol that they agreed on."""
    value = _decode(GroupMetadataValue, data)
    if value.members and value.protocol is None:
        raise DecodeError("a generation with members but without a protocol")
    return GroupRecord(
        generation=value.generation,
        protocol_type=value.protocol_type or None,
        protocol=value.protocol if value.members else None,
        leader=value.leader if value.members else None,
        state_since_ms=value.current_state_timestamp,
        members=tuple(
            MemberRecord(
                member_id=member.member_id,
                instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                session_ms=member.session_timeout,
                # Version 0 had one timeout for both.
                rebalance_ms=(
                    member.session_timeout
                    if member.rebalance_timeout < 0
                    else member.rebalance_timeout
                ),
                subscription=member.subscription,
                assignment=member.assignment,
            )
            for member in value.members
        ),
    )


def _decode(cls: type[T], data: bytes) -> T:
    try:
        _, message = decode_versioned(cls, data)
    except UnsupportedVersion as error:
        raise DecodeError(str(error)) from error
    return message


__all__ = [
    "GroupKey",
    "OffsetKey",
    "decode_group",
    "decode_key",
    "decode_offset",
    "encode_group",
    "encode_group_key",
    "encode_offset",
    "encode_offset_key",
]
