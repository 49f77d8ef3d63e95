"""Bytes of __consumer_offsets, derived by hand from the tables of Kafka's message schemas."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.broker.groups.records import (
    GroupKey,
    OffsetKey,
    decode_group,
    decode_key,
    decode_offset,
    encode_group,
    encode_group_key,
    encode_offset,
    encode_offset_key,
)
from ottla.broker.groups.values import GroupRecord, MemberRecord, OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import DecodeError

OFFSET_KEY = bytes.fromhex(
    "0001"  # version
    "0001 67"  # group "g"
    "0005 746f706963"  # topic "topic"
    "00000003"  # partition
)
OFFSET_VALUE = bytes.fromhex(
    "0003"  # version
    "000000000000002a"  # offset 42
    "00000007"  # leader epoch
    "0004 6e6f7465"  # metadata "note"
    "0000018bcfe56800"  # commit timestamp 1700000000000
)
EXPIRING_VALUE = bytes.fromhex(
    "0001"  # version
    "000000000000002a"  # offset
    "0004 6e6f7465"  # metadata
    "0000018bcfe56800"  # commit timestamp
    "0000018bcfe56be8"  # expire timestamp, a second later
)
GROUP_KEY = bytes.fromhex("0002 0001 67")
GROUP_VALUE = bytes.fromhex(
    "0003"  # version
    "0008 636f6e73756d6572"  # protocol type "consumer"
    "00000002"  # generation
    "0005 72616e6765"  # protocol "range"
    "0001 6d"  # leader "m"
    "0000018bcfe56800"  # current state timestamp
    "00000001"  # members
    "0001 6d"  # member id "m"
    "0001 69"  # group instance id "i"
    "0001 63"  # client id "c"
    "0003 2f3a31"  # client host "/:1"
    "0000ea60"  # rebalance timeout 60000
    "00002710"  # session timeout 10000
    "00000002 0102"  # subscription
    "00000003 030405"  # assignment
)
EMPTY_GROUP_VALUE = bytes.fromhex(
    "0003"
    "0008 636f6e73756d6572"
    "00000003"  # generation
    "ffff"  # no protocol
    "ffff"  # no leader
    "0000018bcfe56800"
    "00000000"  # no members
)
ENTRY = OffsetEntry(42, 7, "note", 1_700_000_000_000)
RECORD = GroupRecord(
    generation=2,
    protocol_type="consumer",
    protocol="range",
    leader="m",
    state_since_ms=1_700_000_000_000,
    members=(MemberRecord("m", "i", "c", "/:1", 10_000, 60_000, b"\1\2", b"\3\4\5"),),
)


def test_offset_record() -> None:
    tp = TopicPartition("topic", 3)
    assert encode_offset_key("g", tp) == OFFSET_KEY
    assert decode_key(OFFSET_KEY) == OffsetKey("g", tp)
    assert encode_offset(ENTRY) == OFFSET_VALUE
    assert decode_offset(OFFSET_VALUE) == ENTRY


def test_offset_with_an_expiry_of_its_own_is_written_as_version_1() -> None:
    expiring = OffsetEntry(42, -1, "note", 1_700_000_000_000, 1_700_000_001_000)
    assert encode_offset(expiring) == EXPIRING_VALUE
    assert decode_offset(EXPIRING_VALUE) == expiring


def test_group_record() -> None:
    assert encode_group_key("g") == GROUP_KEY
    assert decode_key(GROUP_KEY) == GroupKey("g")
    assert encode_group(RECORD) == GROUP_VALUE
    assert decode_group(GROUP_VALUE) == RECORD


def test_record_of_an_empty_group() -> None:
    empty = GroupRecord(3, "consumer", None, None, 1_700_000_000_000, ())
    assert encode_group(empty) == EMPTY_GROUP_VALUE
    assert decode_group(EMPTY_GROUP_VALUE) == empty


def test_older_values_are_read() -> None:
    """Version 0: no timestamps beside the commit's; one timeout for session and rebalance."""
    offset = bytes.fromhex("0000 000000000000002a 0000 0000018bcfe56800")
    assert decode_offset(offset) == OffsetEntry(42, -1, "", 1_700_000_000_000)
    group = bytes.fromhex(
        "0000 0000 00000001 0001 70 0001 6d 00000001 0001 6d 0000 0000 00002710 00000000 00000000"
    )
    record = decode_group(group)
    assert (record.protocol_type, record.state_since_ms) == (None, -1)
    [member] = record.members
    assert (member.session_ms, member.rebalance_ms) == (10_000, 10_000)


def test_keys_of_other_kinds_of_groups_are_left_alone() -> None:
    assert decode_key(bytes.fromhex("0003 0001 67 00000001")) is None


def test_members_without_a_protocol_make_no_sense() -> None:
    broken = GROUP_VALUE.replace(bytes.fromhex("0005 72616e6765"), bytes.fromhex("ffff"))
    with pytest.raises(DecodeError, match="protocol"):
        decode_group(broken)


@given(st.binary(max_size=80), st.sampled_from([decode_key, decode_offset, decode_group]))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, decode) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)


@pytest.mark.parametrize("whole", [OFFSET_KEY, GROUP_KEY])
def test_cut_key_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(DecodeError):
            decode_key(whole[:length])
