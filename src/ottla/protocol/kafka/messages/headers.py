"""The headers in front of every request and response.

Request header 0 is for ControlledShutdown v0 alone, 1 has the client's id, 2 tagged fields; the
client id keeps its classic length prefix in all of them, since a broker must be able to read it
before it knows the version. Response header 1 has tagged fields. `ottla.protocol.kafka.headers` has
the quick paths.
"""

from ottla.protocol.kafka.schema import INT16, INT32, STRING, at, message


@message(versions=(0, 2), flexible_from=2)
class RequestHeader:
    request_api_key: int = at(INT16)
    request_api_version: int = at(INT16)
    correlation_id: int = at(INT32)
    client_id: str | None = at(STRING, since=1, nullable=True, ignorable=True, flexible=False)


@message(versions=(0, 1), flexible_from=1)
class ResponseHeader:
    correlation_id: int = at(INT32)
