"""`flush.messages` by group commit: what may be acknowledged when, and for how many syncs."""

import errno

import pytest
import trio
import trio.testing

from ottla.broker.errors import KafkaStorageError
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.memory import MemoryDisk, RecordingEvents
from tests.support.logs import NOW_MS, TP, append, batch, open_log

SYNC_S = 0.01


class CountingDisk(MemoryDisk):
    """Counts the syncs of the `.log` file; they fail while `failing`."""

    def __init__(self) -> None:
        super().__init__(sync_delay_s=SYNC_S)
        self.syncs = 0
        self.failing: int | None = None

    def require_sync(self, path: str) -> None:
        if path.endswith(".log"):
            self.syncs += 1
            if self.failing is not None:
                raise OSError(self.failing, "injected", path)


class Opened:
    """One log whose flushes are made by group commit."""

    def __init__(self, nursery: trio.Nursery, messages: int) -> None:
        self.disk = CountingDisk()
        self.events = RecordingEvents()
        self.logs = LogManager(self.disk, ["/data"], events=self.events)
        config = LogConfig(flush_messages=messages)
        self.log = self.logs.create(TP, config, now_ms=NOW_MS)
        self.nursery = nursery

    async def begin(self) -> Log:
        await self.nursery.start(self.logs.commits.run)
        return self.log


@pytest.fixture
async def nursery(autojump_clock: trio.testing.MockClock):
    async with trio.open_nursery() as opened:
        yield opened
        opened.cancel_scope.cancel()


async def test_one_sync_covers_all_that_was_appended_before_it_began(nursery) -> None:
    opened = Opened(nursery, 1)
    log = await opened.begin()
    waiting = []
    for _ in range(100):
        append(log, batch(b"v"))
        waiting.append(log.settling())
    assert log.settled_end == 0
    assert not any(each.is_done for each in waiting)
    for each in waiting:
        await each.wait()
    assert opened.disk.syncs == 1
    assert (log.settled_end, log.recovery_point) == (100, 100)


async def test_appends_during_a_sync_share_the_next_one(nursery) -> None:
    opened = Opened(nursery, 1)
    log = await opened.begin()
    append(log, batch(b"first"))
    first = log.settling()
    await trio.sleep(SYNC_S / 2)
    later = []
    for _ in range(10):
        append(log, batch(b"later"))
        later.append(log.settling())
    await first.wait()
    assert log.settled_end == 1
    assert not later[0].is_done
    for each in later:
        await each.wait()
    assert opened.disk.syncs == 2


async def test_with_more_messages_allowed_only_the_append_that_exceeds_them_waits(nursery) -> None:
    opened = Opened(nursery, 3)
    log = await opened.begin()
    append(log, batch(b"a", b"b"))
    assert log.settling().is_done
    append(log, batch(b"c"))
    third = log.settling()
    assert log.settled_end == 2
    await third.wait()
    append(log, batch(b"d"))
    assert log.settled_end == 4
    assert log.recovery_point == 3


async def test_the_default_never_waits_and_never_syncs(nursery) -> None:
    opened = Opened(nursery, LogConfig().flush_messages)
    log = await opened.begin()
    for _ in range(50):
        append(log, batch(b"v"))
        assert log.settling().is_done
    await trio.sleep(1)
    assert opened.disk.syncs == 0


async def test_what_a_kill_left_unsynced_is_not_settled_after_the_start(nursery) -> None:
    """The page cache outlives the process, so recovery finds what was never synced."""
    opened = Opened(nursery, 10**6)
    append(opened.log, batch(b"v"))
    opened.disk.kill()
    logs = LogManager(opened.disk, ["/data"], events=opened.events)
    await logs.load(lambda _topic: LogConfig(flush_messages=1), now_ms=NOW_MS)
    await nursery.start(logs.commits.run)
    log = logs.get(TP)
    assert log is not None
    assert (log.log_end, log.settled_end) == (1, 0)
    log.flush_if_wanted()
    await log.settling().wait()
    assert log.settled_end == 1


async def test_whoever_wants_a_flush_while_it_ends_is_told_that_nobody_is_there(nursery) -> None:
    opened = Opened(nursery, 1)
    scope = trio.CancelScope()

    async def run(task_status) -> None:
        with scope:
            await opened.logs.commits.run(task_status=task_status)

    await nursery.start(run)
    append(opened.log, batch(b"v"))
    scope.cancel()
    answers = []
    for _ in range(6):  # in every turn of the loop until all is over
        answers.append(opened.logs.commits.want(opened.log))
        await trio.lowlevel.checkpoint()
    assert answers[-1] is False


async def test_a_flush_that_a_full_disk_refused_comes_with_upkeep(nursery) -> None:
    """A follower fetches, and so appends, no more until it did: nobody else would ask for it."""
    opened = Opened(nursery, 1)
    log = await opened.begin()
    opened.disk.failing = errno.ENOSPC
    append(log, batch(b"v"))
    with pytest.raises(KafkaStorageError):
        await log.settling().wait()
    await opened.logs.flush_due(NOW_MS)
    assert log.settled_end == 0
    opened.disk.failing = None
    await opened.logs.flush_due(NOW_MS)
    assert log.settled_end == 1


async def test_a_failed_sync_is_told_to_all_who_wait_and_ends_the_directory(nursery) -> None:
    opened = Opened(nursery, 1)
    log = await opened.begin()
    opened.disk.failing = errno.EIO
    append(log, batch(b"v"))
    waiting = [log.settling(), log.settling()]
    for each in waiting:
        with pytest.raises(KafkaStorageError):
            await each.wait()
    assert log.settled_end == 0
    (event,) = opened.events.named("log_dir.failed")
    assert event.fields["path"].endswith(".log")
    with pytest.raises(KafkaStorageError):
        append(log, batch(b"w"))


async def test_a_cut_log_acknowledges_nothing_of_what_was_cut(nursery) -> None:
    opened = Opened(nursery, 1)
    log = await opened.begin()
    append(log, batch(b"v"))
    waiting = log.settling()
    log.truncate_to(0)
    append(log, batch(b"other"))
    with pytest.raises(KafkaStorageError, match="cut"):
        await waiting.wait()
    await log.settling().wait()
    assert log.settled_end == 1


def test_a_log_that_begins_anew_has_nothing_to_wait_for() -> None:
    """A follower that was told to start above its end would else never ask for anything again."""
    log = open_log()
    append(log, batch(b"v"))
    log.truncate_fully_and_start_at(100)
    assert log.settled_end == log.log_end == 100
