"""A start whose disk is slow to answer: threads ask ahead of whoever opens the logs."""

import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.dir_loading import PROGRESS_EVERY_S
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import NOW_MS, append, batch

CONFIG = LogConfig()
COUNT = 120


class ColdDisk(MemoryDisk):
    """Every directory that is listed for the first time takes `wait_s`; on a thread, nobody's."""

    def __init__(self, clock: trio.testing.MockClock, wait_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._wait_s = wait_s
        self._warm: set[str] = set()
        self._is_beside = False

    async def beside(self, call):
        await trio.sleep(self._wait_s)

        def made():
            self._is_beside = True
            try:
                return call()
            finally:
                self._is_beside = False

        return await super().beside(made)

    def list_dir(self, path: str) -> list[str]:
        if path not in self._warm and not self._is_beside:
            self._clock.jump(self._wait_s)
        self._warm.add(path)
        return super().list_dir(path)

    def cool(self, wait_s: float) -> None:
        self._warm.clear()
        self._wait_s = wait_s


async def stopped(clock: trio.testing.MockClock, *, clean: bool) -> ColdDisk:
    disk = ColdDisk(clock, 0.0)
    logs = LogManager(disk, ["/d"], events=RecordingEvents())
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS)
    for number in range(COUNT):
        append(logs.create(TopicPartition("t", number), CONFIG, now_ms=NOW_MS), batch(b"v"))
    logs.close(clean=clean)
    if not clean:
        disk.kill()
    return disk


async def load(disk: ColdDisk) -> tuple[LogManager, RecordingEvents, float]:
    events = RecordingEvents()
    logs = LogManager(disk, ["/d"], events=events)
    began = trio.current_time()
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS)
    return logs, events, trio.current_time() - began


async def test_a_slow_disk_is_asked_many_questions_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for clean in (True, False):
        disk = await stopped(autojump_clock, clean=clean)
        disk.cool(0.1)
        logs, events, took = await load(disk)
        assert len(logs.logs) == COUNT
        assert all(log.log_end == 1 for log in logs.logs.values())
        assert took < COUNT * 0.1 / 4
        assert not events.named("log.load_failed")


async def test_a_disk_that_answers_at_once_is_not_asked_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await stopped(autojump_clock, clean=True)
    disk.cool(0.0001)
    _, _, took = await load(disk)
    assert took < COUNT * 0.0001 + 0.1


async def test_progress_is_told_while_logs_are_opened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await stopped(autojump_clock, clean=True)
    disk.cool(3.0)
    _, events, took = await load(disk)
    told = events.named("logs.loading")
    assert len(told) >= took // (2 * PROGRESS_EVERY_S) > 0
    assert [each.fields["count"] for each in told] == [COUNT] * len(told)
    assert [each.fields["loaded"] for each in told] == sorted(
        each.fields["loaded"] for each in told
    )
