"""OffsetCommit: remember how far a group has read; answered once it is committed.

Versions 2 to 4 can bring a retention of their own, 6 leader epochs (KIP-320), 7 static members.
Version 9 is for consumers of KIP-848 too, whose groups are not served here.
"""

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.api.group_replies import answer
from ottla.broker.groups.home import Commit
from ottla.broker.groups.values import OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)


def handle(request: OffsetCommitRequest, ctx: RequestContext) -> OffsetCommitResponse | Parked:
    services = ctx.services
    now_ms = services.wall_clock.now_ms()
    retention_ms = request.retention_time_ms
    expire_ms = -1 if retention_ms < 0 else now_ms + retention_ms
    metadata_max = services.groups.settings.offset_metadata_max
    entries: list[tuple[TopicPartition, OffsetEntry]] = []
    waiting: list[OffsetCommitResponsePartition] = []
    topics: list[OffsetCommitResponseTopic] = []
    for topic in request.topics:
        image = services.metadata.topic(topic.name)
        known = {} if image is None else image.partitions
        partitions: list[OffsetCommitResponsePartition] = []
        for asked in topic.partitions:
            index, note = asked.partition_index, asked.committed_metadata or ""
            outcome = OffsetCommitResponsePartition(partition_index=index)
            partitions.append(outcome)
            if index not in known:
                outcome.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            elif len(note) > metadata_max:
                outcome.error_code = ErrorCode.OFFSET_METADATA_TOO_LARGE
            else:
                entry = OffsetEntry(
                    asked.committed_offset, asked.committed_leader_epoch, note, now_ms, expire_ms
                )
                entries.append((TopicPartition(topic.name, index), entry))
                waiting.append(outcome)
        topics.append(OffsetCommitResponseTopic(name=topic.name, partitions=partitions))

    def response(error: ErrorCode) -> OffsetCommitResponse:
        for outcome in waiting:
            outcome.error_code = error
        return OffsetCommitResponse(topics=topics)

    if not entries:
        return response(ErrorCode.NONE)
    commit = Commit(
        request.group_id,
        request.member_id,
        request.group_instance_id,
        request.generation_id_or_member_epoch,
        entries,
    )
    return answer(services.groups.commit(commit), response)


def failed(
    request: OffsetCommitRequest, code: ErrorCode, _message: str | None
) -> OffsetCommitResponse:
    """`code` for every partition."""
    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetCommitResponsePartition(
                        partition_index=asked.partition_index, error_code=code
                    )
                    for asked in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


API = Api(
    key=ApiKey.OFFSET_COMMIT,
    versions=(2, 9),
    request_type=OffsetCommitRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "failed", "handle"]
