"""A follower hears of the high watermark that its own fetch has moved."""

import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents
from tests.support.led_partitions import led_partitions
from tests.support.logs import batch


async def test_fetch_that_moves_the_high_watermark_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Otherwise the answer says less than is so, and nothing changes after it that would be told:
    the last follower to fetch would take the end of an idle log for uncommitted."""
    registry, _ = await led_partitions(
        MemoryDisk(), "/d", "t", 1,
        wall_clock=FixedWallClock(), events=RecordingEvents(), replicas=(1, 2, 3),
    )  # fmt: skip
    partition = registry.require(TopicPartition("t", 0))
    partition.append_as_leader(batch(b"value"), acks=-1)
    told = [
        partition.fetch_for_follower(
            follower, 1, 1 << 20, current_leader_epoch=0, replica_epoch=1, now=trio.current_time()
        ).high_watermark
        for follower in (2, 3)
    ]
    assert told == [0, 1]
