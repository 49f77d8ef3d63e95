"""A start opens logs beside the loop; where the disk is slow to answer, threads ask ahead."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.broker.storage import dir_loading
from ottla.broker.storage.dir_loading import LOGS_PER_CALL, PROGRESS_EVERY_S
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import NOW_MS, append, batch

CONFIG = LogConfig()
COUNT = 120


class ColdDisk(MemoryDisk):
    """Every directory that is listed for the first time takes `wait_s`, of the loop or a thread."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self._wait_s = wait_s
        self._warm: set[str] = set()
        self._owed_s: float | None = None  # by the call that a thread makes
        self.held_s = 0.0  # how long the loop was

    async def beside(self, call):
        def made():
            self._owed_s = 0.0
            try:
                return call(), self._owed_s
            finally:
                self._owed_s = None

        result, owed_s = await super().beside(made)
        await trio.sleep(owed_s)
        return result

    def list_dir(self, path: str) -> list[str]:
        if path not in self._warm:
            if self._owed_s is None:
                self.held_s += self._wait_s
            else:
                self._owed_s += self._wait_s
        self._warm.add(path)
        return super().list_dir(path)

    def cool(self, wait_s: float) -> None:
        self._warm.clear()
        self._wait_s = wait_s


async def stopped(*, clean: bool) -> ColdDisk:
    disk = ColdDisk(0.0)
    logs = LogManager(disk, ["/d"], events=RecordingEvents())
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS)
    for number in range(COUNT):
        append(logs.create(TopicPartition("t", number), CONFIG, now_ms=NOW_MS), batch(b"v"))
    logs.close(clean=clean)
    if not clean:
        disk.kill()
    return disk


async def load(disk: ColdDisk, *, threads: int = 1) -> tuple[LogManager, RecordingEvents, float]:
    events = RecordingEvents()
    logs = LogManager(disk, ["/d"], events=events)
    began = trio.current_time()
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS, threads=threads)
    return logs, events, trio.current_time() - began


@pytest.mark.parametrize("clean", [True, False])
async def test_the_loop_waits_for_no_log_that_is_opened(
    autojump_clock: trio.testing.MockClock, clean: bool
) -> None:
    disk = await stopped(clean=clean)
    disk.cool(0.1)
    logs, events, _ = await load(disk)
    assert len(logs.logs) == COUNT
    assert all(log.log_end == 1 for log in logs.logs.values())
    assert not events.named("log.load_failed")
    assert disk.held_s == 0.0


async def test_a_slow_disk_is_asked_many_questions_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await stopped(clean=True)
    disk.cool(0.1)
    _, _, took = await load(disk)
    assert took < COUNT * 0.1 / 3


@pytest.mark.parametrize("threads", [2, 4])
async def test_so_many_threads_open_logs_of_a_directory(
    autojump_clock: trio.testing.MockClock, threads: int
) -> None:
    # Too fast for anybody to be sent ahead.
    disk = await stopped(clean=True)
    disk.cool(0.0005)
    _, _, took = await load(disk, threads=threads)
    runs = -(-COUNT // LOGS_PER_CALL)
    assert took == pytest.approx(-(-runs // threads) * LOGS_PER_CALL * 0.0005, rel=0.2)


async def test_a_disk_that_answers_at_once_is_not_asked_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await stopped(clean=True)
    disk.cool(0.0001)
    _, _, took = await load(disk)
    assert took < COUNT * 0.0001 + 0.1


async def test_progress_is_told_by_the_clock_while_logs_are_opened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = await stopped(clean=True)
    disk.cool(1.0)
    _, events, took = await load(disk)
    told = [each.fields for each in events.named("logs.loading")]
    assert len(told) >= took // PROGRESS_EVERY_S - 1 > 10
    assert len({each["loaded"] for each in told}) >= 4
    assert [each["count"] for each in told] == [COUNT] * len(told)
    assert [each["loaded"] for each in told] == sorted(each["loaded"] for each in told)


async def test_progress_is_told_by_the_count_where_it_is_quick(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dir_loading, "PROGRESS_EVERY_LOGS", 48)
    disk = await stopped(clean=True)
    _, events, _ = await load(disk)
    assert [each.fields["loaded"] for each in events.named("logs.loading")] == [48, 96]
