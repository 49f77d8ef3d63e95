"""The compiled codec against itself, its naive twin, and bytes that mean nothing."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.messages.fetch import FetchResponse
from tests.support import twins_kafka
from tests.support.kafka_values import all_messages, all_versions, random_message, versions_of

CASES = all_versions()
NAMES = [f"{cls.__name__}-{version}" for cls, version in CASES]


@pytest.mark.parametrize(("cls", "version"), CASES, ids=NAMES)
def test_every_message_comes_back_and_agrees_with_its_twin(cls: type[Any], version: int):
    rng = random.Random(f"{cls.__name__} {version}")
    for _ in range(8):
        message = random_message(cls, version, rng)
        data = codec.encode(message, version)
        assert data == twins_kafka.encode(message, version)
        assert codec.decode(cls, version, data) == message
        assert codec.decode(cls, version, memoryview(b"junk" + data), 4) == message
        assert twins_kafka.decode(cls, version, data) == message


@pytest.mark.parametrize(("cls", "version"), CASES, ids=NAMES)
def test_a_cut_message_is_a_decode_error_at_every_length(cls: type[Any], version: int):
    rng = random.Random(f"cut {cls.__name__} {version}")
    data = codec.encode(random_message(cls, version, rng), version)[:400]
    whole = codec.encode(cls(), version)
    for cut in range(len(whole)):
        with pytest.raises(DecodeError):
            codec.decode(cls, version, whole[:cut])
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            codec.decode(cls, version, data[:cut])
    with pytest.raises(DecodeError, match="1 bytes are left over"):
        codec.decode(cls, version, whole + b"\0")


@pytest.mark.parametrize("cls", all_messages(), ids=lambda cls: cls.__name__)
def test_changed_bytes_decode_or_are_a_decode_error(cls: type[Any]):
    rng = random.Random(f"noise {cls.__name__}")
    for version in versions_of(cls):
        data = bytearray(codec.encode(random_message(cls, version, rng), version)[:3000])
        for _ in range(10):
            noisy = bytearray(data)
            for _ in range(rng.choice([1, 1, 3])):
                if noisy:
                    noisy[rng.randrange(len(noisy))] = rng.choice([0, 0xFF, 0x7F, 0x80, 2])
            _decodes_or_refuses(cls, version, bytes(noisy))
            _decodes_or_refuses(cls, version, rng.randbytes(rng.randrange(40)))


@given(st.sampled_from(CASES), st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_decode_or_are_a_decode_error(case: tuple[type[Any], int], data: bytes):
    _decodes_or_refuses(*case, data)


def _decodes_or_refuses(cls: type[Any], version: int, data: bytes) -> None:
    try:
        message = codec.decode(cls, version, memoryview(data))
    except DecodeError:
        return
    again = codec.encode(message, version)
    assert codec.decode(cls, version, again) == message or "nan" in repr(message)


class FileRange:
    """A stand-in for records that stay in their file."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)


@pytest.mark.parametrize("version", versions_of(FetchResponse))
def test_parts_are_the_encoding_with_file_ranges_left_out(version: int):
    rng = random.Random(version)
    message = random_message(FetchResponse, version, rng)
    while not message.responses:
        message = random_message(FetchResponse, version, rng)
    whole = codec.encode(message, version)
    assert b"".join(codec.encode_parts(message, version)) == whole
    ranges = []
    for topic in message.responses:
        for partition in topic.partitions:
            if partition.records:
                partition.records = FileRange(partition.records)
                ranges.append(partition.records)
    parts = codec.encode_parts(message, version)
    assert [part for part in parts if type(part) is not bytes] == ranges
    assert b"".join([getattr(part, "data", part) for part in parts]) == whole
