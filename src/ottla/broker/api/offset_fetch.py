"""OffsetFetch: how far a group has read.

From version 2 on null topics mean all, and errors of the whole group have their own field; 7 can
insist on decided offsets (KIP-447), 8 asks for several groups at once (KIP-709).
"""

from collections.abc import Iterable
from typing import Protocol

from ottla.broker.api.api import Api, RequestContext
from ottla.broker.groups.home import FetchedOffset
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

_TOP_LEVEL_ERROR_FROM = 2
_BATCHED_FROM = 8
_NO_OFFSET = -1


class _Asked(Protocol):
    name: str
    partition_indexes: list[int]


def handle(request: OffsetFetchRequest, ctx: RequestContext) -> OffsetFetchResponse:
    groups = ctx.services.groups
    stable = request.require_stable
    if ctx.api_version >= _BATCHED_FROM:
        response = OffsetFetchResponse()
        for asked in request.groups:
            error, found = groups.fetch(
                asked.group_id, _wanted(asked.topics), require_stable=stable
            )
            response.groups.append(_group(asked.group_id, error, found))
        return response
    error, found = groups.fetch(request.group_id, _wanted(request.topics), require_stable=stable)
    if error is not ErrorCode.NONE:
        return _refused(request, ctx.api_version, error)
    topics: dict[str, OffsetFetchResponseTopic] = {}
    for each in found:
        topic = topics.setdefault(each.tp.topic, OffsetFetchResponseTopic(name=each.tp.topic))
        entry = each.entry
        topic.partitions.append(
            OffsetFetchResponsePartition(
                partition_index=each.tp.partition,
                committed_offset=_NO_OFFSET if entry is None else entry.offset,
                committed_leader_epoch=-1 if entry is None else entry.leader_epoch,
                metadata="" if entry is None else entry.metadata,
                error_code=each.error,
            )
        )
    return OffsetFetchResponse(topics=list(topics.values()))


def _wanted(topics: Iterable[_Asked] | None) -> list[TopicPartition] | None:
    if topics is None:
        return None
    return [
        TopicPartition(topic.name, index) for topic in topics for index in topic.partition_indexes
    ]


def _group(group_id: str, error: ErrorCode, found: list[FetchedOffset]) -> OffsetFetchResponseGroup:
    topics: dict[str, OffsetFetchResponseTopics] = {}
    for each in found:
        topic = topics.setdefault(each.tp.topic, OffsetFetchResponseTopics(name=each.tp.topic))
        entry = each.entry
        topic.partitions.append(
            OffsetFetchResponsePartitions(
                partition_index=each.tp.partition,
                committed_offset=_NO_OFFSET if entry is None else entry.offset,
                committed_leader_epoch=-1 if entry is None else entry.leader_epoch,
                metadata="" if entry is None else entry.metadata,
                error_code=each.error,
            )
        )
    return OffsetFetchResponseGroup(
        group_id=group_id, topics=list(topics.values()), error_code=error
    )


def _refused(request: OffsetFetchRequest, version: int, code: ErrorCode) -> OffsetFetchResponse:
    """An error of the one group of a version below 8; before 2 only partitions can carry it."""
    if version >= _TOP_LEVEL_ERROR_FROM:
        return OffsetFetchResponse(error_code=code)
    return OffsetFetchResponse(
        topics=[
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartition(
                        partition_index=index,
                        committed_offset=_NO_OFFSET,
                        metadata="",
                        error_code=code,
                    )
                    for index in topic.partition_indexes
                ],
            )
            for topic in request.topics or ()
        ]
    )


def failed(
    request: OffsetFetchRequest, code: ErrorCode, _message: str | None
) -> OffsetFetchResponse:
    """`code` in every place that some version has for it; the codec leaves out the others."""
    response = _refused(request, 1, code)
    response.error_code = code
    response.groups = [
        OffsetFetchResponseGroup(group_id=asked.group_id, error_code=code)
        for asked in request.groups
    ]
    return response


API = Api(
    key=ApiKey.OFFSET_FETCH,
    versions=(1, 9),
    request_type=OffsetFetchRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "failed", "handle"]
