"""What a leader looks at in single records."""

import random

import pytest

from ottla.broker.errors import CorruptMessage, InvalidRecord, InvalidTimestamp
from ottla.broker.storage.record_checks import check_records
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import HEADER_BYTES, build_batch, read_header, read_records
from tests.support.logs import NOW_MS

SIZES = (0, 1, 62, 63, 64, 127, 8_190, 8_192, 1_100_000)  # around where a varint grows


def check(batch: bytes, *, needs_keys: bool = True, oldest: int | None = None) -> None:
    check_records(batch, read_header(batch), needs_keys=needs_keys, oldest=oldest, bound_ms=1000)


@pytest.mark.parametrize("codec", list(Codec))
def test_records_of_all_sizes_are_stepped_over(codec: Codec) -> None:
    records = [(bytes(size), bytes(other), NOW_MS + size * 1000, [("h", b"v")] * (size % 3))
               for size in SIZES[:7] for other in SIZES[:7]]  # fmt: skip
    check(build_batch(records, codec=codec), oldest=NOW_MS)
    check(build_batch([(b"k", bytes(SIZES[-1]), NOW_MS, [])], codec=codec), oldest=NOW_MS)


@pytest.mark.parametrize("at", [0, 1, 199])
def test_a_missing_key_and_an_old_timestamp_are_found_anywhere(at: int) -> None:
    records: list[tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]]
    records = [(b"", None, NOW_MS, []) for _ in range(200)]
    records[at] = (None, b"value", NOW_MS - 1, [])
    batch = build_batch(records)
    with pytest.raises(InvalidRecord):
        check(batch)
    with pytest.raises(InvalidTimestamp):
        check(batch, needs_keys=False, oldest=NOW_MS)
    check(batch, needs_keys=False, oldest=NOW_MS - 1)


def test_whatever_the_bytes_are_nothing_but_a_refusal_comes_of_it() -> None:
    rng = random.Random(1)
    good = build_batch([(b"k", b"v", NOW_MS + n, []) for n in range(30)])
    refused = 0
    for _ in range(2000):
        bad = bytearray(good)
        bad[rng.randrange(HEADER_BYTES, len(bad))] = rng.randrange(256)
        try:
            check(bytes(bad), oldest=0)
        except (CorruptMessage, InvalidRecord):
            refused += 1
        else:
            header = read_header(bad)
            assert header.record_count == 30
    assert refused > 200
    for cut in range(HEADER_BYTES, len(good)):
        header = read_header(good)._replace(size=cut)
        with pytest.raises(CorruptMessage):
            check_records(good[:cut], header, needs_keys=True, oldest=None, bound_ms=0)
    assert len(read_records(good)) == 30
