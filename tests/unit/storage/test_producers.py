"""Idempotent producers (KIP-98, KIP-360) as tables, through the log that asks and remembers."""

import pytest

from ottla.broker.errors import (
    BrokerError,
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequence,
    TransactionHomeFenced,
)
from ottla.broker.storage.log import Log
from ottla.broker.storage.producers import (
    CorruptSnapshot,
    Origin,
    Producers,
    decode_snapshot,
    encode_snapshot,
)
from ottla.broker.storage.txn_index import AbortedTxn
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    SEQUENCE_MAX,
    ControlMarker,
    build_control_batch,
)
from ottla.runtime.memory import MemoryDisk
from tests.support.logs import NOW_MS, append, batch, open_log, sequenced


def marker(log: Log, kind: int, *, epoch: int = 0, home: int = 0) -> int:
    data = build_control_batch(
        ControlMarker(kind, home), timestamp_ms=NOW_MS, producer_id=7, producer_epoch=epoch
    )
    info = log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS, origin=Origin.INTERNAL)
    return info.first_offset


def transactional(sequence: int, *, epoch: int = 0) -> bytes:
    return batch(
        b"v", producer_id=7, producer_epoch=epoch, base_sequence=sequence, transactional=True
    )


@pytest.mark.parametrize(
    ("history", "sequence", "epoch", "refusal"),
    [
        ([], 0, 0, None),
        ([], 17, 0, None),  # nothing known: what was before has left the log
        ([(0, 0)], 1, 0, None),
        ([(0, 0)], 2, 0, OutOfOrderSequence),
        ([(5, 0)], 3, 0, OutOfOrderSequence),
        ([(0, 0), (1, 0)], 0, 1, None),
        ([(0, 0), (1, 0)], 2, 1, OutOfOrderSequence),  # a new epoch begins at 0
        ([(0, 3)], 1, 2, InvalidProducerEpoch),
        ([(0, 3)], 0, 2, InvalidProducerEpoch),
        ([(SEQUENCE_MAX, 0)], 0, 0, None),  # wraps
        ([(SEQUENCE_MAX, 0)], 1, 0, OutOfOrderSequence),
    ],
)
def test_sequence_must_follow(
    history: list[tuple[int, int]], sequence: int, epoch: int, refusal: type[BrokerError] | None
) -> None:
    log = open_log()
    for first, its_epoch in history:
        append(log, sequenced(first, epoch=its_epoch))
    end = log.log_end
    if refusal is None:
        assert append(log, sequenced(sequence, epoch=epoch)) == end
    else:
        with pytest.raises(refusal):
            append(log, sequenced(sequence, epoch=epoch))
        assert log.log_end == end


def test_the_last_five_batches_are_known_as_duplicates_with_their_first_offsets() -> None:
    log = open_log()
    for sequence in range(0, 14, 2):
        append(log, sequenced(sequence, count=2))
    for sequence in range(4, 14, 2):
        info = log.append_as_leader(sequenced(sequence, count=2), leader_epoch=0, now_ms=NOW_MS)
        assert (info.duplicate, info.first_offset, info.last_offset) == (
            True,
            sequence,
            sequence + 1,
        )
    assert log.log_end == 14
    with pytest.raises(OutOfOrderSequence):
        append(log, sequenced(2, count=2))  # the sixth is forgotten
    with pytest.raises(OutOfOrderSequence):
        append(log, sequenced(12, count=1))  # part of a batch is not that batch


def test_several_batches_of_one_append_follow_each_other() -> None:
    log = open_log()
    info = log.append_as_leader(sequenced(0) + sequenced(1), leader_epoch=0, now_ms=NOW_MS)
    assert (info.first_offset, info.last_offset, info.batches) == (0, 1, 2)
    with pytest.raises(OutOfOrderSequence):
        append(log, sequenced(2) + sequenced(4))
    assert log.log_end == 2
    assert append(log, sequenced(2)) == 2


@pytest.mark.parametrize("clean", [True, False])
def test_state_survives_a_restart(clean: bool) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    for sequence in range(3):
        append(log, sequenced(sequence))
    log.close(clean=clean)
    log = open_log(disk, clean=clean)
    assert log.append_as_leader(sequenced(2), leader_epoch=0, now_ms=NOW_MS).duplicate
    with pytest.raises(OutOfOrderSequence):
        append(log, sequenced(4))
    assert append(log, sequenced(3)) == 3


def test_state_goes_back_with_a_truncation() -> None:
    log = open_log()
    for sequence in range(6):
        append(log, sequenced(sequence))
    log.truncate_to(2)
    assert append(log, sequenced(2)) == 2


def test_group_homes_need_no_sequences() -> None:
    log = open_log()
    data = batch(b"v", producer_id=7, producer_epoch=1, base_sequence=-1)
    for _ in range(2):
        log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS, origin=Origin.INTERNAL)
    assert log.log_end == 2


def test_idle_producers_are_forgotten_unless_a_transaction_is_open() -> None:
    log = open_log()
    append(log, sequenced(0, producer_id=1))
    append(log, transactional(0))
    log.expire_producers(NOW_MS + log.config.producer_id_expiration_ms - 1)
    assert set(log.producers.by_id) == {1, 7}
    log.expire_producers(NOW_MS + log.config.producer_id_expiration_ms)
    assert set(log.producers.by_id) == {7}


def test_open_transaction_holds_the_stable_offset_until_its_end_is_replicated() -> None:
    log = open_log()
    append(log, batch(b"v"))
    assert log.first_unstable_offset is None
    append(log, transactional(0))
    append(log, transactional(1))
    assert log.first_unstable_offset == 1
    assert marker(log, COMMIT_MARKER) == 3
    log.forget_replicated(3)
    assert log.first_unstable_offset == 1
    log.forget_replicated(4)
    assert log.first_unstable_offset is None
    assert log.aborted_transactions(0, 4) == []


@pytest.mark.parametrize("clean", [True, False, None])
def test_aborted_transactions_are_indexed_and_survive(clean: bool | None) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, transactional(0))
    append(log, batch(b"between"))
    assert marker(log, ABORT_MARKER) == 2
    append(log, transactional(1))
    if clean is not None:
        log.close(clean=clean)
        log = open_log(disk, clean=clean)
    assert log.aborted_transactions(0, 4) == [AbortedTxn(7, 0, 2, 3)]
    assert log.aborted_transactions(3, 4) == []
    log.forget_replicated(3)
    assert log.first_unstable_offset == 3


def test_transaction_rules() -> None:
    log = open_log()
    append(log, transactional(0))
    with pytest.raises(InvalidTxnState):
        append(log, sequenced(1))
    marker(log, COMMIT_MARKER, epoch=1, home=5)  # KIP-360: the marker may bump the epoch
    with pytest.raises(InvalidProducerEpoch):
        append(log, transactional(1))
    with pytest.raises(TransactionHomeFenced):
        marker(log, ABORT_MARKER, epoch=1, home=4)
    with pytest.raises(InvalidProducerEpoch):
        marker(log, ABORT_MARKER, epoch=0, home=6)
    append(log, transactional(0, epoch=1))


def test_snapshot_file_is_kafkas_byte_for_byte() -> None:
    log = open_log()
    append(log, batch(b"v"))
    append(log, sequenced(10, count=3, epoch=2))
    data = encode_snapshot(log.producers)
    assert data[:2] == b"\x00\x01"
    assert data[6:] == bytes.fromhex(
        "00000001"
        "0000000000000007"
        "0002"
        "0000000c"
        "0000000000000003"
        "00000002"
        "0000018bcfe56800"
        "ffffffff"
        "ffffffffffffffff"
    )
    assert data[2:6] == bytes.fromhex("1b5fd96f")  # CRC-32C, by the slow twin
    (producer,) = decode_snapshot(data)
    assert producer == log.producers.by_id[7]


def test_broken_snapshots_are_told() -> None:
    producers = Producers()
    data = encode_snapshot(producers)
    assert decode_snapshot(data) == []
    for broken in (b"", data[:-1], b"\x00\x02" + data[2:], data[:-1] + b"\x01"):
        with pytest.raises(CorruptSnapshot):
            decode_snapshot(broken)


def test_a_broken_snapshot_costs_a_scan_only() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, sequenced(0))
    log.close(clean=True)
    disk.open("/data/t-0/00000000000000000001.snapshot").write_at(7, b"\xff\xff")
    log = open_log(disk, clean=True)
    assert log.append_as_leader(sequenced(0), leader_epoch=0, now_ms=NOW_MS).duplicate
