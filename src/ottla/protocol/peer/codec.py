"""Frames of the peer protocol: messages <-> bytes.

    frame = length (u32, big endian, of what follows) | body
    body  = msgpack array [kind, field, field, ...], fields in the order of the message's class

| kind | message | | kind | message |
|---|---|---|---|---|
| 0 | Hello | | 8 | SnapshotReply |
| 1 | PreVoteRequest | | 9 | TimeoutNow |
| 2 | PreVoteReply | | 10 | Forward |
| 3 | VoteRequest | | 11 | (free) |
| 4 | VoteReply | | 12 | SessionTouches |
| 5 | AppendRequest (block: bin, empty when None) | | 13 | ReadIndexRequest |
| 6 | AppendReply | | 14 | ReadIndexReply |
| 7 | SnapshotChunk | | 15 | RollCallRequest |
| | | | 16 | RollCallReply |

Format version 3, which travels in Hello; kinds and fields of a version never change meaning.
"""

from collections.abc import Callable
from typing import Any

import msgpack

from ottla.protocol.peer import messages as m
from ottla.protocol.peer.entries import decode_block
from ottla.protocol.peer.errors import ProtocolError

FORMAT_VERSION = 3
FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Well above anything a member sends: blocks and chunks are cut near 1 MiB, a request is bounded
by `jute.maxbuffer`."""

_KINDS: tuple[tuple[int, type[Any], tuple[type, ...]], ...] = (
    (0, m.Hello, (int, str, int, int, str, int, str)),
    (1, m.PreVoteRequest, (int, int, int)),
    (2, m.PreVoteReply, (int, bool)),
    (3, m.VoteRequest, (int, int, int, bool)),
    (4, m.VoteReply, (int, bool)),
    (5, m.AppendRequest, (int, int, int, int, float, bytes)),
    (6, m.AppendReply, (int, bool, int, int, float)),
    (7, m.SnapshotChunk, (int, int, int, int, int, bool, float, bytes, bytes)),
    (8, m.SnapshotReply, (int, int, int, float)),
    (9, m.TimeoutNow, (int,)),
    (10, m.Forward, (int, tuple)),
    (12, m.SessionTouches, (tuple,)),
    (13, m.ReadIndexRequest, (int,)),
    (14, m.ReadIndexReply, (int, int)),
    (15, m.RollCallRequest, (int,)),
    (16, m.RollCallReply, (int, int, int, bool, tuple)),
)
_KIND_OF: dict[type[Any], int] = {cls: kind for kind, cls, _ in _KINDS}
_CLASS_OF: dict[int, tuple[type[Any], tuple[type, ...]]] = {
    kind: (cls, types) for kind, cls, types in _KINDS
}
_CONSENSUS_KINDS = frozenset((*range(10), 15, 16))
_INT_MAX = 2**63 - 1
_pack: Callable[[object], bytes] = msgpack.packb


def encode(message: m.PeerMessage) -> bytes:
    """The whole frame of a message, its length in front."""
    if type(message) is m.AppendRequest:
        block = message.block
        body = _pack((5, *message[:5], b"" if block is None else block.encode()))
    else:
        body = _pack((_KIND_OF[type(message)], *message))
    assert len(body) <= FRAME_BYTES_MAX
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes | bytearray | memoryview) -> m.PeerMessage:
    """Read one frame's body (without its length). Any other bytes: ProtocolError."""
    try:
        row = msgpack.unpackb(body, use_list=False, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a frame is not msgpack: {error}") from None
    if type(row) is not tuple or not row or type(row[0]) is not int:
        raise ProtocolError("a frame is not an array that begins with a kind")
    known = _CLASS_OF.get(row[0])
    if known is None:
        raise ProtocolError(f"message kind {row[0]} is unknown to format version {FORMAT_VERSION}")
    cls, types = known
    fields = row[1:]
    if tuple(map(type, fields)) != types:
        raise ProtocolError(f"{cls.__name__} has fields of other types than {types}")
    if row[0] in _CONSENSUS_KINDS and any(
        type(field) is int and not 0 <= field <= _INT_MAX for field in fields
    ):
        raise ProtocolError(f"{cls.__name__} has a field out of range")
    if cls is m.AppendRequest:
        return _append_request(fields)
    if cls is m.Forward:
        return m.Forward(fields[0], tuple(map(_forwarded, fields[1])))
    if cls is m.SessionTouches and not all(type(session) is int for session in fields[0]):
        raise ProtocolError("a session id is not an integer")
    if cls is m.RollCallReply and not all(type(voter) is int for voter in fields[4]):
        raise ProtocolError("a member's id is not an integer")
    message: m.PeerMessage = cls._make(fields)
    return message


def _append_request(fields: tuple[Any, ...]) -> m.AppendRequest:
    encoded = fields[5]
    block = decode_block(encoded) if encoded else None
    epoch, prev_index, prev_epoch, commit, sent, _ = fields
    request = m.AppendRequest(epoch, prev_index, prev_epoch, commit, sent, block)
    if block is not None and block.first_index != request.prev_index + 1:
        raise ProtocolError(f"entries begin at {block.first_index}, not after {request.prev_index}")
    return request


def _forwarded(row: object) -> m.ForwardedRequest:
    if type(row) is not tuple or tuple(map(type, row)) != (int, int, int, bytes, tuple):
        raise ProtocolError("a forwarded request has fields of other types")
    for auth in row[4]:
        if type(auth) is not tuple or tuple(map(type, auth)) != (str, str):
            raise ProtocolError("an identity of a forwarded request is not two strings")
    return m.ForwardedRequest._make(row)


__all__ = ["FORMAT_VERSION", "FRAME_BYTES_MAX", "decode", "encode"]
