"""Structures behind their own version: the offsets topic and the consumer protocol."""

import pytest

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.errors import DecodeError, UnsupportedVersion
from ottla.protocol.kafka.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
)
from ottla.protocol.kafka.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from ottla.protocol.kafka.messages.transaction_records import (
    PartitionsSchema,
    TransactionLogKey,
    TransactionLogValue,
)


@pytest.mark.parametrize(
    ("message", "version", "data"),
    [
        (
            OffsetCommitKey(group="g", topic="t", partition=3),
            1,
            "0001 0001 67 0001 74 00000003",
        ),
        (
            OffsetCommitValue(offset=5, metadata="m", commit_timestamp=6, expire_timestamp=7),
            1,
            "0001 0000000000000005 0001 6d 0000000000000006 0000000000000007",
        ),
        (
            OffsetCommitValue(offset=5, leader_epoch=2, metadata="m", commit_timestamp=6),
            3,
            "0003 0000000000000005 00000002 0001 6d 0000000000000006",
        ),
        (GroupMetadataKey(group="g"), 2, "0002 0001 67"),
        (
            GroupMetadataValue(protocol_type="c", generation=4, current_state_timestamp=9),
            3,
            "0003 0001 63 00000004 0000 0000 0000000000000009 00000000",
        ),
        (TransactionLogKey(transactional_id="x"), 0, "0000 0001 78"),
        (
            TransactionLogValue(
                producer_id=1,
                producer_epoch=2,
                transaction_timeout_ms=3,
                transaction_status=4,
                transaction_partitions=[PartitionsSchema(topic="t", partition_ids=[7])],
                transaction_last_update_timestamp_ms=5,
                transaction_start_timestamp_ms=6,
            ),
            0,
            "0000 0000000000000001 0002 00000003 04 00000001 0001 74 00000001 00000007"
            "0000000000000005 0000000000000006",
        ),
    ],
)
def test_records_of_internal_topics_have_the_bytes_of_the_schema(
    message: object, version: int, data: str
):
    encoded = codec.encode_versioned(message, version)
    assert encoded.hex() == data.replace(" ", "")
    assert codec.decode_versioned(type(message), encoded) == (version, message)
    with pytest.raises(DecodeError, match="left over"):
        codec.decode_versioned(type(message), encoded + b"\0")


def test_a_newer_subscription_is_read_as_the_newest_known():
    """A consumer may be newer than its broker: what was appended is ignored."""
    known = ConsumerProtocolSubscription(
        topics=["t"],
        owned_partitions=[TopicPartition(topic="t", partitions=[1])],
        generation_id=4,
        rack_id="r",
    )
    data = codec.encode_versioned(known, 3)
    assert codec.decode_versioned(ConsumerProtocolSubscription, data) == (3, known)
    newer = b"\0\x09" + data[2:] + b"what comes later"
    read = codec.decode_versioned(ConsumerProtocolSubscription, newer, allow_newer=True)
    assert read == (9, known)
    with pytest.raises(UnsupportedVersion):
        codec.decode_versioned(ConsumerProtocolSubscription, newer)


def test_user_data_may_be_null_or_bytes():
    for user_data in (None, b"", b"abc"):
        message = ConsumerProtocolAssignment(user_data=user_data)
        data = codec.encode_versioned(message, 1)
        assert codec.decode_versioned(ConsumerProtocolAssignment, data) == (1, message)


def test_a_missing_or_impossible_version_is_refused():
    with pytest.raises(DecodeError, match="1 bytes cannot hold a version"):
        codec.decode_versioned(OffsetCommitKey, b"\0")
    with pytest.raises(UnsupportedVersion):
        codec.decode_versioned(OffsetCommitKey, b"\xff\xff")
    with pytest.raises(UnsupportedVersion, match="GroupMetadataKey has versions 2 to 2, not 1"):
        codec.decode_versioned(GroupMetadataKey, b"\0\1\0\1g")
