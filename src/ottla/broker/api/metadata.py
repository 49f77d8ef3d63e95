"""Metadata: live brokers, and the leaders and replicas of topics, as this broker knows them.

Versions 0 to 12. 0: an empty list asks for all topics, replicas that are not alive are left out.
1: null asks for all; the controller's id. 4: the client may forbid that topics are created. 6: a
leader without the client's listener is LISTENER_NOT_FOUND. 7: leader epochs. 8: authorized
operations; without an authorizer everybody may do everything. 12: topics by id.

A topic that does not exist is created when the request and `auto.create.topics.enable` allow it.
The answer then waits a moment for its leaders, so that most clients need not ask again, and says
LEADER_NOT_AVAILABLE where there is none yet. Encodings are kept until the cache changes.

A broker that has just started and has not heard from the controller yet waits for it a moment,
instead of telling of a cluster without brokers, which clients take badly.
"""

from collections.abc import Iterable

import trio

from ottla.broker.api.api import Api, Encoded, Parked, RequestContext
from ottla.broker.api.auto_creation import create_missing, name_error
from ottla.broker.errors import InvalidRequest
from ottla.broker.ids import ZERO_TOPIC_ID, BrokerId, TopicId
from ottla.broker.metadata import MetadataCache, PartitionImage, TopicImage
from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

# All operations that Kafka's ACLs know for a topic and for the cluster, as bits by their numbers.
TOPIC_OPERATIONS = sum(1 << operation for operation in (3, 4, 5, 6, 7, 8, 10, 11))
CLUSTER_OPERATIONS = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))

IDS_SINCE = 12
LEADER_WAIT_S = 2.0
FIRST_IMAGE_WAIT_S = 3.0

Asked = tuple[str | TopicId, ...] | None  # None: all topics


class _Arriving:
    """A parked answer: the controller has not told this broker of the cluster yet."""

    __slots__ = ("_asked", "_ctx", "_request")

    def __init__(self, request: MetadataRequest, asked: Asked, ctx: RequestContext) -> None:
        self._request = request
        self._asked = asked
        self._ctx = ctx

    async def wait(self) -> MetadataResponse:
        metadata = self._ctx.services.metadata
        with trio.move_on_after(FIRST_IMAGE_WAIT_S):
            while not metadata.generation:
                await metadata.wait_changed()
        missing = _missing(self._request, self._asked, self._ctx)
        if missing:
            return await _Creating(self._request, self._asked, missing, self._ctx).wait()
        return _response(self._request, self._asked, self._ctx)


class _Creating:
    """A parked answer: topics are being created first."""

    __slots__ = ("_asked", "_ctx", "_missing", "_request")

    def __init__(
        self, request: MetadataRequest, asked: Asked, missing: list[str], ctx: RequestContext
    ) -> None:
        self._request = request
        self._asked = asked
        self._missing = missing
        self._ctx = ctx

    async def wait(self) -> MetadataResponse:
        metadata = self._ctx.services.metadata
        errors = await create_missing(self._missing, self._ctx.services)
        with trio.move_on_after(LEADER_WAIT_S):
            while any(
                errors[name] == ErrorCode.NONE and not _has_leaders(metadata, name)
                for name in self._missing
            ):
                await metadata.wait_changed()
        response = _response(self._request, self._asked, self._ctx)
        for topic in response.topics:
            if topic.name in errors and topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                topic.error_code = errors[topic.name] or ErrorCode.LEADER_NOT_AVAILABLE
        return response


def handle(request: MetadataRequest, ctx: RequestContext) -> Encoded | Parked:
    asked = _asked(request, ctx.api_version)
    services = ctx.services
    if not services.metadata.generation:
        return _Arriving(request, asked, ctx)
    missing = _missing(request, asked, ctx)
    if missing:
        return _Creating(request, asked, missing, ctx)
    key = (
        ctx.api_version,
        ctx.listener_name,
        asked,
        request.include_topic_authorized_operations,
        request.include_cluster_authorized_operations,
    )
    return Encoded(
        services.metadata.encoded(
            key, lambda: codec.encode(_response(request, asked, ctx), ctx.api_version)
        )
    )


def _missing(request: MetadataRequest, asked: Asked, ctx: RequestContext) -> list[str]:
    """Topics to create first."""
    services = ctx.services
    if (
        not asked
        or not request.allow_auto_topic_creation
        or not services.config.bool("auto.create.topics.enable")
    ):
        return []
    return [
        name
        for name in asked
        if isinstance(name, str)
        and services.metadata.topic(name) is None
        and name_error(name) == ErrorCode.NONE
    ]


def _asked(request: MetadataRequest, version: int) -> Asked:
    if request.topics is None or (version == 0 and not request.topics):
        return None
    asked: list[str | TopicId] = []
    for topic in request.topics:
        if topic.name is None or topic.topic_id != ZERO_TOPIC_ID:
            if version < IDS_SINCE:
                raise InvalidRequest(f"topic ids need Metadata version {IDS_SINCE}")
            asked.append(topic.topic_id)
        else:
            asked.append(topic.name)
    return tuple(dict.fromkeys(asked))


def _has_leaders(metadata: MetadataCache, name: str) -> bool:
    topic = metadata.topic(name)
    return topic is not None and all(
        image.leader in metadata.brokers for image in topic.partitions.values()
    )


def _response(request: MetadataRequest, asked: Asked, ctx: RequestContext) -> MetadataResponse:
    services = ctx.services
    metadata = services.metadata
    view = View(metadata, ctx.listener_name, ctx.api_version)
    if asked is None:
        topics = [view.topic(topic) for topic in metadata.topics.values()]
    else:
        topics = [view.named(name) for name in asked]
    if request.include_topic_authorized_operations:
        for topic in topics:
            if topic.error_code == ErrorCode.NONE:
                topic.topic_authorized_operations = TOPIC_OPERATIONS
    response = MetadataResponse(
        brokers=[
            MetadataResponseBroker(
                node_id=node.id, host=address.host, port=address.port, rack=node.rack
            )
            for node, address in metadata.endpoints(ctx.listener_name)
        ],
        cluster_id=services.cluster_id,
        controller_id=view.alive_or_none(metadata.controller_id),
        topics=topics,
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    return response


class View:
    """The metadata as a client of one listener and version sees it."""

    def __init__(self, metadata: MetadataCache, listener: str, version: int) -> None:
        self._metadata = metadata
        self._version = version
        self._reachable = {node.id for node, _ in metadata.endpoints(listener)}

    def alive_or_none(self, broker: BrokerId) -> BrokerId:
        return broker if broker in self._reachable else BrokerId(-1)

    def named(self, asked: str | TopicId) -> MetadataResponseTopic:
        if isinstance(asked, str):
            topic = self._metadata.topic(asked)
            if topic is None:
                return MetadataResponseTopic(
                    name=asked,
                    error_code=name_error(asked) or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                )
        else:
            topic = self._metadata.topic_by_id(asked)
            if topic is None:
                return MetadataResponseTopic(
                    name=None, topic_id=asked, error_code=ErrorCode.UNKNOWN_TOPIC_ID
                )
        return self.topic(topic)

    def topic(self, topic: TopicImage) -> MetadataResponseTopic:
        return MetadataResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.is_internal,
            partitions=[self._partition(image) for image in topic.partitions.values()],
        )

    def leader_error(self, image: PartitionImage) -> ErrorCode:
        if image.leader in self._reachable:
            return ErrorCode.NONE
        if image.leader in self._metadata.brokers and self._version >= 6:
            return ErrorCode.LISTENER_NOT_FOUND
        return ErrorCode.LEADER_NOT_AVAILABLE

    def offline(self, image: PartitionImage) -> list[int]:
        return [
            each for each in image.replicas if each in image.offline or each not in self._reachable
        ]

    def _partition(self, image: PartitionImage) -> MetadataResponsePartition:
        error = self.leader_error(image)
        replicas: list[int] = list(image.replicas)
        isr: list[int] = list(image.isr)
        if self._version == 0:
            replicas, isr = self._only_reachable(replicas), self._only_reachable(isr)
            if error == ErrorCode.NONE and (len(replicas), len(isr)) != (
                len(image.replicas),
                len(image.isr),
            ):
                error = ErrorCode.REPLICA_NOT_AVAILABLE
        return MetadataResponsePartition(
            error_code=error,
            partition_index=image.index,
            leader_id=self.alive_or_none(image.leader),
            leader_epoch=image.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=isr,
            offline_replicas=self.offline(image),
        )

    def _only_reachable(self, brokers: Iterable[int]) -> list[int]:
        return [each for each in brokers if each in self._reachable]


def failed(request: MetadataRequest, code: ErrorCode, _message: str | None) -> MetadataResponse:
    """`code` for every topic that was named."""
    return MetadataResponse(
        topics=[
            MetadataResponseTopic(name=topic.name or "", topic_id=topic.topic_id, error_code=code)
            for topic in request.topics or []
        ]
    )


API = Api(
    ApiKey.METADATA,
    versions=(0, 12),
    request_type=MetadataRequest,
    handle=handle,
    failed=failed,
)
