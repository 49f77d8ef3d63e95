"""Headers of requests and responses, against their declarations and against kio's rules."""

import importlib

import pytest

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.headers import (
    decode_request_header,
    decode_response,
    encode_request_frame,
    encode_response_frame,
    request_header_version,
    response_header_version,
)
from ottla.protocol.kafka.messages import headers as declared
from ottla.protocol.kafka.messages.api_versions import ApiVersionsResponse
from ottla.protocol.kafka.messages.controlled_shutdown import ControlledShutdownRequest
from ottla.protocol.kafka.messages.fetch import (
    FetchableTopicResponse,
    FetchResponse,
    PartitionData,
)
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from ottla.protocol.kafka.messages.registry import ENTRIES

CASES = [(api, v) for api, entry in ENTRIES.items() for v in range(entry.first, entry.last + 1)]
BETWEEN_BROKERS = {"leader_and_isr", "stop_replica", "update_metadata", "controlled_shutdown"}


@pytest.mark.parametrize(("api", "version"), CASES)
def test_header_versions_are_those_of_kio(api: ApiKey, version: int):
    entry = ENTRIES[api]
    if entry.module in BETWEEN_BROKERS:
        assert request_header_version(api, version) == (
            2 if version >= entry.flexible_from else 1 if (api, version) != (7, 0) else 0
        )
        return
    base = f"kio.schema.{entry.module}.v{version}"
    request = getattr(importlib.import_module(base + ".request"), entry.stem + "Request")
    response = getattr(importlib.import_module(base + ".response"), entry.stem + "Response")
    assert request_header_version(api, version) == request.__header_schema__.__version__
    assert response_header_version(api, version) == response.__header_schema__.__version__


@pytest.mark.parametrize("client_id", [None, "", "c", "rdkafka-ä"])
@pytest.mark.parametrize("api", ApiKey)
def test_a_request_header_reads_as_declared(api: ApiKey, client_id: str | None):
    entry = ENTRIES[api]
    for version in range(entry.first, entry.last + 1):
        kind = request_header_version(api, version)
        written = declared.RequestHeader(
            request_api_key=api, request_api_version=version, correlation_id=77
        )
        if kind > 0:
            written.client_id = client_id
        frame = codec.encode(written, kind) + b"body"
        for view in (frame, bytearray(frame), memoryview(frame)):
            header = decode_request_header(view)
            assert header == (api, version, 77, client_id if kind else None, len(frame) - 4)


def test_tagged_fields_of_a_request_header_are_skipped():
    frame = b"\0\x0c\0\x04\0\0\0\1\0\1c" + b"\x01\x00\x03abc" + b"body"
    assert decode_request_header(frame).body_offset == len(frame) - 4


def test_an_unknown_api_and_a_newer_version_still_have_a_client_id():
    assert decode_request_header(b"\x03\xe7\0\1\0\0\0\5\0\2me..").client_id == "me"
    newer = decode_request_header(b"\0\x12\0\x63\0\0\0\5\0\2me\0.")
    assert (newer.api_version, newer.client_id, newer.body_offset) == (99, "me", 13)


@pytest.mark.parametrize("frame", [b"\0\x0c\0\x04\0\0\0\1\0\1c\0", b"\0\x0c\0\1\0\0\0\1\0\1c"])
def test_a_cut_request_header_is_a_decode_error(frame: bytes):
    decode_request_header(frame)
    for cut in range(len(frame)):
        with pytest.raises(DecodeError, match="RequestHeader"):
            decode_request_header(frame[:cut])


def test_a_client_id_that_is_not_utf8_is_a_decode_error():
    with pytest.raises(DecodeError, match="client_id is not UTF-8"):
        decode_request_header(b"\0\x0c\0\1\0\0\0\1\0\1\xff")


@pytest.mark.parametrize("version", [0, 3, 4])
def test_a_request_frame_reads_back(version: int):
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
    frame = encode_request_frame(request, version, 9, "client")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    header = decode_request_header(frame[4:])
    assert header[:4] == (ApiKey.HEARTBEAT, version, 9, "client")
    assert codec.decode(HeartbeatRequest, version, frame[4:], header.body_offset) == request


def test_controlled_shutdown_v0_has_no_client_id():
    frame = encode_request_frame(ControlledShutdownRequest(broker_id=1), 0, 9, "client")
    assert frame == b"\0\0\0\x0c" + b"\0\7\0\0\0\0\0\x09" + b"\0\0\0\1"
    assert decode_request_header(frame[4:]).body_offset == 8


@pytest.mark.parametrize("version", [0, 4])
def test_a_response_frame_reads_back(version: int):
    parts = encode_response_frame(12, version, 9, HeartbeatResponse(error_code=25))
    (frame,) = parts
    assert isinstance(frame, bytes)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert decode_response(12, version, frame[4:]) == (9, HeartbeatResponse(error_code=25))
    for cut in range(4, len(frame)):
        with pytest.raises(DecodeError):
            decode_response(12, version, frame[4:cut])


def test_api_versions_keeps_the_first_response_header():
    (frame,) = encode_response_frame(18, 4, 9, ApiVersionsResponse(error_code=35))
    assert isinstance(frame, bytes)
    assert frame[8:10] == b"\0\x23", "no tagged fields between correlation id and error code"
    assert decode_response(18, 4, frame[4:])[1].error_code == 35


def test_the_length_of_a_response_counts_records_left_in_their_file():
    class Range:
        def __len__(self) -> int:
            return 1_000_000

    records = Range()
    response = FetchResponse(
        responses=[FetchableTopicResponse(partitions=[PartitionData(records=records)])]
    )
    first, middle, last = encode_response_frame(1, 12, 5, response)
    assert middle is records
    length = int.from_bytes(first[:4], "big")
    assert length == len(first) - 4 + 1_000_000 + len(last)
