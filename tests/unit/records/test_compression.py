"""Every codec: round trips, other framings, bounds, and bytes that are none of it."""

import random
import zlib

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.protocol.kafka.compression import Codec, compress, decompress
from ottla.protocol.kafka.crc import crc32c, crc32c_pure
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import build_batch, read_all_records, read_records

PACKING = [codec for codec in Codec if codec is not Codec.NONE]


@pytest.mark.parametrize("codec", list(Codec))
@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=5000), repeats=st.integers(1, 60))
def test_what_is_packed_is_unpacked(codec: Codec, data: bytes, repeats: int) -> None:
    assert decompress(codec, compress(codec, data * repeats)) == data * repeats


@pytest.mark.parametrize("codec", PACKING)
def test_output_is_bounded(codec: Codec) -> None:
    packed = compress(codec, bytes(1 << 20))
    assert len(decompress(codec, packed, limit=1 << 20)) == 1 << 20
    with pytest.raises(DecodeError):
        decompress(codec, packed, limit=(1 << 20) - 1)


@pytest.mark.parametrize("codec", PACKING)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_raise_decode_errors_only(codec: Codec, data: bytes) -> None:
    for candidate in (data, compress(codec, b"abc" * 30)[:12] + data):
        try:
            decompress(codec, candidate, limit=1 << 16)
        except DecodeError:
            continue


@pytest.mark.parametrize("codec", PACKING)
def test_a_cut_stream_is_an_error(codec: Codec) -> None:
    packed = compress(codec, bytes(range(256)) * 10)
    for size in range(0, len(packed), 7):
        try:
            assert decompress(codec, packed[:size]) != bytes(range(256)) * 10
        except DecodeError:
            continue


def test_raw_snappy_as_librdkafka_writes_it_is_read() -> None:
    assert decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(b"abc" * 99))) == b"abc" * 99


def test_snappy_is_written_in_xerial_blocks() -> None:
    packed = compress(Codec.SNAPPY, bytes(40_000))
    assert packed[:16] == b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    first = int.from_bytes(packed[16:20], "big")
    assert len(bytes(cramjam.snappy.decompress_raw(packed[20 : 20 + first]))) == 32 << 10


def test_snappy_length_that_its_bytes_cannot_hold_allocates_nothing() -> None:
    with pytest.raises(DecodeError):
        decompress(Codec.SNAPPY, b"\xff\xff\xff\x1f\x00\x00")


def test_lz4_frame_is_of_independent_blocks_with_the_right_header_checksum() -> None:
    packed = compress(Codec.LZ4, b"abc" * 50_000)
    assert packed[:7] == bytes.fromhex("04224d18604082")
    assert bytes(cramjam.lz4.decompress(packed)) == b"abc" * 50_000


def test_linked_lz4_frames_are_read_too() -> None:
    assert decompress(Codec.LZ4, bytes(cramjam.lz4.compress(b"abc" * 50_000))) == b"abc" * 50_000


def test_gzip_members_may_follow_each_other() -> None:
    packed = compress(Codec.GZIP, b"one") + compress(Codec.GZIP, b"two")
    assert decompress(Codec.GZIP, packed) == b"onetwo"
    assert zlib.decompress(compress(Codec.GZIP, b"one"), 31) == b"one"


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), start=st.integers(0, 0xFFFFFFFF))
def test_checksum_equals_its_slow_twin(data: bytes, start: int) -> None:
    assert crc32c(data) == crc32c_pure(data)
    assert crc32c(data, start) == crc32c_pure(data, start)


def test_checksum_is_that_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4


records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=200),
        st.integers(0, 1 << 45),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(records=records, codec=st.sampled_from(list(Codec)), base=st.integers(0, 1 << 60))
def test_records_survive_a_batch(
    records: list[tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]],
    codec: Codec,
    base: int,
) -> None:
    batch = build_batch(records, base_offset=base, codec=codec)
    assert [tuple(record) for record in read_records(batch)] == [
        (base + at, timestamp, key, value, tuple(headers))
        for at, (key, value, timestamp, headers) in enumerate(records)
    ]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), at=st.integers(0, 200), codec=st.sampled_from(list(Codec)))
def test_arbitrary_bytes_are_no_records(data: bytes, at: int, codec: Codec) -> None:
    batch = build_batch([(b"k", b"v" * 50, 1, [("h", b"x")])] * 3, codec=codec)
    for candidate in (data, batch[:at] + data + batch[at + len(data) :], batch[:61] + data):
        try:
            list(read_all_records(candidate, limit=1 << 16))
        except DecodeError:
            continue


@pytest.mark.parametrize("level", [1, 2, 3, 9, 12, 17])
@pytest.mark.parametrize("length", [0, 1, 100, 65_535, 65_536, 65_537, 200_000])
def test_lz4_of_every_level_is_of_independent_blocks(level: int, length: int) -> None:
    rng = random.Random(length)
    for data in (rng.randbytes(length), b"ab" * (length // 2), b"%d" % length * (length // 9)):
        packed = compress(Codec.LZ4, data, level=level)
        assert packed[4] == 0x60
        assert decompress(Codec.LZ4, packed) == data
        assert bytes(cramjam.lz4.decompress(packed)) == data
