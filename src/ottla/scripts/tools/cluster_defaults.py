"""What is set for all brokers together, over our own codec: librdkafka has no name for it.

One request on one plain connection; a cluster that asks for TLS or a login does not answer.
"""

import socket
import struct
from typing import Any

from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
)
from ottla.protocol.kafka.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from ottla.scripts.tools.common import Failure

BROKER, SET, DELETE = 4, 0, 1
TIMEOUT_S = 10.0
_DESCRIBE, _ALTER = (32, 4), (44, 1)


def describe(bootstrap: str) -> list[DescribeConfigsResourceResult]:
    """Failure with the broker's own words."""
    resource = DescribeConfigsResource(
        resource_type=BROKER, resource_name="", configuration_keys=None
    )
    request = DescribeConfigsRequest(resources=[resource], include_synonyms=True)
    (result,) = _ask(bootstrap, _DESCRIBE, request).results
    _require(result)
    found: list[DescribeConfigsResourceResult] = result.configs
    return found


def alter(bootstrap: str, wanted: dict[str, str], gone: list[str]) -> None:
    """Set and remove. Failure with the broker's own words."""
    configs = [
        *(AlterableConfig(name=k, config_operation=SET, value=v) for k, v in wanted.items()),
        *(AlterableConfig(name=k, config_operation=DELETE, value=None) for k in gone),
    ]
    resource = AlterConfigsResource(resource_type=BROKER, resource_name="", configs=configs)
    request = IncrementalAlterConfigsRequest(resources=[resource])
    (result,) = _ask(bootstrap, _ALTER, request).responses
    _require(result)


def _require(result: Any) -> None:  # noqa: ANN401 - either API's result
    if result.error_code:
        raise Failure(result.error_message or ErrorCode(result.error_code).name)


def _ask(bootstrap: str, api: tuple[int, int], message: object) -> Any:  # noqa: ANN401
    """The first broker that answers."""
    key, version = api
    reason = "no address"
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as sock:
                sock.sendall(encode_request_frame(message, version, 0, "configs.sh"))
                (size,) = struct.unpack(">i", _receive(sock, 4))
                return decode_response(key, version, _receive(sock, size))[1]
        except (OSError, EOFError, ValueError) as error:
            reason = str(error)
    raise Failure(f"no broker of {bootstrap} answered: {reason}")


def _receive(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise EOFError("the connection was closed")
        parts += part
    return bytes(parts)


__all__ = ["alter", "describe"]
