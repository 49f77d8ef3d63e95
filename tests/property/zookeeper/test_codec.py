"""Every message round-trips; cut or arbitrary bytes raise DecodeError and nothing else."""

import contextlib
import inspect
from collections.abc import Sequence
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.protocol.zookeeper import messages, multi
from ottla.protocol.zookeeper.errors import DecodeError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import ACL, ClientInfo, ErrorResponse, Id, Stat
from ottla.protocol.zookeeper.opcodes import OpCode

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LONG_FIELDS = {
    "last_zxid_seen", "session_id", "zxid", "relative_zxid", "ttl", "current_config_id",
}  # fmt: skip
STATS = st.builds(Stat, LONG, LONG, LONG, LONG, INT, INT, INT, LONG, INT, INT, LONG)
IDS = st.builds(Id, TEXT, TEXT)
ACLS = st.builds(ACL, INT, IDS)

PLAIN = [
    member
    for name, member in sorted(vars(messages).items())
    if inspect.isclass(member) and name not in {"MultiRequest", "MultiResponse", "Stat"}
]


def field_strategy(name, hint):
    known = {
        str: TEXT, bool: st.booleans(), Stat: STATS, Id: IDS, list[str]: st.lists(TEXT, max_size=4),
        Sequence[ACL]: st.lists(ACLS, max_size=3).map(tuple),
        list[ClientInfo]: st.lists(st.builds(ClientInfo, TEXT, TEXT), max_size=3),
        int: LONG if name in LONG_FIELDS else INT,
    }  # fmt: skip
    if hint in known:
        return known[hint]
    if bytes in get_args(hint):
        return st.none() | st.binary(max_size=20)
    if bool in get_args(hint):
        return st.none() | st.booleans()
    return st.none() | TEXT.filter(bool) | st.just("")


def strategy(message):
    hints = get_type_hints(message)
    return st.builds(message, *[field_strategy(name, hints[name]) for name in message._fields])


@pytest.mark.parametrize("message", PLAIN, ids=lambda m: m.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_messages_round_trip_and_cut_ones_are_refused(message, data):
    value = data.draw(strategy(message))
    raw = value.encode()
    reader = Reader(memoryview(raw))
    assert message.decode(reader) == value
    assert reader.remaining == 0
    optional_tail = message.__name__.startswith("Connect") and value.read_only is not None
    for length in range(len(raw) - optional_tail):
        with pytest.raises(DecodeError):
            message.decode(Reader(raw[:length]))


@pytest.mark.parametrize("message", [*PLAIN, multi.MultiRequest, multi.MultiResponse])
@settings(max_examples=30, deadline=None)
@given(raw=st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_decode_errors(message, raw):
    with contextlib.suppress(DecodeError):
        message.decode(Reader(raw))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_multis_round_trip_and_cut_ones_are_refused(data):
    cases = st.sampled_from(sorted(multi._REQUESTS.items()))
    pairs = [
        (opcode, data.draw(strategy(message)))
        for opcode, message in data.draw(st.lists(cases, max_size=4))
    ]
    raw = multi.MultiRequest(pairs).encode()
    assert multi.MultiRequest.decode(Reader(raw)).operations == pairs
    results = [(-1, ErrorResponse(-2)), (OpCode.DELETE, None), (OpCode.CHECK, None)]
    both = [(raw, multi.MultiRequest), (multi.MultiResponse(results).encode(), multi.MultiResponse)]
    assert multi.MultiResponse.decode(Reader(both[1][0])).results == results
    for encoded, message in both:
        for length in range(len(encoded)):
            with pytest.raises(DecodeError):
                message.decode(Reader(encoded[:length]))


@pytest.mark.parametrize("claim", [0x7FFFFFFF, 0x10000, -2])
def test_claimed_lengths_and_counts_are_checked_before_use(claim):
    raw = claim.to_bytes(4, "big", signed=True) + b"1234"
    for read in (Reader.string, Reader.buffer, Reader.strings, Reader.string_or_none):
        with pytest.raises(DecodeError):
            read(Reader(raw))
