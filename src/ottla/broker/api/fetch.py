"""Fetch: record batches from an offset on, for consumers and for followers.

Served are the bytes of the log as they are, as ranges of files that the connection sends without
reading them. Too little to send: the request is parked on the wake-ups of its partitions until
`min_bytes` are there or `max_wait_ms` is over. An error or a diverging epoch answers at once.

Versions 4 to 17. 7: sessions (see `fetch_sessions`). 9: leader epochs are checked (KIP-320). 11:
followers serve consumers too, and a leader may send one to its own rack (KIP-392). 12: diverging
epochs (KIP-595), the current leader in errors. 13: topics by id. 15: followers name themselves in
`replica_state` (KIP-903). 16: endpoints of new leaders (KIP-951). "No records" is a field of length
0 in all versions. The first batch of a response is whole whatever the limits say (KIP-74).
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from ottla.broker.api.api import Api, Parked, RequestContext
from ottla.broker.api.fetch_sessions import (
    ANY_LIMIT,
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    UNREAD,
    FetchedPartition,
    FetchSession,
    Key,
)
from ottla.broker.api.leaders import current_leader, leader_endpoints
from ottla.broker.api.repeated_fetch import KnownFetch
from ottla.broker.errors import BrokerError, InconsistentTopicId, UnknownTopicId
from ottla.broker.ids import ZERO_TOPIC_ID, BrokerId, Offset, TopicPartition
from ottla.broker.replication.read_replica import RACK_AWARE, choose_in_rack
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    AbortedTransaction,
    EpochEndOffset,
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
)

if TYPE_CHECKING:
    from ottla.broker.partitions.partition import Partition
    from ottla.broker.partitions.values import FetchInfo

READ_COMMITTED = 1
IDS_SINCE = 13
RACKS_SINCE = 11


class _Fetch:
    """One fetch request while it is served; parked until there is enough to answer."""

    __slots__ = (
        "_also_follower",
        "_asked",
        "_ctx",
        "_deadline",
        "_is_committed",
        "_is_incremental",
        "_max_bytes",
        "_min_bytes",
        "_rack",
        "_replica_epoch",
        "_replica_id",
        "_session",
        "_wake",
        "_watched",
    )

    def __init__(
        self,
        request: FetchRequest,
        asked: Iterable[FetchedPartition],
        session: FetchSession | None,
        ctx: RequestContext,
    ) -> None:
        self._ctx = ctx
        self._is_incremental = session is not None and request.session_epoch > INITIAL_EPOCH
        self._asked = asked
        self._session = session
        self._min_bytes = request.min_bytes
        self._deadline = ctx.now + request.max_wait_ms / 1000
        self._is_committed = request.isolation_level == READ_COMMITTED
        self._replica_id = replica_id(request)
        self._replica_epoch = request.replica_state.replica_epoch
        self._also_follower = ctx.api_version >= RACKS_SINCE
        self._rack = _rack(request, ctx)
        self._max_bytes = min(request.max_bytes, ctx.services.config.int("fetch.max.bytes"))
        self._watched: list[tuple[Partition, int]] = []  # with their changes as of it
        self._wake: Callable[[], None] | None = None

    def answer(self, now: float, *, final: bool) -> FetchResponse | None:
        """Read everything once; None when that is too little and there is time left."""
        left = self._max_bytes
        is_urgent = False
        gathered = 0
        results: list[tuple[FetchedPartition, PartitionData]] = []
        is_follower = self._replica_id >= 0
        watched = self._watched = []
        for asked in self._asked:
            partition = asked.partition
            # Would a reading find what the last one found, which was no records?
            if (
                partition is not None
                and partition.changes == asked.changes
                and partition.log.log_start == asked.found_log_start
                and (
                    asked.found_limit == ANY_LIMIT
                    or (gathered and min(left, asked.max_bytes) <= asked.found_limit)
                )
                and (
                    not is_follower
                    or partition.note_idle_fetch(self._replica_id, self._replica_epoch, now)
                )
            ):
                watched.append((partition, asked.changes))
                if asked.found is not None:
                    results.append((asked, asked.found))
                continue
            data, info = self._read(asked, min(left, asked.max_bytes), gathered == 0, now)
            results.append((asked, data))
            if info is None or info.diverging is not None:
                is_urgent = True
                continue
            if info.records:
                size = len(info.records)
                left = max(left - size, 0)
                gathered += size
        if final or is_urgent or gathered >= self._min_bytes or not self._asked:
            return self._respond(results)
        return None

    async def wait(self) -> FetchResponse:
        """Wait for a change of any partition that was read, and read again, until the deadline."""
        is_follower = self._replica_id >= 0
        while True:
            changed = trio.Event()
            watched = self._watched
            is_outdated = False  # something came since the last reading, before anybody subscribed
            for partition, changes in watched:
                partition.subscribe(changed, log_end=is_follower)
                if partition.changes != changes:
                    is_outdated = True
            try:
                if not is_outdated:
                    with trio.move_on_at(self._deadline):
                        await changed.wait()
            finally:
                for partition, _ in watched:
                    partition.unsubscribe(changed, log_end=is_follower)
            now = trio.current_time()
            if response := self.answer(now, final=now >= self._deadline):
                return response

    # The same without a task; see `api.Pollable`.

    @property
    def deadline(self) -> float:
        return self._deadline

    def arm(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        is_follower = self._replica_id >= 0
        is_outdated = False
        for partition, changes in self._watched:
            partition.subscribe(self, log_end=is_follower)
            if partition.changes != changes:
                is_outdated = True
        if is_outdated:
            wake()

    def set(self) -> None:
        """A partition that was read has news."""
        if self._wake is not None:
            self._wake()

    def disarm(self) -> None:
        self._wake = None
        is_follower = self._replica_id >= 0
        for partition, _ in self._watched:
            partition.unsubscribe(self, log_end=is_follower)

    def poll(self, now: float) -> FetchResponse | None:
        self.disarm()
        return self.answer(now, final=now >= self._deadline)

    def _read(
        self, asked: FetchedPartition, max_bytes: int, at_least_one: bool, now: float
    ) -> tuple[PartitionData, "FetchInfo | None"]:
        """One partition's data; no `FetchInfo` with an error."""
        asked.changes = UNREAD
        try:
            partition = self._find(asked)
            if self._replica_id >= 0:
                info = partition.fetch_for_follower(
                    self._replica_id,
                    asked.fetch_offset,
                    max_bytes,
                    current_leader_epoch=asked.current_leader_epoch,
                    last_fetched_epoch=asked.last_fetched_epoch,
                    replica_epoch=self._replica_epoch,
                    log_start=asked.replica_log_start,
                    at_least_one=at_least_one,
                    now=now,
                )
            else:
                if self._rack and partition.is_leader:
                    redirection = self._redirection(partition, asked)
                    if redirection is not None:
                        return redirection, None
                info = partition.fetch_for_consumer(
                    asked.fetch_offset,
                    max_bytes,
                    current_leader_epoch=asked.current_leader_epoch,
                    read_committed=self._is_committed,
                    at_least_one=at_least_one,
                    last_fetched_epoch=asked.last_fetched_epoch,
                    also_follower=self._also_follower,
                )
        except BrokerError as error:
            return self._error(asked, error), None
        # After the reading, as a follower's moves the high watermark.
        self._watched.append((partition, partition.changes))
        data = PartitionData(
            partition_index=asked.index,
            high_watermark=info.high_watermark,
            last_stable_offset=info.last_stable_offset,
            log_start_offset=info.log_start,
            aborted_transactions=None,
            records=info.records,  # type: ignore[arg-type]  # a range passes the codec uncopied
        )
        if self._is_committed:
            # Those beyond what is sent are ignored by the client until it gets there.
            data.aborted_transactions = [
                AbortedTransaction(producer_id=txn.producer_id, first_offset=txn.first_offset)
                for txn in partition.log.aborted_transactions(
                    asked.fetch_offset, info.last_stable_offset
                )
            ]
        if info.diverging is not None:
            data.diverging_epoch = EpochEndOffset(
                epoch=info.diverging[0], end_offset=info.diverging[1]
            )
        elif not info.records:
            is_end = asked.fetch_offset >= self._end(partition, info)
            if is_end or (self._replica_id < 0 and not at_least_one):
                asked.partition = partition
                asked.changes = partition.changes
                asked.found = data
                asked.found_log_start = info.log_start
                asked.found_limit = ANY_LIMIT if is_end else max_bytes
        return data, info

    def _redirection(self, partition: "Partition", asked: FetchedPartition) -> PartitionData | None:
        """Where a consumer of this rack should read instead; None: here. Epoch errors."""
        partition.require_epoch(asked.current_leader_epoch)
        leader = BrokerId(partition.leader_id)
        racks = {
            broker: known.rack
            for broker, known in self._ctx.services.metadata.brokers.items()
            if self._ctx.listener_name in known.endpoints
        }
        followers = partition.leader.readable_from(Offset(asked.fetch_offset))
        chosen = choose_in_rack(self._rack, leader, followers, racks)
        if chosen == leader:
            return None
        return PartitionData(
            partition_index=asked.index,
            high_watermark=partition.high_watermark,
            last_stable_offset=partition.last_stable_offset,
            log_start_offset=partition.log.log_start,
            aborted_transactions=None,
            preferred_read_replica=chosen,
            records=b"",
        )

    def _end(self, partition: "Partition", info: "FetchInfo") -> int:
        """Where what this client may read ends."""
        if self._replica_id >= 0:
            return partition.log.log_end
        return info.last_stable_offset if self._is_committed else info.high_watermark

    def _find(self, asked: FetchedPartition) -> "Partition":
        services = self._ctx.services
        topic = asked.topic
        if isinstance(topic, str):
            # Any pair finds it; one with names would cost more than the search.
            partition = services.partitions.get((topic, asked.index))  # type: ignore[arg-type]
            if partition is None:
                tp = TopicPartition(topic, asked.index)
                known = services.metadata.partition(tp) is not None
                return services.partitions.require_leader(tp, known=known)
            return partition
        name = services.metadata.topic_name(topic)
        if name is not None:
            partition = services.partitions.get(TopicPartition(name, asked.index))
            if partition is None:
                tp = TopicPartition(name, asked.index)
                return services.partitions.require_leader(tp, known=True)
            if partition.topic_id != topic:
                raise InconsistentTopicId(f"{name} has id {partition.topic_id} here")
            return partition
        if topic == ZERO_TOPIC_ID:
            raise UnknownTopicId("no topic id was given")
        return services.partitions.by_topic_id(topic, asked.index)

    def _error(self, asked: FetchedPartition, error: BrokerError) -> PartitionData:
        data = PartitionData(
            partition_index=asked.index,
            error_code=error.code,
            high_watermark=-1,
            aborted_transactions=None,
            records=b"",
        )
        if self._ctx.api_version >= 12:
            name = asked.topic
            if not isinstance(name, str):
                name = self._ctx.services.metadata.topic_name(name) or ""
            leader = current_leader(error, TopicPartition(name, asked.index), self._ctx)
            if leader is not None:
                data.current_leader = LeaderIdAndEpoch(leader_id=leader[0], leader_epoch=leader[1])
        return data

    def _respond(self, results: list[tuple[FetchedPartition, PartitionData]]) -> FetchResponse:
        session = self._session
        response = FetchResponse(session_id=NO_SESSION if session is None else session.id)
        leaders: set[BrokerId] = set()
        topic: FetchableTopicResponse | None = None
        previous = None
        for asked, data in results:
            if session is not None:
                asked.found = None  # it is told now, or was before
            if self._is_incremental and not _is_news(asked, data):
                continue
            if session is not None:
                _note(session, asked, data)
            if data.current_leader.leader_id >= 0:
                leaders.add(BrokerId(data.current_leader.leader_id))
            if topic is None or asked.topic != previous:
                previous = asked.topic
                topic = FetchableTopicResponse(partitions=[])
                if isinstance(asked.topic, str):
                    topic.topic = asked.topic
                else:
                    topic.topic_id = asked.topic
                response.responses.append(topic)
            topic.partitions.append(data)
        if leaders and self._ctx.api_version >= 16:
            response.node_endpoints = [
                NodeEndpoint(node_id=leader, host=address.host, port=address.port, rack=rack)
                for leader, address, rack in leader_endpoints(leaders, self._ctx)
            ]
        return response


def handle(request: FetchRequest | KnownFetch, ctx: RequestContext) -> FetchResponse | Parked:
    if isinstance(request, KnownFetch):
        plain = request.request
        fetch = _Fetch(plain, request.asked, None, ctx)
        return fetch.answer(ctx.now, final=plain.max_wait_ms <= 0) or fetch
    uses_ids = ctx.api_version >= IDS_SINCE
    asked = _asked(request, uses_ids)
    sessions = ctx.services.fetch_sessions
    session: FetchSession | None = None
    if request.session_epoch in {INITIAL_EPOCH, FINAL_EPOCH}:
        if request.session_id != NO_SESSION:
            sessions.end(request.session_id)
        if request.session_epoch == INITIAL_EPOCH and asked:
            is_follower = replica_id(request) >= 0
            session = sessions.begin(
                uses_ids=uses_ids, is_follower=is_follower, size=len(asked), now=ctx.now
            )
        if session is not None:
            session.change(asked, ())
    else:
        session = sessions.resume(
            request.session_id, request.session_epoch, uses_ids=uses_ids, now=ctx.now
        )
        session.change(asked, _forgotten(request, uses_ids))
        if not session.partitions:
            sessions.end(session.id)
            return FetchResponse()
    # A copy: serving changes the order, and the next request may come before this one is answered.
    partitions = asked if session is None else list(session.partitions.values())
    fetch = _Fetch(request, partitions, session, ctx)
    return fetch.answer(ctx.now, final=request.max_wait_ms <= 0) or fetch


def _rack(request: FetchRequest, ctx: RequestContext) -> str:
    """The rack whose replicas a consumer prefers; empty when that makes no difference here."""
    if not request.rack_id or replica_id(request) >= 0:
        return ""
    selector = ctx.services.config.optional_str("replica.selector.class")
    return request.rack_id if selector == RACK_AWARE else ""


def replica_id(request: FetchRequest) -> int:
    """The follower's broker id; below 0 for a consumer."""
    return max(request.replica_id, request.replica_state.replica_id)


def _asked(request: FetchRequest, uses_ids: bool) -> list[FetchedPartition]:
    asked: list[FetchedPartition] = []
    for topic in request.topics:
        key = topic.topic_id if uses_ids else topic.topic
        asked += [
            FetchedPartition(
                key,
                one.partition,
                one.fetch_offset,
                one.partition_max_bytes if one.partition_max_bytes > 0 else 0,
                one.current_leader_epoch,
                one.last_fetched_epoch,
                one.log_start_offset,
            )
            for one in topic.partitions
        ]
    return asked


def _forgotten(request: FetchRequest, uses_ids: bool) -> list[Key]:
    return [
        (topic.topic_id if uses_ids else topic.topic, index)
        for topic in request.forgotten_topics_data
        for index in topic.partitions
    ]


def _is_news(asked: FetchedPartition, data: PartitionData) -> bool:
    """Whether an incremental response has to name this partition."""
    return (
        len(data.records or b"") > 0
        or data.error_code != ErrorCode.NONE
        or data.high_watermark != asked.high_watermark
        or data.log_start_offset != asked.log_start
        or data.diverging_epoch.epoch >= 0
        or data.preferred_read_replica >= 0
    )


def _note(session: FetchSession, asked: FetchedPartition, data: PartitionData) -> None:
    """Remember what the client is told; after an error the recovery has to be news."""
    asked.high_watermark = data.high_watermark if data.error_code == ErrorCode.NONE else -1
    asked.log_start = data.log_start_offset
    key = (asked.topic, asked.index)
    if len(data.records or b"") > 0 and session.partitions.get(key) is asked:
        session.serve_last(key)


API = Api(ApiKey.FETCH, versions=(4, 17), request_type=FetchRequest, handle=handle)
