"""The obvious way to read and write Kafka messages: one value after the other, straight from the
declaration. The compiled codecs have to agree with it on every byte.
"""

import struct
import uuid
from io import BytesIO
from typing import Any

from ottla.protocol.kafka.schema import BYTES, RECORDS, STRING, UUID, Array, schema_of


def encode(message: Any, version: int) -> bytes:
    """What `codec.encode` should return."""
    flexible = version >= schema_of(type(message)).flexible_from
    return _structure(message, version, flexible)


def _structure(value: Any, version: int, flexible: bool) -> bytes:
    out, tagged = b"", {}
    for field in schema_of(type(value)).fields:
        if not field.is_in(version):
            continue
        item = getattr(value, field.name)
        compact = flexible and field.flexible
        nullable = field.is_nullable_in(version)
        data = _value(item, field.kind, version, flexible, compact, nullable=nullable)
        if flexible and field.is_tagged_in(version):
            if item != field.default_value():
                tagged[field.tag] = data
        else:
            out += data
    if flexible:
        out += _varint(len(tagged))
        for tag in sorted(tagged):
            out += _varint(tag) + _varint(len(tagged[tag])) + tagged[tag]
    return out


def _value(
    item: Any, kind: Any, version: int, flexible: bool, compact: bool, *, nullable: bool = False
) -> bytes:
    if isinstance(kind, type):
        if nullable:
            return b"\xff" if item is None else b"\x01" + _structure(item, version, flexible)
        return _structure(item, version, flexible)
    if kind is UUID:
        return bytes(item.bytes)
    if not isinstance(kind, Array) and kind.size:
        return struct.pack(">" + kind.format, item)
    length_format = ">h" if kind is STRING else ">i"
    if item is None:
        return b"\x00" if compact else struct.pack(length_format, -1)
    data = item.encode() if kind is STRING else item
    prefix = _varint(len(data) + 1) if compact else struct.pack(length_format, len(data))
    if isinstance(kind, Array):
        elements = [_value(e, kind.element, version, flexible, compact) for e in item]
        return prefix + b"".join(elements)
    return prefix + bytes(data)


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    return bytes([value % 128 + 128]) + _varint(value // 128)


def decode(cls: type, version: int, data: bytes) -> Any:
    """What `codec.decode` should return for good bytes. Bad ones are not its business."""
    stream = BytesIO(data)
    message = _read_structure(cls, stream, version, version >= schema_of(cls).flexible_from)
    assert not stream.read(1), "bytes are left over"
    return message


def _read_structure(cls: type, stream: BytesIO, version: int, flexible: bool) -> Any:
    values, tagged = {}, {}
    for field in schema_of(cls).fields:
        if not field.is_in(version):
            continue
        if flexible and field.is_tagged_in(version):
            tagged[field.tag] = field
            continue
        values[field.name] = _read_field(field, stream, version, flexible)
    if flexible:
        for _ in range(_read_varint(stream)):
            tag = _read_varint(stream)
            content = BytesIO(stream.read(_read_varint(stream)))
            if tag in tagged:
                field = tagged[tag]
                values[field.name] = _read_field(field, content, version, flexible)
    return cls(**values)


def _read_field(field: Any, stream: BytesIO, version: int, flexible: bool) -> Any:
    compact = flexible and field.flexible
    may_be_null = isinstance(field.kind, type) and field.is_nullable_in(version)
    if may_be_null and stream.read(1) == b"\xff":
        return None
    return _read(field.kind, stream, version, flexible, compact)


def _read(kind: Any, stream: BytesIO, version: int, flexible: bool, compact: bool) -> Any:
    if isinstance(kind, type):
        return _read_structure(kind, stream, version, flexible)
    if kind is UUID:
        return uuid.UUID(bytes=stream.read(16))
    if not isinstance(kind, Array) and kind.size:
        return struct.unpack(">" + kind.format, stream.read(kind.size))[0]
    if compact:
        length = _read_varint(stream) - 1
    elif kind is STRING:
        length = int.from_bytes(stream.read(2), "big", signed=True)
    else:
        length = int.from_bytes(stream.read(4), "big", signed=True)
    if length < 0:
        return None
    if isinstance(kind, Array):
        return [_read(kind.element, stream, version, flexible, compact) for _ in range(length)]
    data = stream.read(length)
    assert kind in (STRING, BYTES, RECORDS)
    return data.decode() if kind is STRING else data


def _read_varint(stream: BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte if byte < 128 else byte - 128 + 128 * _read_varint(stream)
