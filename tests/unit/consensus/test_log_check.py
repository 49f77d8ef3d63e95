"""What `Log.check` notices, also of what it has seen before."""

from collections.abc import Callable

import pytest

from ottla.coordinator.consensus.log import Log
from ottla.coordinator.consensus.values import Position
from ottla.protocol.peer.entries import Entry


def entry(index: int, epoch: int = 1, payload: bytes = b"x") -> Entry:
    return Entry(index, epoch, epoch << 32 | index, payload)


def checked() -> Log:
    log = Log(Position(0, 0, 0), [entry(at) for at in range(1, 6)])
    log.check()
    return log


def test_a_log_that_goes_on_is_cut_and_drops_its_start_holds() -> None:
    log = checked()
    log.append([entry(6), entry(7)])
    log.check()
    log.cut_from(5)
    log.append([entry(5, epoch=2), entry(6, epoch=2)])
    log.check()
    log.drop_through(4)
    log.check()
    log.drop_through(6)
    log.check()
    log.append([entry(7, epoch=3)])
    log.check()


def _lacks_one(log: Log) -> None:
    del log._entries[2]


def _is_swapped(log: Log) -> None:
    log._entries[1] = entry(1)


def _goes_back(log: Log) -> None:
    log._entries.append(entry(6, epoch=0))


def _ends_elsewhere(log: Log) -> None:
    log._entries.append(entry(7))


def _holds_other_bytes(log: Log) -> None:
    log._entries[3] = entry(4, payload=b"longer")


def _begins_elsewhere(log: Log) -> None:
    log.base = Position(1, 1, 1 << 32 | 1)


@pytest.mark.parametrize(
    "spoil",
    [
        _lacks_one,
        _is_swapped,
        _goes_back,
        _ends_elsewhere,
        _holds_other_bytes,
        _begins_elsewhere,
    ],
)
def test_what_is_wrong_is_noticed_after_a_check_that_found_nothing(
    spoil: Callable[[Log], None],
) -> None:
    log = checked()
    spoil(log)
    with pytest.raises(AssertionError):
        log.check()
