"""`flush.ms`: a record is on stable storage soon after that time, also when it is short."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.storage.cleaner import CleanerSettings
from ottla.broker.storage.log_config import FOREVER, LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.broker.upkeep import Upkeep, UpkeepSettings
from ottla.runtime.memory import MemoryDisk, memory_runtime
from tests.support.logs import NOW_MS, append, batch

TP = TopicPartition("t", 0)


class WallClock:
    def now_ms(self) -> int:
        return NOW_MS + round(trio.current_time() * 1000)


@pytest.mark.parametrize(
    ("flush_ms", "bound_s"), [(20, 0.035), (100, 0.16), (500, 0.8), (3000, 4.1)]
)
async def test_flush_comes_in_time(
    autojump_clock: trio.testing.MockClock, flush_ms: int, bound_s: float
) -> None:
    disk = MemoryDisk()
    runtime = memory_runtime(disk=disk, wall_clock=WallClock())
    logs = LogManager(disk, ["/d"], events=runtime.events)
    await logs.load(lambda _: LogConfig(), now_ms=NOW_MS)
    log = logs.create(TP, LogConfig(flush_ms=flush_ms), now_ms=NOW_MS)
    settings = UpkeepSettings(300.0, 5.0, 30.0, CleanerSettings(enabled=False))
    replicas = _NoReplicas()
    upkeep = Upkeep(settings, PartitionRegistry(), replicas, logs, runtime)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.run)
        await trio.sleep(1.5)  # a round has seen the topic
        for _ in range(5):
            now_ms = WallClock().now_ms()
            append(log, batch(b"value"), now_ms=now_ms)
            began = trio.current_time()
            while log.recovery_point < log.log_end:  # noqa: ASYNC110
                await trio.sleep(0.001)
            took = trio.current_time() - began
            assert took <= bound_s
            await trio.sleep(0.0137)
        nursery.cancel_scope.cancel()


async def test_logs_without_a_time_ask_for_no_round() -> None:
    logs = LogManager(MemoryDisk(), ["/d"], events=memory_runtime().events)
    await logs.load(lambda _: LogConfig(), now_ms=NOW_MS)
    logs.create(TP, LogConfig(), now_ms=NOW_MS)
    assert await logs.flush_due(NOW_MS) == FOREVER
    logs.create(TopicPartition("t", 1), LogConfig(flush_ms=70), now_ms=NOW_MS)
    assert await logs.flush_due(NOW_MS) == 70


class _NoReplicas:
    def shrink_isrs(self) -> None: ...
