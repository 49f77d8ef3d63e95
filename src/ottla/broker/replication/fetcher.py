"""Copies partitions from their leaders: one task per leader broker, with the real Fetch API.

Uses incremental fetch sessions (KIP-227), so that an idle round costs nothing per partition, and
lets each answer carry the divergence of histories (KIP-595's fields of Fetch v12). What a partition
does with an answer is the partition's business (`FollowedPartition`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol
from uuid import UUID

import trio

from ottla.broker.errors import BrokerError
from ottla.broker.ids import BrokerEpoch, BrokerId, TopicPartition
from ottla.broker.link import BrokerLink
from ottla.broker.replication.leader_range import leader_range
from ottla.broker.storage.group_commit import Settling
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    ReplicaState,
)
from ottla.runtime.interfaces import Address, BytesLike, Events

FETCH_VERSION = 17

SESSION_ERRORS = frozenset(
    (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
    )
)


class FollowedPartition(Protocol):
    """A partition that follows, as the fetcher sees it."""

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def topic_id(self) -> UUID: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def log(self) -> "FollowedLog": ...

    def append_fetched(
        self, records: BytesLike, leader_high_watermark: int, leader_log_start: int
    ) -> None: ...

    def truncate_after_divergence(self, leader_epoch: int, leader_end: int) -> None: ...

    def on_out_of_range(self, leader_start: int, leader_end: int) -> None: ...


class FollowedLog(Protocol):
    @property
    def log_start(self) -> int: ...

    @property
    def log_end(self) -> int: ...

    @property
    def settled_end(self) -> int:
        """How far `flush.messages` is kept; the log's end, or below it for a while."""
        ...

    @property
    def latest_epoch(self) -> int: ...

    @property
    def is_flushed_by_count(self) -> bool:
        """Whether each append, or each few, has to be on stable storage before the next fetch."""
        ...

    def settling(self) -> "Settling": ...


@dataclass(frozen=True, slots=True)
class FetcherSettings:
    """Times in seconds, sizes in bytes; the `replica.fetch.*` keys."""

    broker_id: BrokerId
    wait_max: float
    min_bytes: int
    partition_max_bytes: int
    response_max_bytes: int
    backoff: float
    socket_timeout: float
    fetchers_per_leader: int


# What a leader says that has not heard of its role yet.
_NOT_YET_LEADER = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_LEADER_EPOCH,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
)
_FIRST_PAUSE_S = 0.02


class Asked(NamedTuple):
    """What the leader's fetch session holds of one partition."""

    topic_id: UUID
    offset: int
    log_start: int
    leader_epoch: int
    last_fetched_epoch: int


def _asked_of(partition: FollowedPartition) -> Asked:
    log = partition.log
    return Asked(
        partition.topic_id,
        log.log_end,
        log.log_start,
        partition.leader_epoch,
        log.latest_epoch,
    )


def _is_unsettled(partition: FollowedPartition) -> bool:
    log = partition.log
    return log.settled_end < log.log_end


class LeaderFetcher:
    """The task that copies some partitions from one leader broker.

    `follow` and `unfollow` may be called at any time by the loop's other tasks; `run` is the task.
    """

    def __init__(
        self,
        leader: BrokerId,
        link: BrokerLink,
        settings: FetcherSettings,
        broker_epoch: Callable[[], BrokerEpoch],
        events: Events,
    ) -> None:
        self.leader = leader
        self._link = link
        self._settings = settings
        self._broker_epoch = broker_epoch
        self._events = events
        self._followed: dict[TopicPartition, FollowedPartition] = {}
        self._by_id: dict[tuple[UUID, int], TopicPartition] = {}
        # Partitions that failed are left out of the session until then.
        self._retry_at: dict[TopicPartition, float] = {}
        # How long each was left out last because its leader did not know of its role yet.
        self._pauses: dict[TopicPartition, float] = {}
        # What the leader's session holds, and the partitions of which that may no longer be true.
        # So a round costs what changed, not what is followed.
        self._asked: dict[TopicPartition, Asked] = {}
        self._stale: dict[TopicPartition, None] = {}
        self._session_id = 0
        self._session_epoch = 0
        self._changed = trio.Event()
        self._patience = trio.CancelScope()  # ends when an answer takes too long
        self._in_flight = False
        self._interrupted = False
        self._connected = True

    def __len__(self) -> int:
        return len(self._followed)

    def follow(self, partition: FollowedPartition) -> None:
        """Copy this partition from now on, under its present leader epoch."""
        self.unfollow(partition.tp)
        self._followed[partition.tp] = partition
        self._by_id[partition.topic_id, partition.tp.partition] = partition.tp
        self._interrupt()

    def followed(self) -> list[FollowedPartition]:
        return list(self._followed.values())

    def unfollow(self, tp: TopicPartition) -> None:
        partition = self._followed.pop(tp, None)
        self._stale[tp] = None
        if partition is not None:
            self._by_id.pop((partition.topic_id, tp.partition), None)
        self._retry_at.pop(tp, None)
        self._pauses.pop(tp, None)

    def _interrupt(self) -> None:
        # A new partition must not wait for the end of a long poll that does not ask for it.
        self._changed.set()
        if self._in_flight:
            # The leader would answer the next request only after the abandoned long poll.
            self._interrupted = True
            self._link.disconnect()

    def close(self) -> None:
        self._link.close()

    async def run(self) -> None:
        """Fetch until cancelled."""
        settings = self._settings
        while True:
            with trio.CancelScope() as self._patience:
                while True:
                    if self._followed:
                        await self._round()
                    else:
                        self._changed = trio.Event()
                        await self._changed.wait()
            # Only the timer of the request ends the rounds.
            self._in_flight = False
            self._link.disconnect()
            self._lost(f"no answer within {settings.wait_max + settings.socket_timeout:g} s")
            await self._pause(settings.backoff)

    async def _round(self) -> None:
        now = trio.current_time()
        request = self._build(now)
        if request is None:
            await self._wait_for_retry(now)
            return
        settings = self._settings
        self._patience.deadline = now + settings.wait_max + settings.socket_timeout
        self._in_flight, self._interrupted = True, False
        try:
            response: FetchResponse = await self._link.request_unbounded(request, FETCH_VERSION)
        except OSError as error:
            self._patience.deadline = math.inf
            await self._give_up(str(error))
            return
        finally:
            self._in_flight = False
        self._connected = True
        self._take_session(response)
        if response.error_code == ErrorCode.NONE:
            await self._take(response)
        elif response.error_code not in SESSION_ERRORS:
            self._patience.deadline = math.inf
            self._lost(ErrorCode(response.error_code).name)
            await self._pause(settings.backoff)

    async def _give_up(self, reason: str) -> None:
        """There is no answer, because the link broke, or was cut for the sake of a new request."""
        if self._interrupted:
            self._reset_session()
        else:
            self._lost(reason)
            await self._pause(self._settings.backoff)

    def _lost(self, reason: str) -> None:
        self._reset_session()
        if self._connected:
            self._connected = False
            self._events.info("fetcher.leader_lost", leader=self.leader, reason=reason)

    async def _pause(self, seconds: float) -> None:
        self._changed = trio.Event()
        with trio.move_on_after(seconds):
            await self._changed.wait()

    async def _wait_for_retry(self, now: float) -> None:
        self._patience.deadline = math.inf
        await self._pause(max(min(self._retry_at.values(), default=now) - now, 0.01))

    # Sessions

    def _reset_session(self) -> None:
        self._session_id = 0
        self._session_epoch = 0
        self._asked.clear()

    def _take_session(self, response: FetchResponse) -> None:
        if response.error_code != ErrorCode.NONE:
            self._reset_session()
        elif self._session_epoch == 0:
            self._session_id = response.session_id
            self._session_epoch = 1 if response.session_id else 0
        else:
            self._session_epoch = self._session_epoch % 0x7FFFFFFF + 1

    def _build(self, now: float) -> FetchRequest | None:
        """The next request; None when there is nothing that may be asked for now."""
        full = self._session_epoch == 0
        if full:
            self._asked.clear()
        for tp in [tp for tp, at in self._retry_at.items() if at <= now]:
            del self._retry_at[tp]
            self._stale[tp] = None
        stale, self._stale = self._stale, {}
        topics: dict[UUID, FetchTopic] = {}
        forgotten: dict[UUID, ForgottenTopic] = {}
        for tp in self._followed if full else stale:
            partition = None if tp in self._retry_at else self._followed.get(tp)
            if partition is not None and _is_unsettled(partition):
                self._stale[tp] = None
                partition = None
            asked = None if partition is None else _asked_of(partition)
            before = self._asked.get(tp)
            if asked == before:
                continue
            if before is not None and (asked is None or asked.topic_id != before.topic_id):
                del self._asked[tp]
                forgotten.setdefault(
                    before.topic_id, ForgottenTopic(topic_id=before.topic_id, partitions=[])
                ).partitions.append(tp.partition)
            if asked is not None:
                self._asked[tp] = asked
                topic = topics.get(asked.topic_id)
                if topic is None:
                    topic = topics[asked.topic_id] = FetchTopic(
                        topic_id=asked.topic_id, partitions=[]
                    )
                topic.partitions.append(self._fetch_partition(tp, asked))
        if not self._asked:
            # A full request, once there is something to ask for, ends the session it names.
            self._session_epoch = 0
            return None
        settings = self._settings
        return FetchRequest(
            replica_state=ReplicaState(
                replica_id=settings.broker_id, replica_epoch=self._broker_epoch()
            ),
            max_wait_ms=int(settings.wait_max * 1000),
            min_bytes=settings.min_bytes,
            max_bytes=settings.response_max_bytes,
            session_id=self._session_id,
            session_epoch=self._session_epoch,
            topics=list(topics.values()),
            forgotten_topics_data=list(forgotten.values()),
        )

    def _fetch_partition(self, tp: TopicPartition, asked: Asked) -> FetchPartition:
        return FetchPartition(
            partition=tp.partition,
            current_leader_epoch=asked.leader_epoch,
            fetch_offset=asked.offset,
            last_fetched_epoch=asked.last_fetched_epoch,
            log_start_offset=asked.log_start,
            partition_max_bytes=self._settings.partition_max_bytes,
        )

    # Answers

    async def _take(self, response: FetchResponse) -> None:
        out_of_range: list[FollowedPartition] = []
        unsettled: list[FollowedPartition] = []
        for topic in response.responses:
            for data in topic.partitions:
                tp = self._by_id.get((topic.topic_id, data.partition_index))
                if tp is None:
                    continue
                self._stale[tp] = None
                partition = self._followed[tp]
                asked = self._asked.get(tp)
                # Role or log changed while the request was under way: the answer is of no use.
                if (
                    asked is None
                    or asked.leader_epoch != partition.leader_epoch
                    or asked.offset != partition.log.log_end
                ):
                    continue
                if data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
                    out_of_range.append(partition)
                else:
                    self._take_partition(partition, data)
                    if _is_unsettled(partition):
                        unsettled.append(partition)
        if unsettled:
            await self._settle(unsettled)
        for partition in out_of_range:
            await self._find_range(partition)

    async def _settle(self, partitions: list[FollowedPartition]) -> None:
        """Wait until these are on stable storage as their topics demand.

        To ask for an offset says that all before it is. The flushes run side by side; a partition
        whose flush takes very long is left out of the next requests.
        """
        self._patience.deadline = math.inf
        with trio.move_on_after(self._settings.wait_max):
            for partition in partitions:
                try:
                    await partition.log.settling().wait()
                except BrokerError as error:
                    self._fail(partition.tp, error.code.name)

    def _take_partition(self, partition: FollowedPartition, data: PartitionData) -> None:
        if data.error_code in _NOT_YET_LEADER:
            self._wait_for_role(partition.tp, ErrorCode(data.error_code).name)
            return
        if data.error_code != ErrorCode.NONE:
            self._fail(partition.tp, ErrorCode(data.error_code).name)
            return
        if self._pauses:
            self._pauses.pop(partition.tp, None)
        try:
            if data.diverging_epoch.end_offset >= 0:
                partition.truncate_after_divergence(
                    data.diverging_epoch.epoch, data.diverging_epoch.end_offset
                )
            else:
                log_end = partition.log.log_end
                partition.append_fetched(
                    data.records or b"", data.high_watermark, data.log_start_offset
                )
                if data.records and partition.log.log_end == log_end:
                    # A leader sends the first batch whole; this one's length must be damaged.
                    self._fail(partition.tp, "no whole batch")
        except BrokerError as error:
            self._refused(partition.tp, error)

    def _refused(self, tp: TopicPartition, error: BrokerError) -> None:
        """The log does not take it, as when its disk is full."""
        self._events.warning("fetcher.append_failed", partition=str(tp), reason=str(error))
        self._fail(tp, error.code.name)

    def _wait_for_role(self, tp: TopicPartition, reason: str) -> None:
        """The controller told us first: writes with acks=all wait for us, so ask again soon."""
        pause = min(2 * self._pauses.get(tp, _FIRST_PAUSE_S / 2), self._settings.backoff)
        self._pauses[tp] = pause
        self._fail(tp, reason, pause)

    def _fail(self, tp: TopicPartition, reason: str, pause: float | None = None) -> None:
        self._stale[tp] = None
        self._retry_at[tp] = trio.current_time() + (pause or self._settings.backoff)
        self._events.debug(
            "fetcher.partition_delayed", partition=str(tp), leader=self.leader, reason=reason
        )

    async def _find_range(self, partition: FollowedPartition) -> None:
        """OFFSET_OUT_OF_RANGE: learn the leader's range and move into it."""
        epoch = partition.leader_epoch
        self._patience.deadline = math.inf  # these requests have timers of their own
        try:
            start, end = await leader_range(
                self._link,
                self._settings.broker_id,
                partition.tp,
                epoch,
                timeout_s=self._settings.socket_timeout,
            )
        except OSError as error:
            self._lost(str(error))
            return
        followed = self._followed.get(partition.tp) is partition
        if start is None or end is None or not followed or epoch != partition.leader_epoch:
            self._fail(partition.tp, "OFFSET_OUT_OF_RANGE")
            return
        try:
            partition.on_out_of_range(start, end)
        except BrokerError as error:
            self._refused(partition.tp, error)


class Fetchers:
    """All leader fetchers of a broker; starts them as leaders appear and ends idle ones."""

    def __init__(
        self,
        settings: FetcherSettings,
        connect: Callable[[BrokerId, Address, str], BrokerLink],
        broker_epoch: Callable[[], BrokerEpoch],
        events: Events,
    ) -> None:
        """`connect(leader, address, client_id)` makes a link that only this fetcher uses."""
        self._settings = settings
        self._connect = connect
        self._broker_epoch = broker_epoch
        self._events = events
        self._running: dict[tuple[BrokerId, int], tuple[LeaderFetcher, Address]] = {}
        self._scopes: dict[LeaderFetcher, trio.CancelScope] = {}
        self._where: dict[TopicPartition, LeaderFetcher] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the fetchers' tasks until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._ended = True

    def follow(self, partition: FollowedPartition, leader: BrokerId, address: Address) -> None:
        """Copy `partition` from `leader`, and no longer from anyone else."""
        self.unfollow(partition.tp)
        if self._ended:
            return  # the broker stops; a request of the controller was still on its way in
        fetcher = self._fetcher(leader, address, partition)
        fetcher.follow(partition)
        self._where[partition.tp] = fetcher

    def unfollow(self, tp: TopicPartition) -> None:
        fetcher = self._where.pop(tp, None)
        if fetcher is not None:
            fetcher.unfollow(tp)

    def resize(self, fetchers_per_leader: int) -> None:
        """Spread what is followed over another number of connections to each leader."""
        if fetchers_per_leader == self._settings.fetchers_per_leader:
            return
        self._settings = replace(self._settings, fetchers_per_leader=fetchers_per_leader)
        self.rearrange()

    def rearrange(self) -> None:
        """Have every partition at the connection where it belongs; `flush.messages` may change."""
        for (leader, slot), (fetcher, address) in list(self._running.items()):
            for partition in fetcher.followed():
                if self._slot(partition) != slot:
                    self.follow(partition, leader, address)
        self.drop_idle()

    def drop_idle(self) -> None:
        """End the fetchers that have nothing to copy; after a LeaderAndIsr."""
        for key, (fetcher, _) in list(self._running.items()):
            if not len(fetcher):
                self._end(key, fetcher)

    def _slot(self, partition: FollowedPartition) -> int:
        """Which of a leader's connections: those from `fetchers_per_leader` on are for logs whose
        syncs would keep the others waiting (`LeaderFetcher._settle`).
        """
        tp, count = partition.tp, self._settings.fetchers_per_leader
        slot = (31 * sum(tp.topic.encode()) + tp.partition) % count
        return slot + count if partition.log.is_flushed_by_count else slot

    def _fetcher(
        self, leader: BrokerId, address: Address, partition: FollowedPartition
    ) -> LeaderFetcher:
        assert self._nursery is not None, "Fetchers.run is not running"
        slot = self._slot(partition)
        key = (leader, slot)
        running = self._running.get(key)
        if running is not None:
            fetcher, known = running
            if known == address:
                return fetcher
            # The leader came back elsewhere; its partitions are told one by one.
            self._end(key, fetcher)
        client_id = f"broker-{self._settings.broker_id}-fetcher-{slot}"
        fetcher = LeaderFetcher(
            leader,
            self._connect(leader, address, client_id),
            self._settings,
            self._broker_epoch,
            self._events,
        )
        self._running[key] = (fetcher, address)
        scope = self._scopes[fetcher] = trio.CancelScope()
        self._nursery.start_soon(self._run_one, fetcher, scope, name=f"fetcher {leader}/{slot}")
        return fetcher

    @staticmethod
    async def _run_one(fetcher: LeaderFetcher, scope: trio.CancelScope) -> None:
        """`scope` may be cancelled already: a fetcher can be ended before it begins."""
        with scope:
            try:
                await fetcher.run()
            finally:
                fetcher.close()

    def _end(self, key: tuple[BrokerId, int], fetcher: LeaderFetcher) -> None:
        del self._running[key]
        self._scopes.pop(fetcher).cancel()
