"""Real partitions with real logs, led by broker 1 alone, without a controller."""

from uuid import UUID

from ottla.broker.ids import (
    BrokerEpoch,
    BrokerId,
    LeaderEpoch,
    Offset,
    PartitionEpoch,
    TopicPartition,
)
from ottla.broker.partitions.partition import Partition
from ottla.broker.partitions.registry import PartitionRegistry
from ottla.broker.partitions.values import PartitionServices, PartitionState
from ottla.broker.replication.isr_changes import IsrChanges
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.runtime.interfaces import Disk, Events, WallClock

TOPIC_ID = UUID(int=7)
BROKER = BrokerId(1)


async def led_partitions(
    disk: Disk,
    directory: str,
    topic: str,
    count: int,
    *,
    wall_clock: WallClock,
    events: Events,
    replicas: tuple[int, ...] = (1,),
    min_isr: int = 1,
    config: LogConfig | None = None,
) -> tuple[PartitionRegistry, LogManager]:
    """A topic's partitions in leader epoch 0, with `replicas` that are all in sync."""
    config = config or LogConfig()
    logs = LogManager(disk, [directory], events=events)
    logs.claim(broker_id=1, cluster_id="testing")
    now_ms = wall_clock.now_ms()
    await logs.load(lambda _topic: config, now_ms=now_ms)
    everybody = tuple(map(BrokerId, replicas))
    services = PartitionServices(
        broker_id=BROKER,
        lag_max=30.0,
        is_alive=lambda broker: broker in everybody,
        isr_changes=IsrChanges(BROKER, lambda: BrokerEpoch(1), lambda: None, events),
        wall_clock=wall_clock,
        events=events,
    )
    registry = PartitionRegistry()
    for index in range(count):
        tp = TopicPartition(topic, index)
        log = logs.create(tp, config, now_ms=now_ms, topic_id=TOPIC_ID)
        partition = Partition(
            tp, TOPIC_ID, log, high_watermark=Offset(0), min_isr=min_isr, services=services
        )
        registry.add(partition)
        partition.make_leader(
            PartitionState(BROKER, LeaderEpoch(0), PartitionEpoch(0), everybody, everybody)
        )
    return registry, logs
