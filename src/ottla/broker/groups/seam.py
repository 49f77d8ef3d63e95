"""What the groups need of a partition of the offsets topic; `partitions.Partition` has it."""

from typing import Protocol

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.producers import Origin
from ottla.runtime.interfaces import BytesLike


class Range(Protocol):
    """Bytes of a segment that are not read yet."""

    def read(self) -> bytes: ...


class Read(Protocol):
    @property
    def data(self) -> Range | bytes: ...


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

    async def wait_committed(self, end: int) -> None:
        """NotLeader, also after a mere change of epoch; NotEnoughReplicasAfterAppend."""
        ...


__all__ = ["Appended", "OffsetsLog", "OffsetsPartition", "Range", "Read"]
