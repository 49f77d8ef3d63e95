"""What a follower asks when its position is out of the leader's range: ListOffsets as a replica."""

from ottla.broker.ids import BrokerId, TopicPartition
from ottla.broker.link import BrokerLink
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)

LIST_OFFSETS_VERSION = 9
EARLIEST = -2
LATEST = -1


async def leader_range(
    link: BrokerLink,
    broker_id: BrokerId,
    tp: TopicPartition,
    leader_epoch: int,
    *,
    timeout_s: float,
) -> tuple[int | None, int | None]:
    """The leader's log start and log end; None where it answers with an error. LinkLost."""

    async def offset(timestamp: int) -> int | None:
        wanted = ListOffsetsPartition(
            partition_index=tp.partition, current_leader_epoch=leader_epoch, timestamp=timestamp
        )
        response: ListOffsetsResponse = await link.request(
            ListOffsetsRequest(
                replica_id=broker_id,
                topics=[ListOffsetsTopic(name=tp.topic, partitions=[wanted])],
            ),
            version=LIST_OFFSETS_VERSION,
            timeout_s=timeout_s,
        )
        answer = response.topics[0].partitions[0]
        return answer.offset if answer.error_code == ErrorCode.NONE else None

    return await offset(EARLIEST), await offset(LATEST)


__all__ = ["leader_range"]
