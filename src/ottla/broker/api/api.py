"""What an API handler is, what it gets and what it may answer.

Each module of this package that serves one API key holds `API = Api(...)`, the whole contract of
that API: key, versions, request type, handler. `registry` collects them, `dispatch` calls them.

A handler is one of
* `def handle(request, ctx) -> Response`: answers at once, without a task switch; `Encoded` when
  the bytes were at hand;
* the same returning `Parked`: the answer comes later, while later requests are read and handled;
* the same returning None: there is no answer at all (Produce with acks=0);
* `async def handle(request, ctx) -> Response`: the connection waits for it before it reads on.

Handlers raise `BrokerError` for a failure of the whole request; `Api.failed` says how that looks.
"""

import inspect
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.schema import schema_of
from ottla.runtime.interfaces import Address, Events, WallClock

if TYPE_CHECKING:
    from ottla.broker.api.fetch_sessions import FetchSessions
    from ottla.broker.api.registry import Registry
    from ottla.broker.api.repeated_fetch import KnownFetch
    from ottla.broker.controller.controller import Controller
    from ottla.broker.ensemble.client import EnsembleClient
    from ottla.broker.groups.home import GroupHome
    from ottla.broker.groups.producer_ids import ProducerIdAllocator
    from ottla.broker.link import BrokerLink
    from ottla.broker.metadata import MetadataCache
    from ottla.broker.partitions.log_moves import LogMoves
    from ottla.broker.partitions.registry import PartitionRegistry
    from ottla.broker.partitions.replica_set import ReplicaSet
    from ottla.broker.storage.log_dir import LogManager
    from ottla.config.broker import BrokerConfig

# A protocol message: any class of ottla.protocol.kafka.messages. They share no base class, and a
# response is only handed on to the codec here.
Message = Any


class HangUp(Exception):
    """A handler's wish to close the connection instead of answering, as the protocol has it."""


class Parked(Protocol):
    """An answer that is not there yet; the connection's writer awaits it in request order.

    It may also have `def is_ready(self) -> bool`, whether `wait` would return without waiting; the
    writer then sends it together with the reply before it. With `must_wait = True` the connection's
    next request is not looked at before; what the request's frame holds stays valid until then.
    """

    async def wait(self) -> "Message | Parked | None":
        """The response, at the request's own deadline at the latest; BrokerError as in handlers.

        Where `must_wait`: None for no response, or what is parked from now on without that.
        """
        ...


class Pollable(Parked, Protocol):
    """A parked answer that needs no task to wait for it.

    deadline: when `poll` gives an answer at the latest.
    """

    @property
    def deadline(self) -> float: ...

    def arm(self, wake: Callable[[], None]) -> None:
        """From now on call `wake`, perhaps at once, when `poll` may have an answer."""
        ...

    def disarm(self) -> None: ...

    def poll(self, now: float) -> Message | None:
        """The response, or None: not yet. Disarmed afterwards. BrokerError as in handlers."""
        ...


@dataclass(slots=True, frozen=True)
class Encoded:
    """A response's body that is already in the bytes of the request's version."""

    body: bytes


Answer = Any  # Message | Parked | None, or an awaitable of Message for `async def` handlers


@dataclass(slots=True, kw_only=True)
class Services:
    """What handlers use of the broker. Made once by `broker.main`; members never change.

    `controller_link` gives the link to the active controller as the metadata cache knows it, or
    None when there is none.
    """

    broker_id: int
    cluster_id: str
    config: "BrokerConfig"
    wall_clock: WallClock
    rng: random.Random
    events: Events
    registry: "Registry"
    metadata: "MetadataCache"
    partitions: "PartitionRegistry"
    replicas: "ReplicaSet"
    log_manager: "LogManager"
    log_moves: "LogMoves"
    fetch_sessions: "FetchSessions"
    controller: "Controller"
    controller_link: "Callable[[], BrokerLink | None]"
    ensemble: "EnsembleClient"
    groups: "GroupHome"
    producer_ids: "ProducerIdAllocator"


@dataclass(slots=True)
class ConnectionContext:
    """What is the same for all requests of one connection.

    last_fetch: see `repeated_fetch`.
    """

    services: Services
    listener_name: str
    peer: Address
    client_software: tuple[str, str] | None = None  # name, version; KIP-511
    last_fetch: "KnownFetch | None" = None


@dataclass(slots=True)
class RequestContext:
    """One request as its handler sees it. `now` is `trio.current_time()` when it was read."""

    api_version: int
    correlation_id: int
    client_id: str | None
    now: float
    connection: ConnectionContext
    services: Services

    @property
    def listener_name(self) -> str:
        return self.connection.listener_name

    @property
    def peer(self) -> Address:
        return self.connection.peer


Handler = Callable[[Any, RequestContext], Answer]
Failed = Callable[[Any, ErrorCode, str | None], Message]


@dataclass(slots=True, frozen=True)
class Api:
    """One API key as this broker serves it.

    versions: first and last version served, both inclusive.
    advertised_from: the first version ApiVersions claims, where clients need it to be lower.
    failed: (request, code, message) -> the response that fails the whole request. Not needed for a
    response that has a top-level `error_code`. It must give an answer of the right shape, e.g. with
    the code in every partition asked for.
    """

    key: ApiKey
    versions: tuple[int, int]
    request_type: type[Any]
    handle: Handler
    advertised_from: int | None = None
    failed: Failed | None = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        first, last = self.versions
        assert 0 <= first <= last
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.handle))
        if self.failed is None:
            object.__setattr__(
                self, "failed", error_code_response(response_type(self.request_type))
            )

    def failure(self, request: Message, code: ErrorCode, message: str | None = None) -> Message:
        """The response that refuses the whole of `request`."""
        assert self.failed is not None
        return self.failed(request, code, message)


def response_type(request_type: type[Any]) -> type[Any]:
    """`XxxResponse` of the module that declares `XxxRequest`."""
    name = request_type.__name__.removesuffix("Request") + "Response"
    found = getattr(sys.modules[request_type.__module__], name)
    assert isinstance(found, type)
    return found


def error_code_response(response: type[Any]) -> Failed:
    """`Api.failed` for a response with a top-level `error_code` (and perhaps `error_message`)."""
    fields = {field.name for field in schema_of(response).fields}
    assert "error_code" in fields, f"{response.__name__} needs its own `failed`"
    with_message = "error_message" in fields

    def failed(_request: Message, code: ErrorCode, message: str | None) -> Message:
        if with_message:
            return response(error_code=code, error_message=message)
        return response(error_code=code)

    return failed


__all__ = [
    "Answer",
    "Api",
    "ConnectionContext",
    "Encoded",
    "HangUp",
    "Message",
    "Parked",
    "Pollable",
    "RequestContext",
    "Services",
    "error_code_response",
    "response_type",
]
