"""The peer protocol's decoder on arbitrary bytes, and round trips of arbitrary messages."""

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.protocol.peer import messages as m
from ottla.protocol.peer.codec import decode, encode
from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.peer.errors import ProtocolError

NUMBER = st.integers(0, 2**63 - 1)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.binary() | ANY.map(msgpack.packb) | st.lists(ANY, max_size=8).map(msgpack.packb))
def test_arbitrary_bytes_raise_the_protocol_error_only(body):
    try:
        message = decode(body)
    except ProtocolError:
        return
    assert decode(encode(message)[4:]) == message


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 14), st.lists(ANY, max_size=8))
def test_known_kinds_with_arbitrary_fields_raise_the_protocol_error_only(kind, fields):
    try:
        decode(msgpack.packb([kind, *fields]))
    except ProtocolError:
        return


@settings(max_examples=60, deadline=None)
@given(
    first=st.integers(1, 2**40),
    epoch=st.integers(1, 2**31 - 1),
    payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    commit=NUMBER,
)
def test_append_requests_round_trip(first, epoch, payloads, commit):
    entries = [
        Entry(first + i, epoch, (epoch << 32) + i, payload) for i, payload in enumerate(payloads)
    ]
    message = m.AppendRequest(epoch, first - 1, epoch, commit, 0.25, Block(entries))
    assert decode(encode(message)[4:]) == message
