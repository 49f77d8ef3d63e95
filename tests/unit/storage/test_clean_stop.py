"""A clean stop: everything is made durable beside the loop, and closing has nothing left to do."""

import errno
import random

import pytest
import trio
import trio.testing

from ottla.broker.errors import KafkaStorageError
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import NOW_MS, batch, open_log, records_of

CONFIG = LogConfig()


class DiskOfThreads(MemoryDisk):
    """Counts the syncs that the loop waits for, and those beside it that are under way."""

    def __init__(self) -> None:
        super().__init__(sync_delay_s=0.01)
        self.on_the_loop = 0
        self.under_way = 0
        self.under_way_max = 0
        self._beside = False

    async def wait_sync(self, path: str) -> None:
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        await super().wait_sync(path)
        self.under_way -= 1

    async def beside(self, call):
        def told():
            self._beside = True
            try:
                return call()
            finally:
                self._beside = False

        return await super().beside(told)

    def sync_dir(self, path: str) -> None:
        self.on_the_loop += not self._beside
        super().sync_dir(path)


def manager(disk: MemoryDisk) -> LogManager:
    logs = LogManager(disk, ["/d"], events=RecordingEvents())
    logs.claim(broker_id=1, cluster_id="c")
    return logs


async def with_dirty_logs(disk: MemoryDisk, count: int) -> LogManager:
    logs = manager(disk)
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS)
    for number in range(count):
        log = logs.create(TopicPartition("t", number), CONFIG, now_ms=NOW_MS)
        log.assign_epoch(3, 0)
        log.append_as_leader(batch(b"a"), leader_epoch=3, now_ms=NOW_MS)
    return logs


async def test_logs_are_settled_side_by_side_and_closed_without_a_sync(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = DiskOfThreads()
    logs = await with_dirty_logs(disk, 20)
    disk.on_the_loop = 0
    await logs.settle_all()
    assert disk.on_the_loop == 0
    assert disk.under_way_max == 8
    logs.close(clean=True)
    # The checkpoints and the mark of the clean stop; nothing for each of the logs.
    assert disk.on_the_loop <= 4
    disk.crash(random.Random(1))
    again = manager(disk)
    await again.load(lambda _: CONFIG, now_ms=NOW_MS)
    assert again.dirs[0].was_clean
    assert [(log.log_end, log.latest_epoch) for log in again.logs.values()] == [(1, 3)] * 20


async def test_what_cannot_be_settled_makes_the_stop_an_unclean_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = MemoryDisk()
    logs = await with_dirty_logs(disk, 2)

    def refuse(path: str) -> None:
        raise OSError(errno.EIO, "no sync", path)

    disk.require_sync = refuse
    await logs.settle_all()
    logs.close(clean=True)
    del disk.require_sync
    assert not disk.exists("/d/.kafka_cleanshutdown")


@pytest.mark.parametrize("cut", [False, True])
async def test_an_epoch_that_comes_while_the_epochs_are_saved_is_not_lost(
    autojump_clock: trio.testing.MockClock, *, cut: bool
) -> None:
    disk = MemoryDisk(sync_delay_s=0.01)
    log = open_log(disk)
    log.append_as_leader(batch(b"a"), leader_epoch=1, now_ms=NOW_MS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.flush_async)
        await trio.sleep(0.015)  # the records are synced, the epochs are not
        if cut:
            log.truncate_to(0)
        log.append_as_leader(batch(b"b"), leader_epoch=2, now_ms=NOW_MS)
    await log.flush_async()
    disk.crash(random.Random(1))
    again = open_log(disk, clean=False, recovery_point=log.recovery_point)
    assert again.epochs.entries() == ([(2, 0)] if cut else [(1, 0), (2, 1)])
    assert records_of(again)[-1].value == b"b"
    assert not [name for name in disk.list_dir("/data/t-0") if name.endswith(".tmp")]


async def test_epochs_that_a_full_disk_refuses_leave_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.append_as_leader(batch(b"a"), leader_epoch=1, now_ms=NOW_MS)
    disk.capacity_bytes = disk.used_bytes
    for _ in range(3):
        with pytest.raises(KafkaStorageError):
            await log.flush_async()
    disk.capacity_bytes = None
    await log.flush_async()
    assert log.recovery_point == 1
    assert not [name for name in disk.list_dir("/data/t-0") if name.endswith(".tmp")]


async def test_snapshots_of_former_ends_go_with_upkeep_and_not_at_the_start() -> None:
    """Thousands of removals would hold a start up for as long as the disk is busy."""
    disk = MemoryDisk()
    for _ in range(3):
        logs = await with_dirty_logs(disk, 1)
        logs.close(clean=True)
    logs = await with_dirty_logs(disk, 1)
    snapshots = [name for name in disk.list_dir("/d/t-0") if name.endswith(".snapshot")]
    assert len(snapshots) == 3
    await logs.upkeep(lambda _: 0, NOW_MS)
    left = [name for name in disk.list_dir("/d/t-0") if name.endswith(".snapshot")]
    assert left == snapshots[-1:]
