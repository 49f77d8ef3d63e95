"""kio, an independent codec, reads what we write value for value and writes the same bytes.

It has one generated class per version and none of the messages that only brokers exchange; those
are in `test_cluster_golden`.
"""

import dataclasses
import datetime
import functools
import importlib
import io
import random
import typing
import uuid
from typing import Any

import pytest
from kio.serial import entity_reader, entity_writer

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.messages.registry import ENTRIES
from ottla.protocol.kafka.schema import Array, schema_of
from tests.support.kafka_values import all_versions, random_message

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MILLISECOND = datetime.timedelta(milliseconds=1)

ONLY_BETWEEN_BROKERS = {"leader_and_isr", "stop_replica", "update_metadata", "controlled_shutdown"}
NOT_IN_KIO = {"OffsetCommit", "GroupMetadata", "TransactionLog"}  # the stems of internal topics
DATA_MODULES = {
    "ConsumerProtocolSubscription": "consumer_protocol_subscription.v{}.data",
    "ConsumerProtocolAssignment": "consumer_protocol_assignment.v{}.data",
    "RequestHeader": "request_header.v{}.header",
    "ResponseHeader": "response_header.v{}.header",
}


def kio_path(cls: type, version: int) -> str | None:
    """Where kio should have the message; None for what it leaves out on purpose."""
    name = cls.__name__
    if name in DATA_MODULES:
        # The header of ControlledShutdown v0 alone, an API that kio does not have.
        return (
            None if (name, version) == ("RequestHeader", 0) else DATA_MODULES[name].format(version)
        )
    for entry in ENTRIES.values():
        for role in ("Request", "Response"):
            if name == entry.stem + role:
                if entry.module in ONLY_BETWEEN_BROKERS:
                    return None
                return f"{entry.module}.v{version}.{role.lower()}"
    assert name.removesuffix("Key").removesuffix("Value") in NOT_IN_KIO
    return None


CASES = [(cls, version) for cls, version in all_versions() if kio_path(cls, version)]


@pytest.mark.parametrize(
    ("cls", "version"), CASES, ids=[f"{cls.__name__}-{version}" for cls, version in CASES]
)
def test_kio_reads_and_writes_the_same_message(cls: type[Any], version: int):
    module = importlib.import_module(f"kio.schema.{kio_path(cls, version)}")
    theirs = getattr(module, cls.__name__)
    read, write = entity_reader(theirs), entity_writer(theirs)
    rng = random.Random(f"kio {cls.__name__} {version}")
    for _ in range(12):
        ours = random_message(cls, version, rng, tame=True)
        data = codec.encode(ours, version)
        entity, size = read(data, 0)
        assert size == len(data)
        assert_same(entity, ours, version, cls.__name__)
        stream = io.BytesIO()
        write(stream, entity)
        assert stream.getvalue() == data
        assert codec.decode(cls, version, stream.getvalue()) == ours


@pytest.mark.parametrize(
    ("cls", "version"), CASES, ids=[f"{cls.__name__}-{version}" for cls, version in CASES]
)
def test_defaults_are_those_of_kio(cls: type[Any], version: int):
    module = importlib.import_module(f"kio.schema.{kio_path(cls, version)}")
    compare_defaults(getattr(module, cls.__name__), cls, version)


def compare_defaults(theirs: type, ours: type, version: int) -> None:
    fields = [field for field in schema_of(ours).fields if field.is_in(version)]
    made = ours()
    hints = typing.get_type_hints(theirs)
    for their_field, field in zip(dataclasses.fields(theirs), fields, strict=True):
        value = getattr(made, field.name)
        kind = field.kind.element if isinstance(field.kind, Array) else field.kind
        if isinstance(kind, type):
            inner = next(t for t in flat(hints[their_field.name]) if dataclasses.is_dataclass(t))
            compare_defaults(inner, kind, version)
        elif their_field.default is not dataclasses.MISSING:
            default = their_field.default
            expected = list(default) if isinstance(default, tuple) else plain(default, value)
            assert value == expected, f"{ours.__name__}.{field.name}"


def flat(hint: Any) -> list[Any]:
    """The types inside a type hint."""
    inner = [each for part in typing.get_args(hint) for each in flat(part)]
    return inner or [hint]


@functools.cache
def field_names(theirs: type) -> list[str]:
    return [field.name for field in dataclasses.fields(theirs)]


def assert_same(theirs: Any, ours: Any, version: int, path: str) -> None:
    """Compare field by field, by position, after undoing the richer types that kio decodes to."""
    if hasattr(ours, "__schema__"):
        fields = [field for field in schema_of(type(ours)).fields if field.is_in(version)]
        names = field_names(type(theirs))
        assert len(names) == len(fields), f"{path}: {names}"
        for name, field in zip(names, fields, strict=True):
            where = f"{path}.{field.name}"
            assert same_name(name, field.name), f"{where} is {name} there"
            assert_same(getattr(theirs, name), getattr(ours, field.name), version, where)
    elif isinstance(ours, list):
        assert isinstance(theirs, tuple)
        assert len(theirs) == len(ours), path
        for one, other in zip(theirs, ours, strict=True):
            assert_same(one, other, version, path + "[]")
    else:
        assert plain(theirs, ours) == ours, path


def same_name(theirs: str, ours: str) -> bool:
    """Kio drops the unit of times, and renders some acronyms in its own way."""
    ours = ours.removesuffix("_ms").replace("_ms_", "_")
    return theirs.replace("_", "") == ours.replace("_", "")


def plain(theirs: Any, ours: Any) -> Any:
    if theirs is None:
        if isinstance(ours, uuid.UUID):
            return uuid.UUID(int=0)
        return -1 if isinstance(ours, int) else None
    if isinstance(theirs, datetime.timedelta):
        return theirs // MILLISECOND
    if isinstance(theirs, datetime.datetime):
        return (theirs - EPOCH) // MILLISECOND
    return getattr(theirs, "value", theirs)
