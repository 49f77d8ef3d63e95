"""Every message class with its versions, and seeded random instances of them."""

import importlib
import random
import uuid
from typing import Any

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.registry import ENTRIES
from ottla.protocol.kafka.schema import (
    BOOL,
    BYTES,
    FLOAT64,
    RECORDS,
    STRING,
    UUID,
    Array,
    Field,
    Kind,
    schema_of,
)

OTHER_MESSAGES = {
    "headers": ["RequestHeader", "ResponseHeader"],
    "consumer_protocol": ["ConsumerProtocolSubscription", "ConsumerProtocolAssignment"],
    "group_records": [
        "OffsetCommitKey",
        "OffsetCommitValue",
        "GroupMetadataKey",
        "GroupMetadataValue",
    ],
    "transaction_records": ["TransactionLogKey", "TransactionLogValue"],
}

_RANGES = {"b": 2**7, "h": 2**15, "i": 2**31, "q": 2**63}


def all_messages() -> list[type[Any]]:
    """Every message class of the package."""
    found = []
    for entry in ENTRIES.values():
        found += [entry.request_class(), entry.response_class()]
    for module, names in OTHER_MESSAGES.items():
        loaded = importlib.import_module(f"ottla.protocol.kafka.messages.{module}")
        found += [getattr(loaded, name) for name in names]
    return found


def versions_of(cls: type) -> range:
    """All versions of a message class."""
    versions = schema_of(cls).versions
    assert versions is not None
    return range(versions[0], versions[1] + 1)


def all_versions() -> list[tuple[type[Any], int]]:
    """Every message class with each of its versions."""
    return [(cls, version) for cls in all_messages() for version in versions_of(cls)]


def random_message(cls: type, version: int, rng: random.Random, *, tame: bool = False) -> Any:
    """An instance with random values in the fields that the version has.

    `tame`: error codes exist and times are within what a calendar can show.
    """
    values = {}
    for field in schema_of(cls).fields:
        if not field.is_in(version):
            continue
        if field.is_tagged_in(version) and rng.random() < 0.4:
            continue  # leave the default, which tagged fields do not send
        values[field.name] = _field_value(field, version, rng, tame)
    return cls(**values)


def _field_value(field: Field, version: int, rng: random.Random, tame: bool) -> Any:
    if field.is_nullable_in(version) and rng.random() < 0.25:
        return None
    kind = field.kind
    if tame and field.name.endswith("error_code"):
        return rng.choice([c.value for c in ErrorCode])
    is_number = isinstance(kind, Kind) and kind.format in ("i", "q")
    if tame and is_number and ("_ms" in field.name or "time" in field.name):
        return rng.choice([0, 1, 1_700_000_000, 2**31 - 1])
    if isinstance(kind, Array):
        count = rng.choice([0, 1, 1, 2, 3])
        if rng.random() < 0.02 and isinstance(kind.element, Kind):
            count = rng.choice([126, 127, 128, 200])
        return [_value(kind.element, version, rng, tame) for _ in range(count)]
    return _value(kind, version, rng, tame)


def _value(kind: Any, version: int, rng: random.Random, tame: bool) -> Any:
    if isinstance(kind, type):
        return random_message(kind, version, rng, tame=tame)
    if kind is BOOL:
        return rng.random() < 0.5
    if kind is FLOAT64:
        return rng.choice([0.0, 1.5, -2.25e10, rng.random()])
    if kind is UUID:
        return uuid.UUID(int=rng.getrandbits(128))
    if kind is STRING:
        return "".join(rng.choices("aäb-_.日😀", k=_length(rng)))
    if kind in (BYTES, RECORDS):
        return rng.randbytes(_length(rng))
    if kind.format == "H":
        return rng.choice([0, 9092, 65535])
    top = _RANGES[kind.format]
    return rng.choice([0, 1, -1, top - 1, -top, rng.randrange(-top, top)])


def _length(rng: random.Random) -> int:
    return rng.choice([0, 1, 3, 7]) if rng.random() < 0.97 else rng.choice([126, 127, 128, 17000])
