"""From a request frame to its handler and back to the response's bytes: the one error boundary.

| what happens                                  | what the client gets                            |
|-----------------------------------------------|-------------------------------------------------|
| header or body cannot be decoded, unknown API | `ProtocolError`: the connection closes          |
| ApiVersions newer than ours                   | v0 of its response, error 35, our versions      |
| handler raises `BrokerError`                  | `Api.failed` with its code                      |
| handler raises anything else: a bug           | `Api.failed` with UNKNOWN_SERVER_ERROR, and an  |
|                                               | event `request.failed` with the traceback       |
| handler raises `AssertionError`: broken state | nothing, the process ends                       |
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ottla.broker.api.api import (
    Api,
    ConnectionContext,
    Encoded,
    HangUp,
    Message,
    Parked,
    Pollable,
    RequestContext,
    Services,
    response_type,
)
from ottla.broker.api.api_versions import versions_response
from ottla.broker.api.plain_produce import PutOff, plain_produces
from ottla.broker.api.produce import replicating
from ottla.broker.api.registry import Registry
from ottla.broker.api.repeated_fetch import FRAME_BYTES_MIN, RepeatedFetches
from ottla.broker.errors import BrokerError
from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import EncodeError, ErrorCode, ProtocolError
from ottla.protocol.kafka.headers import (
    decode_request_header,
    request_header_version,
    response_header_version,
)

_REQUEST = struct.Struct(">hhih")  # api key, version, correlation id, length of the client id
_RESPONSES = (struct.Struct(">ii"), struct.Struct(">iiB"))  # length, correlation id, tags

Parts = list[Any]  # bytes-like pieces and FileRanges, in the order of the wire


class RequestRefused(ProtocolError):
    """The peer asked for what is not served here."""


@dataclass(slots=True)
class _Route:
    """All that is known beforehand of one version of one API."""

    api: Api
    version: int
    header: int
    decode: Callable[..., Message]
    handle: Callable[[Message, RequestContext], Any]
    is_async: bool
    encode_parts: Callable[[Message, int], Parts]
    response_type: type[Any]
    response_head: struct.Struct
    response_tagged: bool

    def response(self, answer: Message, correlation_id: int) -> Parts:
        """The frame of a response. Encoding errors are bugs of the handler."""
        if type(answer) is Encoded:
            parts: Parts = [answer.body]
        else:
            parts = self.encode_parts(answer, self.version)
        if len(parts) == 1:
            body = parts[0]
            if self.response_tagged:
                return [self.response_head.pack(len(body) + 5, correlation_id, 0) + body]
            return [self.response_head.pack(len(body) + 4, correlation_id) + body]
        size = sum(map(len, parts))
        if self.response_tagged:
            parts[0] = self.response_head.pack(size + 5, correlation_id, 0) + parts[0]
        else:
            parts[0] = self.response_head.pack(size + 4, correlation_id) + parts[0]
        return parts


class Later:
    """A reply that is not there yet: a parked one, or a handler that waits. `finish` once.

    must_wait: the connection's next request waits for `finish`: it runs an `async def` handler, or
    waits for a `Parked` that says so.
    size: bytes of the request that count as owed, set by a connection that counts them.
    """

    __slots__ = ("_ctx", "_dispatcher", "_parked", "_request", "_route", "must_wait", "size")

    def __init__(
        self,
        dispatcher: "Dispatcher",
        route: _Route,
        request: Message,
        ctx: RequestContext,
        parked: Parked | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._route = route
        self._request = request
        self._ctx = ctx
        self._parked = parked
        self.must_wait = parked is None or getattr(parked, "must_wait", False)
        self.size = 0

    @property
    def is_ready(self) -> bool:
        """Whether `finish` would not wait, as far as the handler can tell."""
        ready = getattr(self._parked, "is_ready", None)
        return ready is not None and bool(ready())

    @property
    def pollable(self) -> Pollable | None:
        """What can be armed and polled instead of `finish`; None when nothing can."""
        return self._parked if hasattr(self._parked, "poll") else None  # type: ignore[return-value]

    def poll(self, now: float) -> Parts | None:
        """The response's frame, or None: not yet."""
        route = self._route
        try:
            answer = self._parked.poll(now)  # type: ignore[union-attr]  # it is pollable
            return None if answer is None else route.response(answer, self._ctx.correlation_id)
        except Exception as error:  # noqa: BLE001  the boundary, see `Dispatcher.failure`
            return self._dispatcher.failure(route, self._request, self._ctx, error)

    async def finish(self) -> "Parts | Later | None":
        """The response's frame; None when there is none to send.

        Where `must_wait`, perhaps a reply that comes later still, for which nothing has to wait.
        """
        route = self._route
        try:
            if self._parked is None:
                answer = await route.handle(self._request, self._ctx)
            else:
                answer = await self._parked.wait()
                if self.must_wait and hasattr(answer, "wait"):
                    return Later(self._dispatcher, route, self._request, self._ctx, answer)
            return None if answer is None else route.response(answer, self._ctx.correlation_id)
        except Exception as error:  # noqa: BLE001  the boundary, see `Dispatcher.failure`
            return self._dispatcher.failure(route, self._request, self._ctx, error)


class Dispatcher:
    """Finds and runs handlers. One per broker, shared by all connections.

    Its state is what `put_off` took and `append_put_off` did not do yet: nothing between two turns.
    """

    def __init__(self, registry: Registry, services: Services) -> None:
        self._registry = registry
        self._services = services
        self._events = services.events
        self._routes: dict[int, _Route] = {}
        for api in registry:
            first, last = api.versions
            for version in range(first, last + 1):
                self._routes[api.key << 16 | version] = _route(api, version)

        self._fetches = RepeatedFetches()
        self._plain = plain_produces(services)
        self.put_off: Callable[[memoryview], PutOff | None] = _handled_now
        if self._plain is not None:
            self.put_off = self._plain.put_off

    def append_put_off(self, now: float) -> None:
        """Do what was put off, for all connections. Then each `PutOff` is to be settled."""
        if self._plain is not None:
            self._plain.append(now)

    def settle(
        self, request: PutOff, connection: ConnectionContext, now: float
    ) -> "Parts | Later | None":
        """As `call`, for a request that was put off."""
        if request.partition is None:
            return self.call(request.frame, connection, now)
        if request.is_committed:
            return [request.response()] if request.shape.acks else None
        version, _, client_id, body = decode_request_header(request.frame)[1:]
        route = self._routes[ApiKey.PRODUCE << 16 | version]
        message = route.decode(version, request.frame, body)
        ctx = RequestContext(
            version, request.correlation_id, client_id, now, connection, self._services
        )
        parked = replicating(
            message,
            ctx,
            request.partition,
            leader_epoch=request.leader_epoch,
            first_offset=request.first_offset,
            end=request.end,
        )
        return Later(self, route, message, ctx, parked)

    def call(
        self, frame: memoryview, connection: ConnectionContext, now: float
    ) -> "Parts | Later | None":
        """Handle one request frame: its response's frame, one that comes later, or no response.

        ProtocolError when the connection must close, HangUp when the handler wants it closed.
        """
        try:
            key, version, correlation_id, id_length = _REQUEST.unpack_from(frame)
            route = self._routes.get(key << 16 | version)
            if route is None:
                return self._unserved(key, version, correlation_id)
            body = 10 + id_length
            # The common forms: a client id, and no tagged fields behind it.
            if id_length >= 0 and route.header == 1 and body <= len(frame):
                client_id: str | None = str(frame[10:body], "utf-8")
            elif id_length >= 0 and route.header == 2 and frame[body] == 0:
                client_id = str(frame[10:body], "utf-8")
                body += 1
            else:
                *_, client_id, body = decode_request_header(frame)
        except (struct.error, IndexError, UnicodeDecodeError):
            # Says what is wrong with it, or that it is a header without the usual fields.
            key, version, correlation_id, client_id, body = decode_request_header(frame)
            route = self._routes.get(key << 16 | version)
            if route is None:
                return self._unserved(key, version, correlation_id)
        request = None
        if key == ApiKey.FETCH and len(frame) >= FRAME_BYTES_MIN:
            request = self._fetches.decode(connection, version, frame, body)
        if request is None:
            request = route.decode(version, frame, body)
        ctx = RequestContext(version, correlation_id, client_id, now, connection, self._services)
        if route.is_async:
            return Later(self, route, request, ctx, None)
        try:
            answer = route.handle(request, ctx)
            if type(answer) is route.response_type:
                return route.response(answer, correlation_id)
            if answer is None:
                return None
            if type(answer) is Encoded:
                return route.response(answer, correlation_id)
        except Exception as error:  # noqa: BLE001  the boundary, see `failure`
            return self.failure(route, request, ctx, error)
        return Later(self, route, request, ctx, answer)

    def forget(self, connection: ConnectionContext) -> None:
        """The connection has ended."""
        self._fetches.forget(connection)

    def failure(
        self, route: _Route, request: Message, ctx: RequestContext, error: Exception
    ) -> Parts:
        """The response for a handler that raised; what is no expected outcome is an event too.

        HangUp where no response can be made of it.
        """
        if isinstance(error, BrokerError):
            code, text = error.code, str(error) or None
        else:
            if isinstance(error, HangUp) or _breaks_an_invariant(error):
                raise error
            code, text = ErrorCode.UNKNOWN_SERVER_ERROR, None
            self._report(route, ctx, error)
        try:
            return route.response(route.api.failure(request, code, text), ctx.correlation_id)
        except (EncodeError, ProtocolError) as unfit:
            self._report(route, ctx, unfit)
            raise HangUp(f"{route.api.key.name} {route.version} has no form for {code}") from unfit

    def _report(self, route: _Route, ctx: RequestContext, error: Exception) -> None:
        self._events.error(
            "request.failed",
            api=route.api.key.name,
            version=route.version,
            correlation_id=ctx.correlation_id,
            client_id=ctx.client_id,
            peer=str(ctx.connection.peer),
            exc_info=error,
        )

    def _unserved(self, key: int, version: int, correlation_id: int) -> Parts:
        if key == ApiKey.API_VERSIONS and version > 0:
            # KIP-511: the client tries again with a version from this list.
            refusal = versions_response(self._registry, ErrorCode.UNSUPPORTED_VERSION)
            return self._routes[key << 16].response(refusal, correlation_id)
        try:
            name = ApiKey(key).name
        except ValueError:
            raise RequestRefused(f"unknown API key {key}") from None
        raise RequestRefused(f"{name} version {version} is not served")


def _handled_now(_frame: memoryview) -> None:
    """Where nothing is put off."""


def _route(api: Api, version: int) -> _Route:
    tagged = response_header_version(api.key, version) >= 1
    return _Route(
        api=api,
        version=version,
        header=request_header_version(api.key, version),
        decode=partial(codec.decode_request, api.request_type),
        handle=api.handle,
        is_async=api.is_async,
        encode_parts=codec.encode_parts,
        response_type=response_type(api.request_type),
        response_head=_RESPONSES[tagged],
        response_tagged=tagged,
    )


def _breaks_an_invariant(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_breaks_an_invariant, error.exceptions))
    return isinstance(error, AssertionError)


__all__ = ["Dispatcher", "Later", "Parts", "RequestRefused"]
