"""FindCoordinator: which broker is the home of a group.

That is the leader of the group's partition of __consumer_offsets, which is made at the first
question. Version 1 has key types, 4 asks for several keys at once (KIP-699), 6 knows share groups.
"""

from functools import partial

import trio

from ottla.broker.api.api import Api, Parked, RequestContext, Services
from ottla.broker.api.auto_creation import create_missing
from ottla.broker.errors import GroupHomeNotAvailable
from ottla.broker.groups.settings import OFFSETS_TOPIC
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

GROUP, TRANSACTION, SHARE = 0, 1, 2

FIRST_ELECTION_TIMEOUT_S = 2.0
"""How long an answer waits for the leaders of a topic that was just made."""

_BATCHED_FROM = 4
_SHARE_FROM = 6


def handle(
    request: FindCoordinatorRequest, ctx: RequestContext
) -> FindCoordinatorResponse | Parked:
    if request.key_type == GROUP and ctx.services.metadata.topic(OFFSETS_TOPIC) is None:
        return _AfterCreation(request, ctx)
    return _response(request, ctx, None)


class _AfterCreation:
    """Answers once the offsets topic is there and led, or says why not."""

    __slots__ = ("_ctx", "_request")

    def __init__(self, request: FindCoordinatorRequest, ctx: RequestContext) -> None:
        self._request = request
        self._ctx = ctx

    async def wait(self) -> FindCoordinatorResponse:
        request, ctx = self._request, self._ctx
        failure = await ctx.services.groups.want_offsets_topic().get()
        if failure is None:
            with trio.move_on_after(FIRST_ELECTION_TIMEOUT_S):
                while any(_home(key, ctx) is None for key in _keys(request, ctx)):
                    await ctx.services.metadata.wait_changed()
        return _response(request, ctx, None if failure is None else str(failure))


def _keys(request: FindCoordinatorRequest, ctx: RequestContext) -> list[str]:
    return request.coordinator_keys if ctx.api_version >= _BATCHED_FROM else [request.key]


def _response(
    request: FindCoordinatorRequest, ctx: RequestContext, reason: str | None
) -> FindCoordinatorResponse:
    found = [_find(key, request.key_type, ctx, reason) for key in _keys(request, ctx)]
    if ctx.api_version >= _BATCHED_FROM:
        return FindCoordinatorResponse(coordinators=found)
    [only] = found
    return FindCoordinatorResponse(
        error_code=only.error_code,
        error_message=only.error_message,
        node_id=only.node_id,
        host=only.host,
        port=only.port,
    )


def _find(key: str, key_type: int, ctx: RequestContext, reason: str | None) -> Coordinator:
    unavailable = partial(_nowhere, key, ErrorCode.COORDINATOR_NOT_AVAILABLE)
    if key_type == TRANSACTION:
        return unavailable("transactions are not served by this broker yet")
    if key_type == SHARE and ctx.api_version >= _SHARE_FROM:
        return unavailable("share groups are not served by this broker")
    if key_type != GROUP:
        return _nowhere(key, ErrorCode.INVALID_REQUEST, f"key type {key_type} is unknown")
    return _home(key, ctx) or unavailable(reason or "the group's partition has no leader now")


def _home(group_id: str, ctx: RequestContext) -> Coordinator | None:
    services = ctx.services
    partition = services.groups.partition_for(group_id)
    image = services.metadata.leader_of(TopicPartition(OFFSETS_TOPIC, partition))
    if image is None:
        return None
    address = services.metadata.endpoint(image.leader, ctx.listener_name)
    if address is None:
        return None
    return Coordinator(key=group_id, node_id=image.leader, host=address.host, port=address.port)


def _nowhere(key: str, code: ErrorCode, message: str) -> Coordinator:
    return Coordinator(
        key=key, node_id=-1, host="", port=-1, error_code=code, error_message=message
    )


def failed(
    request: FindCoordinatorRequest, code: ErrorCode, message: str | None
) -> FindCoordinatorResponse:
    """`code` for every key, in the shape of the version that the request had."""
    text = message or code.name
    if request.coordinator_keys:
        return FindCoordinatorResponse(
            coordinators=[_nowhere(key, code, text) for key in request.coordinator_keys]
        )
    return FindCoordinatorResponse(error_code=code, error_message=text, node_id=-1, port=-1)


async def ensure_offsets_topic(services: Services) -> None:
    """Make __consumer_offsets if it is missing; GroupHomeNotAvailable says why it cannot be.

    As in Kafka there are no fewer replicas than `offsets.topic.replication.factor` asks for: with
    too few brokers alive, groups wait for the others.
    """
    code = (await create_missing([OFFSETS_TOPIC], services))[OFFSETS_TOPIC]
    if code is ErrorCode.INVALID_REPLICATION_FACTOR:
        factor = services.config.int("offsets.topic.replication.factor")
        raise GroupHomeNotAvailable(
            f"{OFFSETS_TOPIC} needs {factor} brokers (offsets.topic.replication.factor), "
            f"{len(services.metadata.brokers)} are alive"
        )
    if code is not ErrorCode.NONE:
        raise GroupHomeNotAvailable(f"{OFFSETS_TOPIC} could not be made: {code.name}")


API = Api(
    key=ApiKey.FIND_COORDINATOR,
    versions=(0, 6),
    request_type=FindCoordinatorRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "ensure_offsets_topic", "failed", "handle"]
