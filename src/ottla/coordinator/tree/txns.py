"""The payload of one log entry: what `Decider.decide` writes and `Tree.apply` reads.

| bytes | field                                                                  |
|-------|------------------------------------------------------------------------|
| 1     | format, 1                                                              |
| 2     | opcode of the request                                                  |
| 2     | error, 0 if none; with an error there is no body                       |
| 2     | member that forwarded the request, -1: none waits for the outcome      |
| 8     | its tag for it                                                         |
| 8     | session id                                                             |
| 8     | time of the decision, ms since 1970                                    |
| rest  | body by opcode                                                         |

| opcode          | body, in jute                                                            |
|-----------------|--------------------------------------------------------------------------|
| create...       | long owner, int parent's cversion, ustring path, buffer data, vector<ACL> |
| delete...       | ustring path                                                             |
| setData         | int version, ustring path, buffer data                                   |
| setACL          | int aversion, ustring path, vector<ACL>                                  |
| check, sync     | ustring path                                                             |
| multi           | int count; per operation short opcode, short error, int length, its body |
| createSession   | int timeout, buffer: 16 secret bytes, or none if the tree has its secret |
| reopenSession   | int timeout                                                              |
| closeSession    | nothing: the session's ephemerals are known where it is applied          |
| reconfig        | ustring the servers' lines; inside the entry of a configuration only     |

Versions in a body are those to set, so applying compares nothing. Bodies hold the request's own
bytes where they can: a setData is written without being taken apart.
"""

import struct
from collections.abc import Sequence

from ottla.protocol.zookeeper.jute import Reader

FORMAT = 1
HEADER = struct.Struct(">Bhhhqqq")
HEADER_SIZE = HEADER.size
OP_HEADER = struct.Struct(">hhi")
OWNER_AND_CVERSION = struct.Struct(">qi")
VERSION_AND_LENGTH = struct.Struct(">ii")
"""A setData's version, and the length of the path behind it."""
_COUNT = struct.Struct(">i")


def encode_multi(operations: Sequence[tuple[int, int, bytes]]) -> bytes:
    """From (opcode, error, body) triples."""
    parts = [_COUNT.pack(len(operations))]
    for opcode, error, body in operations:
        parts.append(OP_HEADER.pack(opcode, error, len(body)))
        parts.append(body)
    return b"".join(parts)


def decode_multi(reader: Reader) -> list[tuple[int, int, Reader]]:
    """(opcode, error, reader of the body) triples."""
    operations = []
    for _ in range(reader.count(OP_HEADER.size)):
        opcode, error, length = reader.unpack(OP_HEADER)
        body = Reader(reader.data, reader.at)
        reader.at = body.end = reader.at + length
        operations.append((opcode, error, body))
    return operations


__all__ = [
    "FORMAT",
    "HEADER",
    "HEADER_SIZE",
    "OP_HEADER",
    "OWNER_AND_CVERSION",
    "VERSION_AND_LENGTH",
    "decode_multi",
    "encode_multi",
]
