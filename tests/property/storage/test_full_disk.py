"""A disk that is full for a while, at every moment: the log refuses, and stays what it is."""

import errno
import os
import random

import pytest

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    ControlMarker,
    Record,
    build_control_batch,
)
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import DIRECTORY, NOW_MS, TP, batch, records_of

CONFIG = LogConfig(segment_bytes=700, index_interval_bytes=0, file_delete_delay_ms=0)


class FillingDisk(MemoryDisk):
    """Has no room from its `full_at`th write on, for `full_for` writes."""

    def __init__(self, full_at: int, full_for: int) -> None:
        super().__init__()
        self.full_at = full_at
        self.full_for = full_for
        self.writes = 0

    def require_space(self, more: int, path: str) -> None:
        self.writes += 1
        if self.full_at <= self.writes < self.full_at + self.full_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class Script:
    """Runs the same operations in each run, and knows what the log has taken."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.taken: list[bytes] = []
        self.checkpointed = 0
        self.refused = 0
        self.log = self.open()

    def open(self) -> Log:
        return Log.open(
            self.disk,
            DIRECTORY,
            TP,
            CONFIG,
            now_ms=NOW_MS,
            clean=False,
            recovery_point=self.checkpointed,
            events=RecordingEvents(),
            owner=self,
        )

    def log_cut(self) -> None:
        self.disk.replace("/data/recovery-point", b"%d" % self.log.recovery_point)
        self.checkpointed = self.log.recovery_point

    def log_wants_flush(self, log: Log) -> bool:
        return False

    def log_failed(self, log: Log, what: str, error: OSError) -> None:
        assert error.errno == errno.ENOSPC, error

    def run(self) -> None:
        for step in range(14):
            self.append(step)
            if step % 4 == 3:
                self.end_txn(step)
            if step == 6:
                self.attempt(lambda: self.log.assign_epoch(1, self.log.log_end))
            if step in {5, 9}:
                self.attempt(self.log.flush)
            if step == 10:
                self.attempt(self.log_cut)
                self.cut(self.log.log_end - 3)
            self.log.check()

    def attempt(self, step) -> None:
        try:
            step()
        except (KafkaStorageError, OSError):
            self.refused += 1

    def append(self, step: int) -> None:
        value = b"%d" % step * 30
        data = batch(value, producer_id=5, producer_epoch=0, base_sequence=step, transactional=True)
        self._append(data, value, Origin.INTERNAL)

    def end_txn(self, step: int) -> None:
        marker = build_control_batch(
            ControlMarker(ABORT_MARKER, 0), timestamp_ms=NOW_MS, producer_id=5, producer_epoch=0
        )
        self._append(marker, b"", Origin.INTERNAL)

    def _append(self, data: bytes, value: bytes, origin: Origin) -> None:
        end = self.log.log_end
        try:
            self.log.append_as_leader(
                data,
                leader_epoch=self.log.latest_epoch if self.log.latest_epoch > 0 else 0,
                now_ms=NOW_MS,
                validate_producer=False,
                origin=origin,
            )
        except KafkaStorageError:
            assert self.log.log_end == end
            self.refused += 1
        else:
            assert self.log.log_end == end + 1
            self.taken.append(value)

    def cut(self, offset: int) -> None:
        try:
            self.log.truncate_to(offset)
        except KafkaStorageError:
            self.refused += 1
        if self.log.log_end == offset:
            del self.taken[offset:]
        assert self.log.log_end == len(self.taken)

    def values(self) -> list[bytes]:
        return [value_of(record) for record in records_of(self.log)]


def value_of(record: Record) -> bytes:
    return record.value if record.key == b"k" and record.value else b""


@pytest.mark.slow
@pytest.mark.parametrize("full_for", [1, 3, 12])
def test_a_disk_that_is_full_for_a_while_takes_nothing_from_the_log(full_for: int) -> None:
    smooth = Script(FillingDisk(1 << 30, 0))
    smooth.run()
    assert smooth.refused == 0
    refusals = 0
    for full_at in range(5, smooth.disk.writes):
        script = Script(FillingDisk(full_at, full_for))
        script.run()
        refusals += script.refused
        assert script.values() == script.taken, full_at
        aborted = script.log.aborted_transactions(0, script.log.log_end)
        for loss in ("kill", "power"):
            synced = script.log.recovery_point
            if loss == "kill":
                script.disk.kill()
            else:
                script.disk.crash(random.Random(full_at))
            script.log = script.open()
            script.log.check()
            kept = script.values()
            assert kept == script.taken[: len(kept)], full_at
            assert len(kept) >= (len(script.taken) if loss == "kill" else synced), full_at
            if loss == "kill":
                found = script.log.aborted_transactions(0, script.log.log_end)
                assert [txn[:3] for txn in found] == [txn[:3] for txn in aborted], full_at
    assert refusals > 0
