"""Keys and values of the records in `__consumer_offsets`.

Both start with their version as int16: see `codec.decode_versioned`. A key's version tells what the
record is: 0 and 1 an offset, 2 the metadata of a classic group; a null value is a tombstone. Offset
values carry an expiry in version 1 only and a leader epoch from 3 on; the metadata of a group has
the time of its last change from 2, static members from 3 (KIP-345); 4 is flexible (KIP-915).
"""

from ottla.protocol.kafka.schema import BYTES, INT32, INT64, STRING, array, at, message, struct


@message(versions=(0, 1))
class OffsetCommitKey:
    group: str = at(STRING)
    topic: str = at(STRING)
    partition: int = at(INT32)


@message(versions=(0, 4), flexible_from=4)
class OffsetCommitValue:
    offset: int = at(INT64)
    leader_epoch: int = at(INT32, since=3, default=-1, ignorable=True)
    metadata: str = at(STRING)
    commit_timestamp: int = at(INT64)
    expire_timestamp: int = at(INT64, since=1, until=1, default=-1, ignorable=True)


@message(versions=(2, 2))
class GroupMetadataKey:
    group: str = at(STRING)


@struct
class MemberMetadata:
    member_id: str = at(STRING)
    group_instance_id: str | None = at(STRING, since=3, nullable=True, default=None, ignorable=True)
    client_id: str = at(STRING)
    client_host: str = at(STRING)
    rebalance_timeout: int = at(INT32, since=1, default=-1, ignorable=True)
    session_timeout: int = at(INT32)
    subscription: bytes = at(BYTES)
    assignment: bytes = at(BYTES)


@message(versions=(0, 4), flexible_from=4)
class GroupMetadataValue:
    protocol_type: str = at(STRING)
    generation: int = at(INT32)
    protocol: str | None = at(STRING, nullable=True)
    leader: str | None = at(STRING, nullable=True)
    current_state_timestamp: int = at(INT64, since=2, default=-1, ignorable=True)
    members: list[MemberMetadata] = at(array(MemberMetadata))
