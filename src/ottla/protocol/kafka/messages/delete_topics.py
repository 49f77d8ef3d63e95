"""DeleteTopics (key 20).

Version 4 is flexible, 5 returns error messages (KIP-599), 6 can name topics by id (KIP-516).
"""

import uuid

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, STRING, UUID, array, at, message, struct


@struct
class DeleteTopicState:
    name: str | None = at(STRING, nullable=True, default=None)
    topic_id: uuid.UUID = at(UUID)


@message(api=ApiKey.DELETE_TOPICS, versions=(1, 6), flexible_from=4)
class DeleteTopicsRequest:
    topics: list[DeleteTopicState] = at(array(DeleteTopicState), since=6)
    topic_names: list[str] = at(array(STRING), until=5, ignorable=True)
    timeout_ms: int = at(INT32)


@struct
class DeletableTopicResult:
    name: str | None = at(STRING, nullable_since=6)
    topic_id: uuid.UUID = at(UUID, since=6, ignorable=True)
    error_code: int = at(INT16)
    error_message: str | None = at(STRING, since=5, nullable=True, default=None, ignorable=True)


@message(api=ApiKey.DELETE_TOPICS, versions=(1, 6), flexible_from=4)
class DeleteTopicsResponse:
    throttle_time_ms: int = at(INT32)
    responses: list[DeletableTopicResult] = at(array(DeletableTopicResult))
