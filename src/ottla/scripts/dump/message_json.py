"""Messages of Kafka's protocol as JSON, with the names and forms of Kafka's own converters.

Field names are the schema's in camel case, bytes are base64, numbers are numbers; a field that the
version lacks is left out.
"""

import base64
import json
import uuid
from typing import Any

from ottla.protocol.kafka.schema import Field, schema_of


def as_json(message: object, version: int) -> dict[str, Any]:
    """`message` as it is at `version`."""
    return {
        _camel_case(field.name): _value(getattr(message, field.name), version)
        for field in schema_of(type(message)).fields
        if _is_shown(field, getattr(message, field.name), version)
    }


def text(node: object) -> str:
    """One line, as Kafka prints it."""
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"))


def _is_shown(field: Field, value: object, version: int) -> bool:
    if not field.is_in(version):
        return False
    return not field.is_tagged_in(version) or value != field.default_value()


def _value(value: object, version: int) -> object:
    if isinstance(value, list):
        return [_value(each, version) for each in value]
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, uuid.UUID):
        return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")
    return as_json(value, version)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


__all__ = ["as_json", "text"]
