"""InitProducerId: an id for an idempotent producer.

A transactional id is refused with COORDINATOR_NOT_AVAILABLE: transactions are not served yet.
Version 3 brings the id and epoch that a producer has (KIP-360), which means something with a
transactional id only; without one it gets a new id, as in Kafka.
"""

import trio

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.errors import BrokerError, InvalidRequest
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)

BLOCK_TIMEOUT_S = 10.0
"""How long an answer waits for the controller to hand out ids; clients ask again after it."""


def handle(request: InitProducerIdRequest, ctx: RequestContext) -> InitProducerIdResponse | Parked:
    if (request.producer_id < 0) != (request.producer_epoch < 0):
        raise InvalidRequest("a producer id and its epoch belong together")
    if request.transactional_id is not None:
        if not request.transactional_id:
            raise InvalidRequest("a transactional id has at least one character")
        ctx.services.events.warning(
            "producer_id.refused",
            transactional_id=request.transactional_id,
            peer=str(ctx.peer),
            reason="transactions are not served by this broker yet",
        )
        return _refused(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    producer_id = ctx.services.producer_ids.next_nowait()
    if producer_id is None:
        return _AfterBlock(ctx)
    return _given(producer_id)


class _AfterBlock:
    """Answers when the controller has handed out the next block of ids."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: RequestContext) -> None:
        self._ctx = ctx

    async def wait(self) -> InitProducerIdResponse:
        services = self._ctx.services
        with trio.move_on_after(BLOCK_TIMEOUT_S):
            try:
                return _given(await services.producer_ids.next())
            except BrokerError as error:
                services.events.warning("producer_id.block_refused", reason=str(error))
        # Retriable for every client, and without a search for another broker.
        return _refused(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)


def _given(producer_id: int) -> InitProducerIdResponse:
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)


def _refused(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)


def failed(
    _request: InitProducerIdRequest, code: ErrorCode, _message: str | None
) -> InitProducerIdResponse:
    return _refused(code)


API = Api(
    key=ApiKey.INIT_PRODUCER_ID,
    versions=(0, 5),
    request_type=InitProducerIdRequest,
    handle=handle,
    failed=failed,
)

__all__ = ["API", "failed", "handle"]
