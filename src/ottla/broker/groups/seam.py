"""What the groups need of a partition of the offsets topic; `partitions.Partition` has it."""

from typing import Protocol

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.producers import Origin
from ottla.broker.storage.reading import FileRange
from ottla.runtime.interfaces import BytesLike


class Read(Protocol):
    @property
    def data(self) -> FileRange | bytes: ...


class OffsetsLog(Protocol):
    @property
    def log_start(self) -> int: ...

    @property
    def log_end(self) -> int: ...

    def read(self, offset: int, max_bytes: int, *, end: int, at_least_one: bool) -> Read:
        """Whole batches from the one that holds `offset`, up to `end`. OffsetOutOfRange."""
        ...


class Appended(Protocol):
    @property
    def first_offset(self) -> int: ...

    @property
    def last_offset(self) -> int: ...


class OffsetsPartition(Protocol):
    @property
    def tp(self) -> TopicPartition: ...

    @property
    def log(self) -> OffsetsLog: ...

    @property
    def is_leader(self) -> bool: ...

    def append_as_leader(
        self, data: BytesLike, *, acks: int, origin: Origin = Origin.CLIENT
    ) -> Appended:
        """BrokerError: NotLeader, NotEnoughReplicas, KafkaStorageError, RecordTooLarge ..."""
        ...

    def is_committed(self, end: int) -> bool: ...

    def is_damaged(self, records: FileRange, offset: int) -> bool:
        """Whether `records`, which could not be used, are damaged in the log and nowhere better.

        CorruptLog: they are better in another replica, and this one gives its log up.
        """
        ...

    async def wait_committed(self, end: int) -> None:
        """NotLeader, also after a mere change of epoch; NotEnoughReplicasAfterAppend."""
        ...


__all__ = ["Appended", "OffsetsLog", "OffsetsPartition", "Read"]
