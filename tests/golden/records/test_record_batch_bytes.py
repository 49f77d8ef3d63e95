"""Record batches byte by byte: derived by hand from KIP-98, and as other clients write them."""

import warnings

import pytest

from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.records import (
    BatchHeader,
    ControlMarker,
    CorruptRecord,
    Record,
    build_batch,
    build_control_batch,
    iter_headers,
    read_control_marker,
    read_header,
    read_records,
    validate_crc,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # other packages' imports use what Python has deprecated
    from aiokafka.record.default_records import DefaultRecordBatch as AiokafkaBatch
    from aiokafka.record.default_records import DefaultRecordBatchBuilder as AiokafkaBuilder
    from kafka.record.default_records import DefaultRecordBatchBuilder as KafkaPythonBuilder

RECORDS = [
    (b"k", b"v", 1_700_000_000_000, ()),
    (None, None, 1_700_000_000_001, (("h", None),)),
]


def test_batch_is_the_one_derived_from_the_kip_by_hand() -> None:
    payload = bytes.fromhex("10000000026b02760012000202010102026801")
    batch = build_batch(RECORDS, leader_epoch=5)
    assert batch[61:] == payload
    assert batch[:8] == bytes(8)
    assert batch[8:12] == (len(batch) - 12).to_bytes(4, "big")
    assert batch[12:17] == bytes.fromhex("0000000502")
    assert batch[21:61] == bytes.fromhex(
        "0000000000010000018bcfe568000000018bcfe56801ffffffffffffffffffffffffffff00000002"
    )


def test_header_says_what_was_put_in() -> None:
    batch = build_batch(
        RECORDS,
        base_offset=7,
        leader_epoch=3,
        producer_id=9,
        producer_epoch=2,
        base_sequence=0x7FFFFFFF,
        codec=Codec.LZ4,
        transactional=True,
    )
    header = read_header(batch)
    assert header == BatchHeader(
        7,
        len(batch),
        3,
        2,
        header.crc,
        0x13,
        1,
        1_700_000_000_000,
        1_700_000_000_001,
        9,
        2,
        0x7FFFFFFF,
        2,
    )
    assert (header.last_offset, header.last_sequence) == (8, 0)
    assert (header.codec, header.is_transactional, header.is_control) == (Codec.LZ4, True, False)
    validate_crc(batch, 0, header)


@pytest.mark.parametrize(
    ("builder_type", "codec"),
    [(AiokafkaBuilder, codec) for codec in Codec]
    + [(KafkaPythonBuilder, Codec.NONE), (KafkaPythonBuilder, Codec.GZIP)],
)
def test_other_builders_batches_are_read(builder_type: type, codec: Codec) -> None:
    builder = builder_type(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=4,
        producer_epoch=1,
        base_sequence=10,
        batch_size=1 << 20,
    )
    for at in range(20):
        builder.append(at, 1_000 + at, b"key%d" % at, b"value" * at, [("h", b"x")])
    data = bytes(builder.build())
    ((position, header),) = iter_headers(data)
    assert position == 0
    validate_crc(data, 0, header)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (4, 1, 10)
    assert read_records(data) == [
        Record(at, 1_000 + at, b"key%d" % at, b"value" * at, (("h", b"x"),)) for at in range(20)
    ]


def test_uncompressed_batch_equals_other_builders_byte_for_byte() -> None:
    builder = KafkaPythonBuilder(
        magic=2,
        compression_type=0,
        is_transactional=True,
        producer_id=4,
        producer_epoch=1,
        base_sequence=10,
        batch_size=1 << 20,
    )
    records = [(b"k", b"v" * at, 1_000 + at, [("h", b"x")]) for at in range(300)]
    for at, (key, value, timestamp, headers) in enumerate(records):
        builder.append(at, timestamp, key, value, headers)
    ours = build_batch(
        records,
        producer_id=4,
        producer_epoch=1,
        base_sequence=10,
        transactional=True,
        leader_epoch=read_header(bytes(builder.build())).partition_leader_epoch,
    )
    assert ours == bytes(builder.build())


@pytest.mark.parametrize("codec", list(Codec))
def test_our_batches_are_read_by_other_clients(codec: Codec) -> None:
    records = [(b"k%d" % at, b"v" * at, 1_000 + at, [("h", b"x")]) for at in range(50)]
    batch = AiokafkaBatch(build_batch(records, base_offset=5, codec=codec))
    assert batch.validate_crc()
    read = [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
    assert read == [(5 + at, r[2], r[0], r[1], r[3]) for at, r in enumerate(records)]


def test_control_batch_carries_its_marker() -> None:
    marker = ControlMarker(type=1, home_epoch=6)
    batch = build_control_batch(marker, timestamp_ms=99, producer_id=3, producer_epoch=0)
    (record,) = read_records(batch)
    assert (record.key, record.value) == (bytes.fromhex("00000001"), bytes.fromhex("000000000006"))
    assert read_control_marker(batch) == marker
    header = read_header(batch)
    assert header.is_control
    assert header.attributes == 0x30


def test_every_cut_of_a_batch_fails_cleanly() -> None:
    batch = build_batch(RECORDS, codec=Codec.SNAPPY)
    for size in range(len(batch)):
        with pytest.raises(DecodeError):
            read_records(batch[:size])
        assert list(iter_headers(batch[:size])) == []


def test_bytes_behind_a_batch_are_not_its_own() -> None:
    batch = build_batch(RECORDS)
    assert read_records(batch + b"junk") == read_records(batch)
    assert [position for position, _ in iter_headers(batch + batch + batch[:30])] == [0, len(batch)]


def test_a_flipped_bit_is_found() -> None:
    batch = bytearray(build_batch(RECORDS))
    header = read_header(batch)
    batch[-1] ^= 1
    with pytest.raises(CorruptRecord):
        validate_crc(batch, 0, header)
