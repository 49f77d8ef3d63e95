"""Bytes that lie: claims are compared with what is there before anything is made of them."""

import struct
import tracemalloc
from typing import Any

import pytest

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.errors import DecodeError, EncodeError, UnsupportedVersion
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.messages.create_topics import CreatableTopic, CreateTopicsRequest
from ottla.protocol.kafka.messages.fetch import (
    FetchableTopicResponse,
    FetchResponse,
    LeaderIdAndEpoch,
    PartitionData,
)
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest
from ottla.protocol.kafka.messages.list_groups import ListGroupsRequest
from ottla.protocol.kafka.messages.metadata import MetadataRequest, MetadataResponse
from ottla.protocol.kafka.messages.produce import PartitionProduceData, ProduceRequest
from ottla.protocol.kafka.messages.produce import TopicProduceData as Topic
from ottla.protocol.kafka.messages.sasl_authenticate import SaslAuthenticateRequest

MOST = b"\xff\xff\xff\xff\x07"  # 2^31 - 1 as an unsigned varint


@pytest.mark.parametrize(
    ("cls", "version", "data", "text"),
    [
        (MetadataRequest, 1, b"\x7f\xff\xff\xff", "topics claims 2147483647 elements"),
        (MetadataRequest, 9, MOST, "topics claims 2147483646 elements"),
        (MetadataRequest, 0, b"\xff\xff\xff\xff", "topics is null, which this field may not be"),
        (SaslAuthenticateRequest, 0, b"\x7f\xff\xff\xff", "auth_bytes claims 2147483647 bytes"),
        (SaslAuthenticateRequest, 2, MOST, "auth_bytes claims 2147483646 bytes, 0 remain"),
        (HeartbeatRequest, 0, b"\x7f\xffabc", "group_id claims 32767 bytes, 3 remain"),
        (HeartbeatRequest, 4, MOST + b"abc", "group_id claims 2147483646 bytes, 3 remain"),
        (HeartbeatRequest, 0, b"\xff\xff", "group_id is null, which this field may not be"),
        (HeartbeatRequest, 0, b"\x00\x02\xc3\x28", "group_id is not UTF-8"),
        (HeartbeatRequest, 0, b"\x00\x01a\x00", "generation_id is cut off"),
        (HeartbeatRequest, 0, b"\x00\x01a\0\0\0\1\0", "member_id is cut off"),
        (ListGroupsRequest, 4, b"\x80\x80\x80\x80\x80\x00", "states_filter a varint goes on"),
        (ListGroupsRequest, 4, b"\xff\xff\xff\xff\x0f", "is above 2\\^31 - 1"),
        (ListGroupsRequest, 4, b"\x01" + MOST, r"\(tagged fields\) is cut off"),
        (ListGroupsRequest, 4, b"\x01\x01\x05" + MOST, "a tagged field claims 2147483647 bytes"),
        (ApiVersionsRequest, 3, b"\x02\xff\x02a\x00", "client_software_name is not UTF-8"),
    ],
)
def test_a_claim_is_refused_and_the_field_is_named(
    cls: type[Any], version: int, data: bytes, text: str
):
    codec.decode(cls, version, codec.encode(cls(), version))  # compiled before memory is traced
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=text) as caught:
            codec.decode(cls, version, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert str(caught.value).startswith(f"{cls.__name__} v{version}: ")


def test_a_nested_field_is_named_by_its_path():
    partitions = [PartitionProduceData(records=b"x" * 10), PartitionProduceData(index=1)]
    good = codec.encode(ProduceRequest(topic_data=[Topic(partition_data=partitions)]), 3)
    where = r"^ProduceRequest v3: topic_data\[\].partition_data\[\]"
    with pytest.raises(DecodeError, match=where + ".records is cut off"):
        codec.decode(ProduceRequest, 3, good[:-2])
    with pytest.raises(DecodeError, match=where + ".index is cut off"):
        codec.decode(ProduceRequest, 3, good[:-6])
    with pytest.raises(DecodeError, match=where + ".records claims 10 bytes, 9 remain"):
        codec.decode(ProduceRequest, 3, good[:-9])


def test_many_tiny_elements_are_bounded_by_the_bytes_that_arrived():
    """A million elements need at least a million times the smallest element."""
    data = struct.pack(">i", 1_000_000) + bytes(1_999_999)
    with pytest.raises(DecodeError, match="topics claims 1000000 elements"):
        codec.decode(MetadataRequest, 1, data)


def test_a_tagged_field_of_the_wrong_size_is_refused():
    response = FetchResponse(
        responses=[
            FetchableTopicResponse(
                partitions=[PartitionData(current_leader=LeaderIdAndEpoch(leader_id=1))]
            )
        ]
    )
    data = bytearray(codec.encode(response, 12))
    position = data.index(b"\x01\x01\x09")  # one tagged field, number 1, 9 bytes
    data[position + 2] = 8
    with pytest.raises(DecodeError, match="tagged field 1 takes 9 bytes but announced 8"):
        codec.decode(FetchResponse, 12, bytes(data))


def test_unknown_tagged_fields_are_skipped():
    plain = codec.encode(HeartbeatRequest(group_id="g", generation_id=3, member_id="m"), 4)
    assert plain[-1:] == b"\0"
    tagged = plain[:-1] + b"\x02" + b"\x05\x03abc" + b"\xc8\x01\x00"
    assert codec.decode(HeartbeatRequest, 4, tagged) == codec.decode(HeartbeatRequest, 4, plain)


@pytest.mark.parametrize(
    ("message", "version", "text"),
    [
        (HeartbeatRequest(generation_id=2**31), 0, "generation_id cannot be 2147483648"),
        (HeartbeatRequest(group_id="x" * 40000), 0, "group_id"),
        (HeartbeatRequest(group_id="\ud800"), 0, "group_id cannot be encoded"),
        (HeartbeatRequest(member_id=None), 3, "member_id cannot be encoded"),  # type: ignore[arg-type]
        (MetadataResponse(throttle_time_ms=-(2**40)), 12, "throttle_time_ms cannot be -1099"),
        (
            CreateTopicsRequest(topics=[CreatableTopic(name="t", replication_factor=70000)]),
            7,
            r"topics\[\].replication_factor cannot be 70000",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named(message: object, version: int, text: str):
    with pytest.raises(EncodeError, match=text):
        codec.encode(message, version)


def test_records_that_are_not_bytes_need_parts():
    request = ProduceRequest(
        topic_data=[Topic(partition_data=[PartitionProduceData(records=range(3))])]  # type: ignore[arg-type]
    )
    with pytest.raises(EncodeError, match="encode_parts"):
        codec.encode(request, 9)
    assert range(3) in codec.encode_parts(request, 9)


def test_a_value_that_the_version_would_lose_is_refused():
    with pytest.raises(UnsupportedVersion, match="HeartbeatRequest v2 has no group_instance_id"):
        codec.encode(HeartbeatRequest(group_instance_id="a"), 2)
    assert codec.encode(MetadataResponse(throttle_time_ms=5), 2)  # ignorable: dropped


@pytest.mark.parametrize("version", [-1, 5, 32767])
def test_a_version_that_the_message_lacks_is_refused(version: int):
    with pytest.raises(UnsupportedVersion, match="HeartbeatRequest has versions 0 to 4, not"):
        codec.decode(HeartbeatRequest, version, b"")
    with pytest.raises(UnsupportedVersion):
        codec.encode(HeartbeatRequest(), version)


def test_records_are_views_of_a_large_frame():
    records = bytes(range(256)) * 100
    request = ProduceRequest(
        topic_data=[Topic(name="t", partition_data=[PartitionProduceData(records=records)])]
    )
    frame = memoryview(bytearray(codec.encode(request, 9)))
    decoded = codec.decode(ProduceRequest, 9, frame).topic_data[0].partition_data[0].records
    assert isinstance(decoded, memoryview)
    assert decoded.obj is frame.obj
    assert decoded == records
