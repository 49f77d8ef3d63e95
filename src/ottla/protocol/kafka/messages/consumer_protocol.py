"""What consumers put into the opaque bytes of JoinGroup and SyncGroup.

The bytes start with the version as int16: see `codec.decode_versioned`. Version 1 lists the
partitions a member owns (KIP-429), 2 the generation they are from (KIP-792), 3 the rack (KIP-881).
"""

from ottla.protocol.kafka.schema import BYTES, INT32, STRING, array, at, message, struct


@struct
class TopicPartition:
    topic: str = at(STRING)
    partitions: list[int] = at(array(INT32))


@message(versions=(0, 3))
class ConsumerProtocolSubscription:
    topics: list[str] = at(array(STRING))
    user_data: bytes | None = at(BYTES, nullable=True, default=None)
    owned_partitions: list[TopicPartition] = at(array(TopicPartition), since=1, ignorable=True)
    generation_id: int = at(INT32, since=2, default=-1, ignorable=True)
    rack_id: str | None = at(STRING, since=3, nullable=True, default=None, ignorable=True)


@message(versions=(0, 3))
class ConsumerProtocolAssignment:
    assigned_partitions: list[TopicPartition] = at(array(TopicPartition))
    user_data: bytes | None = at(BYTES, nullable=True, default=None)
