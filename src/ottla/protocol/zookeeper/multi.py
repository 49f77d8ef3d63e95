"""Several operations in one request, several results in one response (opcodes 14 and 22).

Both are a run of (MultiHeader, record) pairs, ended by MultiHeader(-1, done, -1). In a response an
operation that failed, or was not done since another failed, is an ErrorResponse under type -1.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

from ottla.protocol.zookeeper.errors import DecodeError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import (
    CheckVersionRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    GetChildrenRequest,
    GetDataRequest,
    SetDataRequest,
)
from ottla.protocol.zookeeper.responses import (
    Create2Response,
    CreateResponse,
    ErrorResponse,
    GetChildrenResponse,
    GetDataResponse,
    SetDataResponse,
)

_HEADER = struct.Struct(">iBi")
_END = _HEADER.pack(-1, 1, -1)

OpRequest = (
    CreateRequest
    | CreateTTLRequest
    | DeleteRequest
    | SetDataRequest
    | CheckVersionRequest
    | GetChildrenRequest
    | GetDataRequest
)
OpResponse = (
    CreateResponse
    | Create2Response
    | SetDataResponse
    | GetChildrenResponse
    | GetDataResponse
    | ErrorResponse
    | None
)

_REQUESTS: dict[int, type[OpRequest]] = {
    OpCode.CREATE: CreateRequest,
    OpCode.CREATE2: CreateRequest,
    OpCode.CREATE_CONTAINER: CreateRequest,
    OpCode.CREATE_TTL: CreateTTLRequest,
    OpCode.DELETE: DeleteRequest,
    OpCode.SET_DATA: SetDataRequest,
    OpCode.CHECK: CheckVersionRequest,
    OpCode.GET_CHILDREN: GetChildrenRequest,
    OpCode.GET_DATA: GetDataRequest,
}
_RESPONSES: dict[
    int,
    type[CreateResponse]
    | type[Create2Response]
    | type[SetDataResponse]
    | type[GetChildrenResponse]
    | type[GetDataResponse]
    | type[ErrorResponse],
] = {
    OpCode.CREATE: CreateResponse,
    OpCode.CREATE2: Create2Response,
    OpCode.CREATE_TTL: Create2Response,
    OpCode.CREATE_CONTAINER: Create2Response,
    OpCode.SET_DATA: SetDataResponse,
    OpCode.GET_CHILDREN: GetChildrenResponse,
    OpCode.GET_DATA: GetDataResponse,
    OpCode.ERROR: ErrorResponse,
}
_WITHOUT_BODY = frozenset({int(OpCode.DELETE), int(OpCode.CHECK), int(OpCode.DELETE_CONTAINER)})


class MultiHeader(NamedTuple):
    type: int
    done: bool
    error: int

    def encode(self) -> bytes:
        return _HEADER.pack(*self)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        kind, done, error = reader.unpack(_HEADER)
        return cls(kind, done != 0, error)


class MultiRequest(NamedTuple):
    """(opcode, request) pairs; the opcode tells create from create2."""

    operations: Sequence[tuple[int, OpRequest]]

    def encode(self) -> bytes:
        parts = []
        for opcode, request in self.operations:
            parts.append(_HEADER.pack(opcode, 0, -1))
            parts.append(request.encode())
        parts.append(_END)
        return b"".join(parts)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        operations: list[tuple[int, OpRequest]] = []
        while True:
            opcode, done, _ = reader.unpack(_HEADER)
            if done:
                return cls(operations)
            request_type = _REQUESTS.get(opcode)
            if request_type is None:
                raise DecodeError(f"operation {opcode} in a multi")
            operations.append((opcode, request_type.decode(reader)))


class MultiResponse(NamedTuple):
    """(opcode, response) pairs: opcode -1 with an ErrorResponse; None for delete and check."""

    results: Sequence[tuple[int, OpResponse]]

    def encode(self) -> bytes:
        parts = []
        for opcode, response in self.results:
            error = response.error if isinstance(response, ErrorResponse) else 0
            parts.append(_HEADER.pack(opcode, 0, error))
            if response is not None:
                parts.append(response.encode())
        parts.append(_END)
        return b"".join(parts)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        results: list[tuple[int, OpResponse]] = []
        while True:
            opcode, done, _ = reader.unpack(_HEADER)
            if done:
                return cls(results)
            if opcode in _WITHOUT_BODY:
                results.append((opcode, None))
                continue
            response_type = _RESPONSES.get(opcode)
            if response_type is None:
                raise DecodeError(f"result {opcode} in a multi")
            results.append((opcode, response_type.decode(reader)))


def encode_results(results: Sequence[tuple[int, int, bytes]]) -> bytes:
    """A MultiResponse from (opcode, error, encoded response) triples."""
    parts = []
    for opcode, error, body in results:
        parts.append(_HEADER.pack(opcode, 0, error))
        parts.append(body)
    parts.append(_END)
    return b"".join(parts)


__all__ = [
    "MultiHeader",
    "MultiRequest",
    "MultiResponse",
    "OpRequest",
    "OpResponse",
    "encode_results",
]
