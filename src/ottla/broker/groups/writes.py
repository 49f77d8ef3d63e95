"""Records on their way from a group to the committed part of the log."""

from dataclasses import dataclass
from typing import Protocol

from ottla.broker.groups.group import Group
from ottla.broker.groups.records import (
    encode_group,
    encode_group_key,
    encode_offset,
    encode_offset_key,
)
from ottla.broker.groups.reply import Reply
from ottla.broker.groups.values import Effect, GroupWrite, Moment, OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode

LogRecord = tuple[bytes, bytes | None]  # key, value

_UNAVAILABLE = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
)
_MOVED = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.KAFKA_STORAGE_ERROR})
_TOO_LARGE = frozenset({ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE})


class Write(Protocol):
    """What a shard appends and follows. `fail` at most once, before `commit` if both come."""

    group: Group

    def records(self) -> list[LogRecord]: ...

    def appended(self) -> None:
        """The log has taken the records; `commit` follows unless the partition moves away."""
        ...

    def commit(self, first_offset: int, now: Moment) -> list[Effect]:
        """The records are committed, the first at `first_offset`."""
        ...

    def fail(self, error: ErrorCode, now: Moment) -> list[Effect]:
        """Tell whoever waits that it failed, with the log's error code."""
        ...

    def may_expire_sooner(self) -> bool:
        """Whether the group's offsets may have to go earlier than was planned before."""
        ...


@dataclass(slots=True, eq=False)
class GenerationWrite:
    """The metadata of a group."""

    group: Group
    write: GroupWrite

    def records(self) -> list[LogRecord]:
        return [(encode_group_key(self.group.group_id), encode_group(self.write.record))]

    def appended(self) -> None:
        self.group.undecided += 1

    def commit(self, first_offset: int, now: Moment) -> list[Effect]:
        self.group.undecided -= 1
        return self.group.committed(self.write, now)

    def fail(self, error: ErrorCode, now: Moment) -> list[Effect]:
        if error is ErrorCode.REQUEST_TIMED_OUT:
            seen = ErrorCode.REBALANCE_IN_PROGRESS
        elif error in _TOO_LARGE:
            seen = ErrorCode.UNKNOWN_SERVER_ERROR
        else:
            seen = client_error(error)
        return self.group.failed(self.write, seen, now)

    def may_expire_sooner(self) -> bool:
        return True


@dataclass(slots=True, eq=False)
class OffsetsWrite:
    """Offsets, or tombstones (None) for them; with `ends_group`, for the group's metadata too."""

    group: Group
    entries: list[tuple[TopicPartition, OffsetEntry | None]]
    reply: Reply[ErrorCode] | None = None
    ends_group: bool = False

    def records(self) -> list[LogRecord]:
        group_id = self.group.group_id
        records: list[LogRecord] = [
            (encode_offset_key(group_id, tp), None if entry is None else encode_offset(entry))
            for tp, entry in self.entries
        ]
        if self.ends_group:
            records.append((encode_group_key(group_id), None))
        return records

    def appended(self) -> None:
        self.group.offsets.begin(tp for tp, _ in self.entries)

    def commit(self, first_offset: int, now: Moment) -> list[Effect]:
        offsets = self.group.offsets
        offsets.end(tp for tp, _ in self.entries)
        for log_offset, (tp, entry) in enumerate(self.entries, first_offset):
            offsets.apply(tp, entry, log_offset)
        if self.ends_group:
            self.group.apply(None)
        self._answer(ErrorCode.NONE)
        return []

    def fail(self, error: ErrorCode, now: Moment) -> list[Effect]:
        self._answer(
            ErrorCode.INVALID_COMMIT_OFFSET_SIZE if error in _TOO_LARGE else client_error(error)
        )
        return []

    def may_expire_sooner(self) -> bool:
        return any(entry is not None and entry.expire_ms >= 0 for _, entry in self.entries)

    def _answer(self, code: ErrorCode) -> None:
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.set(code)


def client_error(error: ErrorCode) -> ErrorCode:
    """How a member of a group is told that the offsets topic did not take its records."""
    if error in _UNAVAILABLE:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if error in _MOVED:
        return ErrorCode.NOT_COORDINATOR
    return error


__all__ = ["GenerationWrite", "LogRecord", "OffsetsWrite", "Write", "client_error"]
