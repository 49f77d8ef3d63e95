"""What read_committed consumers may read after a start: transactions that ended before it."""

from uuid import UUID

import pytest
import trio.testing

from ottla.broker.ids import LeaderEpoch, Offset, PartitionEpoch
from ottla.broker.partitions.partition import Partition
from ottla.broker.partitions.values import PartitionState
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.records import ABORT_MARKER, ControlMarker, build_control_batch
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents
from tests.support.led_partitions import led_partitions
from tests.support.logs import NOW_MS, TP, batch, open_log


@pytest.mark.parametrize(("high_watermark", "stable"), [(3, 3), (2, 0)])
async def test_transaction_that_ended_before_a_crash_holds_nothing_up(
    autojump_clock: trio.testing.MockClock, high_watermark: int, stable: int
) -> None:
    """The high watermark of a partition that nobody writes to does not move any more."""
    registry, _ = await led_partitions(
        MemoryDisk(), "/d", "other", 1, wall_clock=FixedWallClock(), events=RecordingEvents()
    )
    services = next(iter(registry))._services
    disk = MemoryDisk()
    log = open_log(disk)
    data = batch(b"a", b"b", producer_id=7, producer_epoch=0, base_sequence=0, transactional=True)
    log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS)
    marker = build_control_batch(
        ControlMarker(ABORT_MARKER, 0), timestamp_ms=NOW_MS, producer_id=7, producer_epoch=0
    )
    log.append_as_leader(marker, leader_epoch=0, now_ms=NOW_MS, origin=Origin.INTERNAL)
    log.close(clean=False)

    log = open_log(disk, clean=False)
    partition = Partition(
        TP,
        UUID(int=7),
        log,
        high_watermark=Offset(high_watermark),
        min_isr=1,
        services=services,
    )
    assert partition.last_stable_offset == stable
    alone = PartitionState(services.broker_id, LeaderEpoch(1), PartitionEpoch(1), [1], [1])
    partition.make_leader(alone)
    assert partition.last_stable_offset == 3
