"""What brokers and operators ask of the controller, besides topics.

Each function runs its work in the owner task of the reign and raises `Deposed` when that ends
first.
"""

from collections.abc import Iterable

from ottla.broker.controller import alter_partition as altering
from ottla.broker.controller import decisions
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.reign import Reign
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import set_data_op
from ottla.broker.ensemble.encodings import PRODUCER_ID_BLOCK_SIZE, ProducerIdBlock
from ottla.broker.ensemble.errors import BadVersion, ConnectionLoss, MultiFailed
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
)
from ottla.protocol.kafka.messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
    RemainingPartition,
)

_PRODUCER_ID_MAX = (1 << 63) - 1
Election = tuple[ErrorCode, str | None]


async def alter_partition(reign: Reign, request: AlterPartitionRequest) -> AlterPartitionResponse:
    """Change ISRs as leaders ask; all partitions of a request in one round trip."""

    async def step() -> AlterPartitionResponse:
        cluster = reign.cluster
        judgement = altering.judge(cluster, request)
        if judgement.error:
            return altering.answer(cluster, request, judgement, {})
        applied, lost = await reign.ledger.write_states(judgement.writes)
        notices = Notices()
        for write, version in applied:
            cluster.applied(write, version, notices, tell_replicas=False)
        failed = {}
        before = {write.tp: write.state.partition_epoch for write in judgement.writes}
        for tp in lost:
            state = cluster.partitions.get(tp)
            if state is not None and state.partition_epoch == before[tp]:
                failed[tp] = ErrorCode.REQUEST_TIMED_OUT  # it never happened: ask again
            else:
                failed[tp] = ErrorCode.INVALID_UPDATE_VERSION
                if state is not None and state.leader in cluster.brokers:
                    # The leader waits for this; nobody else would send it.
                    notices.tell_replicas([state.leader], tp)
        reign.post(notices)
        return altering.answer(cluster, request, judgement, failed)

    return await reign.submit(step)


async def controlled_shutdown(
    reign: Reign, request: ControlledShutdownRequest
) -> ControlledShutdownResponse:
    """Take leaderships from a broker that wants to stop; what it still leads is in the answer."""
    broker = BrokerId(request.broker_id)

    async def step() -> ControlledShutdownResponse:
        cluster = reign.cluster
        info = cluster.brokers.get(broker)
        if info is None:
            return ControlledShutdownResponse(error_code=ErrorCode.BROKER_NOT_AVAILABLE)
        if request.broker_epoch not in {-1, info.epoch}:
            return ControlledShutdownResponse(error_code=ErrorCode.STALE_BROKER_EPOCH)
        reign.events.info("controller.broker_shuts_down", broker=broker)
        tps, notices = cluster.on_controlled_shutdown(broker)
        reign.post(notices)
        await reign.commit(
            lambda state, todo: decisions.decide_controlled_shutdown(state, broker, todo), tps
        )
        return ControlledShutdownResponse(
            remaining_partitions=[
                RemainingPartition(topic_name=tp.topic, partition_index=tp.partition)
                for tp in cluster.led_by(broker)
            ]
        )

    return await reign.submit(step)


async def allocate_producer_ids(
    reign: Reign, request: AllocateProducerIdsRequest
) -> AllocateProducerIdsResponse:
    """Hand a broker the next thousand producer ids (KIP-730)."""

    async def step() -> AllocateProducerIdsResponse:
        info = reign.cluster.brokers.get(BrokerId(request.broker_id))
        if info is None:
            return AllocateProducerIdsResponse(error_code=ErrorCode.BROKER_ID_NOT_REGISTERED)
        if info.epoch != request.broker_epoch:
            return AllocateProducerIdsResponse(error_code=ErrorCode.STALE_BROKER_EPOCH)
        block = await _next_block(reign, info.id)
        if block is None:
            return AllocateProducerIdsResponse(error_code=ErrorCode.UNKNOWN_SERVER_ERROR)
        return AllocateProducerIdsResponse(
            producer_id_start=block.first, producer_id_len=block.count
        )

    return await reign.submit(step)


async def _next_block(reign: Reign, broker: BrokerId) -> ProducerIdBlock | None:
    """None: the 63 bits are used up. A block whose write may have been lost is skipped."""
    while True:
        data, stat = await reign.client.get_data(paths.PRODUCER_ID_BLOCK)
        last = encodings.decode_producer_id_block(data)
        first = 0 if last is None else last.last + 1
        if first + PRODUCER_ID_BLOCK_SIZE > _PRODUCER_ID_MAX:
            reign.events.error("controller.producer_ids_exhausted")
            return None
        block = ProducerIdBlock(broker, first, first + PRODUCER_ID_BLOCK_SIZE - 1)
        wanted = encodings.encode_producer_id_block(block)
        try:
            await reign.ledger.write([set_data_op(paths.PRODUCER_ID_BLOCK, wanted, stat.version)])
            return block
        except ConnectionLoss:
            await reign.client.wait_connected()
        except MultiFailed as error:
            if not isinstance(error.cause, BadVersion):
                raise


async def elect_leaders(
    reign: Reign, partitions: Iterable[TopicPartition] | None, *, unclean: bool
) -> dict[TopicPartition, Election]:
    """Preferred or unclean elections; None is every partition. The outcome per partition."""

    async def step() -> dict[TopicPartition, Election]:
        cluster = reign.cluster
        wanted = cluster.all_partitions() if partitions is None else list(partitions)
        outcomes = {tp: _refusal(reign, tp, unclean=unclean) for tp in wanted}
        electable = [tp for tp, refusal in outcomes.items() if refusal is None]
        decide = decisions.decide_unclean if unclean else decisions.decide_preferred
        await reign.commit(decide, electable)
        return {tp: refusal or _verdict(reign, tp, unclean) for tp, refusal in outcomes.items()}

    return await reign.submit(step)


def _refusal(reign: Reign, tp: TopicPartition, *, unclean: bool) -> Election | None:
    cluster = reign.cluster
    state = cluster.partitions.get(tp)
    if cluster.assignment(tp) is None or state is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist."
    if tp.topic in cluster.deleting:
        return ErrorCode.INVALID_TOPIC_EXCEPTION, "The topic is being deleted"
    has_it = (
        cluster.is_serving(state.leader, tp) if unclean else state.leader == cluster.replicas(tp)[0]
    )
    return (ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed.") if has_it else None


def _verdict(reign: Reign, tp: TopicPartition, unclean: bool) -> Election:
    refusal = _refusal(reign, tp, unclean=unclean)
    if refusal is not None and refusal[0] is ErrorCode.ELECTION_NOT_NEEDED:
        return ErrorCode.NONE, None
    if unclean:
        return ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, f"No replica of {tp} is alive."
    return ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, f"The preferred leader of {tp} cannot lead."
