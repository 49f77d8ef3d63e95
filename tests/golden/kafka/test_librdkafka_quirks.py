"""Bytes that librdkafka 2.16 really sends, where they differ from the protocol's description."""

import pytest

from ottla.protocol.kafka.codec import decode, decode_request
from ottla.protocol.kafka.errors import DecodeError
from ottla.protocol.kafka.messages.metadata import MetadataRequest

ALL_TOPICS_V12 = bytes.fromhex("00000000010000")  # null topics as four bytes, then the flags


def test_metadata_for_all_topics_has_bytes_left_over():
    request = decode_request(MetadataRequest, 12, ALL_TOPICS_V12)
    assert request.topics is None
    with pytest.raises(DecodeError):
        decode(MetadataRequest, 12, ALL_TOPICS_V12)
