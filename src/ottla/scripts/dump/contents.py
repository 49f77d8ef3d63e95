"""Keys and values of records as text: as they are, or as what `__consumer_offsets` holds."""

from collections.abc import Callable
from typing import Any

from ottla.protocol.kafka.codec import decode_versioned
from ottla.protocol.kafka.errors import DecodeError, UnsupportedVersion
from ottla.protocol.kafka.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from ottla.protocol.kafka.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from ottla.protocol.kafka.records import Record
from ottla.scripts.dump.message_json import as_json, text

Parser = Callable[[Record], tuple[str | None, str | None]]
"""(key, payload) of a record; None is not printed."""

_KINDS: dict[int, tuple[type[object], type[object]]] = {
    0: (OffsetCommitKey, OffsetCommitValue),
    1: (OffsetCommitKey, OffsetCommitValue),
    2: (GroupMetadataKey, GroupMetadataValue),
}


def plain(record: Record) -> tuple[str | None, str | None]:
    """UTF-8; what is not is replaced."""
    return _text(record.key), _text(record.value)


def offsets(record: Record) -> tuple[str | None, str | None]:
    """A record of `__consumer_offsets` as JSON."""
    key, value = record.key, record.value
    if key is None:
        return f"Error at offset {record.offset}, skipping. The record has no key", None
    number = int.from_bytes(key[:2], "big", signed=True)
    if number not in _KINDS:
        return f"Unknown record type {number} at offset {record.offset}, skipping.", None
    key_type, value_type = _KINDS[number]
    try:
        _, about = decode_versioned(key_type, key)
        shown = text({"type": str(number), "data": as_json(about, number)})
        if value is None:
            return shown, "<DELETE>"
        version, told = decode_versioned(value_type, value)
    except (DecodeError, UnsupportedVersion) as error:
        return f"Error at offset {record.offset}, skipping. {error}", None
    data = as_json(told, version)
    if isinstance(told, GroupMetadataValue) and told.protocol_type == "consumer":
        for member, node in zip(told.members, data["members"], strict=True):
            _open(node, "subscription", ConsumerProtocolSubscription, member.subscription)
            _open(node, "assignment", ConsumerProtocolAssignment, member.assignment)
    return shown, text({"version": str(version), "data": data})


def _open(node: dict[str, Any], name: str, kind: type[object], data: bytes) -> None:
    try:
        version, told = decode_versioned(kind, data)
    except (DecodeError, UnsupportedVersion):
        return  # the member's own business: it stays base64
    node[name] = as_json(told, version)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


__all__ = ["Parser", "offsets", "plain"]
