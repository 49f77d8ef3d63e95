"""Produce: append record batches, and answer when as many replicas have them as `acks` asks for.

acks=0: no response; an error closes the connection, which is how such a client learns of it.
acks=1: answered after the append; with `flush.messages`, after the flush that it asks for, of which
one covers all that wait (see `storage.group_commit`). acks=all (-1): parked until the high
watermark has passed the batches, or the request's timeout. While one is parked, the connection's
next requests are read.

Versions 3 to 11 are served; ApiVersions claims 0, since librdkafka stops to compress when the
minimum is higher (KAFKA-18659). 7: zstd allowed. 8: error texts, and which records are why
(KIP-467). 10: the current leader travels with NOT_LEADER_OR_FOLLOWER (KIP-951). There is one batch
for each partition, and each error is that of one partition.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

import trio

from ottla.broker.api.api import Api, HangUp, Parked, RequestContext
from ottla.broker.api.leaders import current_leader, leader_endpoints
from ottla.broker.errors import (
    BrokerError,
    InvalidRecord,
    InvalidRequiredAcks,
    InvalidTopic,
    NotLeader,
    RejectedRecords,
    RequestTimedOut,
    UnsupportedCompression,
)
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.broker.metadata import INTERNAL_TOPICS
from ottla.broker.storage.batches import is_packed_otherwise, recompressed
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from ottla.protocol.kafka.records import LENGTH_PREFIX_BYTES, MAGIC
from ottla.runtime.interfaces import BytesLike

if TYPE_CHECKING:
    from ottla.broker.partitions.partition import Partition

ALL = -1
PACKED_BESIDE_BYTES = 8 << 10
"""From here on packing a batch anew takes longer than the way to a thread and back."""

ADMIN_CLIENT_ID = "__admin_client"  # alone may write to internal topics, as Kafka has it

_ATTRIBUTES_LOW = 22  # position of the byte with the codec's bits in a batch
_CODEC_BITS = 0x07
_LENGTH_AT = 8
_LENGTH_MIN = 14  # of any format; below it is no batch at all
_MAGIC_AT = 16
_LENGTH = Struct(">i")
_ZSTD_SINCE = 7


class _Waiting:
    """One appended partition of a request with acks=all."""

    __slots__ = ("end", "leader_epoch", "partition", "response")

    def __init__(
        self,
        partition: "Partition",
        end: int,
        response: PartitionProduceResponse,
        leader_epoch: int,
    ) -> None:
        self.partition = partition
        self.end = end
        self.leader_epoch = leader_epoch
        self.response = response

    @property
    def is_committed(self) -> bool:
        """Only while the leadership lasts under which it was appended does the offset mean it."""
        partition = self.partition
        return (
            partition.high_watermark >= self.end
            and partition.leader_epoch == self.leader_epoch
            and partition.is_leader
        )

    async def wait(self) -> None:
        if self.partition.leader_epoch != self.leader_epoch:
            raise NotLeader(f"{self.partition.tp}: leadership moved before the records committed")
        await self.partition.wait_committed(self.end)


class _Settling:
    """One appended partition of a request with acks=1 that is on its way to stable storage."""

    __slots__ = ("_settling", "partition", "response")

    def __init__(self, partition: "Partition", response: PartitionProduceResponse) -> None:
        self.partition = partition
        self.response = response
        self._settling = partition.log.settling()

    @property
    def is_committed(self) -> bool:
        return self._settling.is_done

    async def wait(self) -> None:
        await self._settling.wait()


class _Replicating:
    """A parked response: all appends are done, some are not committed yet."""

    __slots__ = ("_ctx", "_deadline", "_response", "_waiting")

    def __init__(
        self,
        response: ProduceResponse,
        waiting: list[_Waiting | _Settling],
        deadline: float,
        ctx: RequestContext,
    ) -> None:
        self._response = response
        self._waiting = waiting
        self._deadline = deadline
        self._ctx = ctx

    def is_ready(self) -> bool:
        return _all_committed(self._waiting)

    async def wait(self) -> ProduceResponse:
        # Of pipelined requests the later ones are mostly committed with the first.
        if _all_committed(self._waiting) and not _below_min_isr(self._waiting):
            return self._response
        with trio.move_on_at(self._deadline):
            for each in self._waiting:
                await self._settle(each)
        for each in self._waiting:
            if each.response.error_code == ErrorCode.NONE and not each.is_committed:
                timeout = RequestTimedOut(f"{each.partition.tp}: not committed in time")
                _fail(each.response, timeout, each.partition.tp, self._ctx)
        return self._response

    async def _settle(self, waiting: _Waiting | _Settling) -> None:
        try:
            await waiting.wait()
        except BrokerError as error:
            _fail(waiting.response, error, waiting.partition.tp, self._ctx)


class _Packing:
    """A parked response: large batches that their topic has in another codec are packed beside the
    loop, one after the other, before anything is appended. What is left to wait for then is parked
    as with any other request.
    """

    __slots__ = ("_ctx", "_request")

    must_wait = True  # the records of the connection's next request come behind these

    def __init__(self, request: ProduceRequest, ctx: RequestContext) -> None:
        self._request = request
        self._ctx = ctx

    async def wait(self) -> ProduceResponse | Parked | None:
        beside = self._ctx.services.log_manager.beside
        for data, config in _to_pack(self._request, self._ctx):
            assert data.records is not None
            assert config.codec is not None
            pack = partial(recompressed, data.records, config.codec, config.codec_level)
            with suppress(BrokerError):  # of which the append finds the same
                data.records = memoryview(await beside(pack))
        return _append(self._request, self._ctx)


def _to_pack(
    request: ProduceRequest, ctx: RequestContext
) -> Iterator[tuple[PartitionProduceData, LogConfig]]:
    """The large batches that are not in the codec of their topic."""
    for topic in request.topic_data:
        for data in topic.partition_data:
            records = data.records
            if records is None or len(records) < PACKED_BESIDE_BYTES:
                continue
            partition = ctx.services.partitions.get(TopicPartition(topic.name, data.index))
            if partition is None:
                continue
            config = partition.log.config
            if config.codec is not None and is_packed_otherwise(records, config.codec):
                yield data, config


def handle(request: ProduceRequest, ctx: RequestContext) -> ProduceResponse | Parked | None:
    for _ in _to_pack(request, ctx):
        return _Packing(request, ctx)
    return _append(request, ctx)


def _append(request: ProduceRequest, ctx: RequestContext) -> ProduceResponse | Parked | None:
    acks = request.acks
    if not -1 <= acks <= 1:
        raise InvalidRequiredAcks(f"acks is {acks}, not -1, 0 or 1")
    waiting: list[_Waiting | _Settling] = []
    topics: list[TopicProduceResponse] = []
    failed = False
    for topic in request.topic_data:
        name = topic.name
        answers: list[PartitionProduceResponse] = []
        for data in topic.partition_data:
            answer = PartitionProduceResponse(index=data.index)
            answers.append(answer)
            tp = TopicPartition(name, data.index)
            try:
                partition = _leading(tp, ctx)
                records = _checked(data.records, ctx.api_version)
                info = partition.append_as_leader(records, acks=acks)
            except BrokerError as error:
                _fail(answer, error, tp, ctx)
                failed = True
                continue
            answer.base_offset = info.first_offset
            answer.log_append_time_ms = info.log_append_time_ms
            answer.log_start_offset = info.log_start
            if acks == ALL:
                end = info.last_offset + 1
                waiting.append(_Waiting(partition, end, answer, partition.leader_epoch))
            elif acks and partition.log.settled_end <= info.last_offset:
                waiting.append(_Settling(partition, answer))
        topics.append(TopicProduceResponse(name=name, partition_responses=answers))
    if acks == 0:
        if failed:
            raise HangUp("a produce without acknowledgement failed")
        return None
    response = ProduceResponse(responses=topics)
    if failed and ctx.api_version >= 10:
        _add_endpoints(response, ctx)
    if waiting:
        parked = _Replicating(response, waiting, ctx.now + request.timeout_ms / 1000, ctx)
        if not _all_committed(waiting) or _below_min_isr(waiting):
            return parked
    return response


def replicating(
    request: ProduceRequest,
    ctx: RequestContext,
    partition: "Partition",
    *,
    leader_epoch: int,
    first_offset: int,
    end: int,
) -> Parked:
    """The parked answer to a request whose one batch was appended under `leader_epoch`."""
    (topic,) = request.topic_data
    (data,) = topic.partition_data
    answer = PartitionProduceResponse(
        index=data.index, base_offset=first_offset, log_start_offset=partition.log.log_start
    )
    waiting = _Waiting(partition, end, answer, leader_epoch)
    response = ProduceResponse(
        responses=[TopicProduceResponse(name=topic.name, partition_responses=[answer])]
    )
    return _Replicating(response, [waiting], ctx.now + request.timeout_ms / 1000, ctx)


def _all_committed(waiting: list[_Waiting | _Settling]) -> bool:
    for each in waiting:  # noqa: SIM110  `all` of one is what most requests would pay for
        if not each.is_committed:
            return False
    return True


def _below_min_isr(waiting: list[_Waiting | _Settling]) -> bool:
    """Let `wait_committed` judge, where the in-sync replicas are fewer than they should be."""
    for each in waiting:  # noqa: SIM110
        if len(each.partition.isr) < each.partition.min_isr:
            return True
    return False


def _leading(tp: TopicPartition, ctx: RequestContext) -> "Partition":
    services = ctx.services
    if tp.topic in INTERNAL_TOPICS and ctx.client_id != ADMIN_CLIENT_ID:
        raise InvalidTopic(f"{tp.topic} is internal")
    partition = services.partitions.get(tp)
    if partition is not None and partition.is_leader:
        return partition
    known = services.metadata.partition(tp) is not None
    return services.partitions.require_leader(tp, known=known)


def _checked(records: BytesLike | None, version: int) -> BytesLike:
    if not records:
        raise InvalidRecord("a produce request needs a record batch for each partition")
    if (
        version < _ZSTD_SINCE
        and len(records) > _ATTRIBUTES_LOW
        and records[_ATTRIBUTES_LOW] & _CODEC_BITS == Codec.ZSTD
    ):
        raise UnsupportedCompression(f"zstd needs Produce version {_ZSTD_SINCE} or above")
    if len(records) > _LENGTH_AT + _LENGTH.size:
        (length,) = _LENGTH.unpack_from(records, _LENGTH_AT)
        if length >= _LENGTH_MIN and length != len(records) - LENGTH_PREFIX_BYTES:
            # Each batch is answered with one offset, or one error, so each is asked for alone.
            raise InvalidRecord("a produce request has one whole record batch for each partition")
        if len(records) > _MAGIC_AT and records[_MAGIC_AT] != MAGIC:
            raise InvalidRecord(f"a batch of format {records[_MAGIC_AT]}; from 3 on it has to be 2")
    return records


def _fail(
    answer: PartitionProduceResponse, error: BrokerError, tp: TopicPartition, ctx: RequestContext
) -> None:
    answer.error_code = error.code
    answer.base_offset = -1
    answer.log_append_time_ms = -1
    answer.log_start_offset = -1
    if ctx.api_version >= 8:
        answer.error_message = str(error) or None
        if isinstance(error, RejectedRecords):
            answer.record_errors = [
                BatchIndexAndErrorMessage(batch_index=at, batch_index_error_message=str(error))
                for at in error.indexes
            ]
    if ctx.api_version >= 10 and (leader := current_leader(error, tp, ctx)):
        answer.current_leader = LeaderIdAndEpoch(leader_id=leader[0], leader_epoch=leader[1])


def _add_endpoints(response: ProduceResponse, ctx: RequestContext) -> None:
    leaders = {
        BrokerId(answer.current_leader.leader_id)
        for topic in response.responses
        for answer in topic.partition_responses
        if answer.current_leader.leader_id >= 0
    }
    response.node_endpoints = [
        NodeEndpoint(node_id=leader, host=address.host, port=address.port, rack=rack)
        for leader, address, rack in leader_endpoints(leaders, ctx)
    ]


def failed(request: ProduceRequest, code: ErrorCode, message: str | None) -> ProduceResponse:
    """`code` for every partition."""
    if request.acks == 0:
        raise HangUp("a produce without acknowledgement failed")
    return ProduceResponse(
        responses=[
            TopicProduceResponse(
                name=topic.name,
                partition_responses=[
                    PartitionProduceResponse(
                        index=data.index, error_code=code, base_offset=-1, error_message=message
                    )
                    for data in topic.partition_data
                ],
            )
            for topic in request.topic_data
        ]
    )


API = Api(
    ApiKey.PRODUCE,
    versions=(3, 11),
    request_type=ProduceRequest,
    handle=handle,
    advertised_from=0,
    failed=failed,
)
