"""Consumers by assignment: each reads some partitions from their start and misses nothing."""

from typing import NamedTuple

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import DecodeError, ErrorCode
from ottla.protocol.kafka.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from ottla.protocol.kafka.records import iter_headers, read_records, validate_crc
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History

GO_ELSEWHERE = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.FENCED_LEADER_EPOCH,
    ErrorCode.UNKNOWN_LEADER_EPOCH,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.OFFSET_NOT_AVAILABLE,
    ErrorCode.CORRUPT_MESSAGE,
}

OUT_OF_RANGE_S = 60.0


class Fetched(NamedTuple):
    """One answer. `records` are (offset, key, value), `end` is where to go on.

    `preferred`: the broker to read from instead (KIP-392), -1: this one. `log_start`: where the log
    begins, -1: not told.
    """

    code: ErrorCode
    high_watermark: int
    records: list[tuple[int, bytes, bytes | None]]
    end: int
    preferred: int = -1
    log_start: int = -1


async def fetch(
    port: KafkaPort,
    history: History,
    tp: TopicPartition,
    offset: int,
    *,
    version: int = 11,
    rack: str = "",
    follower: int = -1,
) -> Fetched:
    """Ask the known leader, or this follower, once. LinkLost.

    Records before `offset`, of a batch that begins earlier, are left out. Brokers send bytes as
    they are on the disk; it is the client that checks them: CORRUPT_MESSAGE.
    """
    leader = await port.leader(tp)
    request = FetchRequest(
        max_wait_ms=port.rng.choice((500, 3000, 3000)),
        min_bytes=1,
        max_bytes=1 << 20,
        session_id=0,
        session_epoch=-1,
        topics=[
            FetchTopic(
                topic=tp.topic,
                partitions=[
                    FetchPartition(
                        partition=tp.partition,
                        current_leader_epoch=port.leaders[tp][1] if version >= 9 else -1,
                        fetch_offset=offset,
                        partition_max_bytes=port.rng.choice((200, 4096, 1 << 20)),
                    )
                ],
            )
        ],
        rack_id=rack,
    )
    answer = await port.ask(leader if follower < 0 else follower, request, version, 8.0)
    if answer.error_code:
        return Fetched(ErrorCode(answer.error_code), -1, [], offset)
    [row] = answer.responses[0].partitions
    records: list[tuple[int, bytes, bytes | None]] = []
    end = offset
    data = bytes(row.records or b"")
    try:
        for position, header in iter_headers(data):
            validate_crc(data, position, header)
            end = max(end, header.last_offset + 1)
            if header.is_control:
                continue
            records += [
                (record.offset, record.key, record.value)
                for record in read_records(data, position)
                if record.offset >= offset
            ]
    except DecodeError as error:
        history.unreadable(tp, str(error))
        if not records:
            return Fetched(ErrorCode.CORRUPT_MESSAGE, -1, [], offset)
    if row.error_code == ErrorCode.CORRUPT_MESSAGE:
        history.unreadable(tp, "says the broker")
    return Fetched(
        ErrorCode(row.error_code),
        row.high_watermark,
        records,
        end,
        row.preferred_read_replica,
        row.log_start_offset,
    )


class Reader:
    """Reads one partition in order; `position` only grows."""

    def __init__(self, port: KafkaPort, history: History, tp: TopicPartition) -> None:
        self.tp = tp
        self.position = 0
        self.log: list[tuple[int, bytes]] = []
        self.caught_up_at = -1.0  # when a fetch last found nothing left below the high watermark
        self._out_of_range_since: float | None = None
        self._port = port
        self._history = history
        self._version = port.rng.choice((4, 9, 11, 12))

    async def run(self) -> None:
        while True:
            await self.step()

    def _is_lost(self) -> bool:
        """Without a leader epoch in the request (KIP-320), a deposed leader that has not heard of
        it yet answers that a newer position is out of range; but not for long.
        """
        now = trio.current_time()
        if self._out_of_range_since is None:
            self._out_of_range_since = now
        return now - self._out_of_range_since > OUT_OF_RANGE_S or self.tp in self._history.excused

    async def _fetch(self) -> Fetched:
        return await fetch(self._port, self._history, self.tp, self.position, version=self._version)

    async def step(self) -> bool:
        """One fetch; whether anything came."""
        port, tp = self._port, self.tp
        try:
            code, high_watermark, records, end, *_ = await self._fetch()
        except LinkLost:
            port.leader_unknown(tp)
            return False
        if code is ErrorCode.OFFSET_OUT_OF_RANGE and self._version < 9 and not self._is_lost():
            port.leader_unknown(tp)
            await trio.sleep(0.5)
        elif code is ErrorCode.OFFSET_OUT_OF_RANGE:
            self._history.lost_position(tp, self.position)
            self.position, self.log, end = 0, [], 0
        elif code in GO_ELSEWHERE:
            port.leader_unknown(tp)
            await trio.sleep(0.1)
        else:
            assert code is ErrorCode.NONE, code
        for offset, _, value in records:
            assert offset >= self.position
            assert value is not None
            self._out_of_range_since = None
            self._history.read(tp, offset, value)
            self.log.append((offset, value))
            self.position = offset + 1
        self.position = max(self.position, end)
        if code is ErrorCode.NONE and self.position >= high_watermark:
            self.caught_up_at = trio.current_time()
        return bool(records)
