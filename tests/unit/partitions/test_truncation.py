"""What a follower does when its leader says where their histories part."""

from uuid import UUID

from ottla.broker.ids import BrokerId, LeaderEpoch, PartitionEpoch
from ottla.broker.partitions.partition import Partition
from ottla.broker.partitions.values import PartitionServices, PartitionState
from ottla.runtime.memory import FixedWallClock, MemoryDisk, RecordingEvents
from tests.support.logs import TP, append, batch, open_log


def state(leader: int, leader_epoch: int) -> PartitionState:
    replicas = [BrokerId(1), BrokerId(2)]
    return PartitionState(
        BrokerId(leader),
        LeaderEpoch(leader_epoch),
        PartitionEpoch(leader_epoch),
        replicas,
        replicas,
    )


async def test_epoch_without_a_record_does_not_outlive_a_divergence_at_the_end() -> None:
    """A leadership that appended nothing leaves its epoch behind; found by simulation seed 1.

    KIP-101: the next leader never heard of that epoch and answers with the end of the one before,
    which is where this log ends already.
    """
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, batch(b"a"), epoch=3)
    services = PartitionServices(
        broker_id=BrokerId(1),
        lag_max=10.0,
        is_alive=lambda _broker: True,
        isr_changes=None,  # type: ignore[arg-type]  # a follower changes no ISR
        wall_clock=FixedWallClock(),
        events=RecordingEvents(),
    )
    partition = Partition(
        TP, UUID(int=1), log, high_watermark=log.log_start, min_isr=1, services=services
    )
    partition.make_leader(state(1, 4))
    assert log.latest_epoch == 4
    partition.make_follower(state(2, 5))
    partition.truncate_after_divergence(3, 1)
    assert (log.log_end, log.latest_epoch) == (1, 3)
    log.close(clean=True)
    assert open_log(disk).latest_epoch == 3
