"""Leader epochs (KIP-101, KIP-279, KIP-320) as tables, and their file."""

import pytest

from ottla.broker.storage.checkpoints import MalformedCheckpoint
from ottla.broker.storage.epochs import UNDEFINED, LeaderEpochs
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.memory import MemoryDisk
from tests.support.logs import DIRECTORY, append, batch, open_log


def epochs_of(*entries: tuple[int, int]) -> LeaderEpochs:
    epochs = LeaderEpochs()
    for epoch, start in entries:
        epochs.assign(epoch, start)
    epochs.check()
    return epochs


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (-1, UNDEFINED),
        (0, (0, 5)),  # older than all that are known: the first start that is
        (2, (2, 10)),
        (3, (2, 10)),  # nobody wrote in epoch 3
        (5, (5, 20)),
        (7, (7, 33)),  # the latest ends where the log does
        (8, UNDEFINED),
    ],
)
def test_end_of_an_epoch(asked: int, answer: tuple[int, int]) -> None:
    assert epochs_of((2, 5), (5, 10), (7, 20)).end_offset_for(asked, 33) == answer


def test_nothing_is_known_of_an_empty_log() -> None:
    assert LeaderEpochs().end_offset_for(3, 0) == UNDEFINED
    assert LeaderEpochs().epoch_of(3) == -1


@pytest.mark.parametrize(
    ("assigned", "left"),
    [
        ((7, 30), [(2, 5), (5, 10), (7, 20)]),  # known already
        ((8, 30), [(2, 5), (5, 10), (7, 20), (8, 30)]),
        ((8, 20), [(2, 5), (5, 10), (8, 20)]),  # 7 wrote nothing
        ((8, 7), [(2, 5), (8, 7)]),
        ((7, 15), [(2, 5), (5, 10), (7, 15)]),
        ((3, 40), [(2, 5), (3, 40)]),  # the past was another one
        ((1, 0), [(1, 0)]),
    ],
)
def test_assignment_drops_what_contradicts_it(
    assigned: tuple[int, int], left: list[tuple[int, int]]
) -> None:
    epochs = epochs_of((2, 5), (5, 10), (7, 20))
    epochs.assign(*assigned)
    epochs.check()
    assert epochs.entries() == left


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (21, [(2, 5), (5, 10), (7, 20)]),
        (20, [(2, 5), (5, 10)]),
        (10, [(2, 5)]),
        (0, []),
    ],
)
def test_truncation_from_the_end(end: int, left: list[tuple[int, int]]) -> None:
    epochs = epochs_of((2, 5), (5, 10), (7, 20))
    epochs.truncate_from_end(end)
    epochs.check()
    assert epochs.entries() == left


@pytest.mark.parametrize(
    ("start", "left"),
    [
        (0, [(2, 5), (5, 10), (7, 20)]),
        (5, [(2, 5), (5, 10), (7, 20)]),
        (7, [(2, 7), (5, 10), (7, 20)]),
        (10, [(5, 10), (7, 20)]),
        (99, [(7, 99)]),
    ],
)
def test_truncation_from_the_start(start: int, left: list[tuple[int, int]]) -> None:
    epochs = epochs_of((2, 5), (5, 10), (7, 20))
    epochs.truncate_from_start(start)
    epochs.check()
    assert epochs.entries() == left


@pytest.mark.parametrize(("offset", "epoch"), [(4, -1), (5, 2), (9, 2), (10, 5), (99, 7)])
def test_epoch_of_an_offset(offset: int, epoch: int) -> None:
    assert epochs_of((2, 5), (5, 10), (7, 20)).epoch_of(offset) == epoch


def test_file_is_kafkas_byte_for_byte() -> None:
    epochs = epochs_of((2, 5), (5, 10))
    assert epochs.encode() == b"0\n2\n2 5\n5 10\n"
    assert LeaderEpochs.decode(epochs.encode()).entries() == epochs.entries()
    assert not LeaderEpochs.decode(epochs.encode()).is_dirty
    assert LeaderEpochs.decode(b"").entries() == []


@pytest.mark.parametrize(
    "data", [b"1\n0\n", b"0\n2\n1 2\n", b"0\n1\n1\n", b"0\n1\na b\n", b"0\n1\n-1 2\n", b"\xff\xff"]
)
def test_broken_file_is_told(data: bytes) -> None:
    with pytest.raises(MalformedCheckpoint):
        LeaderEpochs.decode(data)


def test_log_learns_epochs_from_the_batches_it_replicates() -> None:
    log = open_log()
    log.append_as_follower(
        b"".join(
            build_batch([(b"k", b"v", 1, ())], base_offset=offset, leader_epoch=epoch)
            for offset, epoch in ((0, 1), (1, 1), (2, 4))
        )
    )
    assert log.epochs.entries() == [(1, 0), (4, 2)]
    assert log.latest_epoch == 4
    assert log.end_offset_for_epoch(3) == (1, 2)


@pytest.mark.parametrize("damage", [None, b"", b"0\n9\n"])
def test_epochs_come_back_after_a_kill_whatever_is_left_of_the_file(damage: bytes | None) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, batch(b"v"), epoch=1)
    log.flush()
    append(log, batch(b"v"), epoch=3)
    log.close(clean=False)
    path = f"{DIRECTORY}/leader-epoch-checkpoint"
    if damage is not None:
        disk.replace(path, damage)
    log = open_log(disk, clean=False, recovery_point=0 if damage == b"" else 1)
    assert log.epochs.entries() == [(1, 0), (3, 1)]
