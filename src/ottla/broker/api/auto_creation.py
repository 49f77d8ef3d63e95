"""Creating topics that clients ask for before anybody created them.

The controller creates them: this broker's own when it is active, else the one that the metadata
cache names, over the link to it.
"""

from ottla.broker.api.api import Services
from ottla.broker.api.create_topics import create_topics
from ottla.broker.controller.placement import Refused, check_topic_name
from ottla.broker.errors import BrokerError
from ottla.broker.link import LinkLost
from ottla.broker.metadata import INTERNAL_TOPICS
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

CREATE_TIMEOUT_S = 10.0
CREATE_VERSION = 7


def name_error(name: str) -> ErrorCode:
    """INVALID_TOPIC_EXCEPTION for what cannot be a topic's name, else NONE."""
    try:
        check_topic_name(name)
    except Refused as refused:
        return refused.code
    return ErrorCode.NONE


async def create_missing(names: list[str], services: Services) -> dict[str, ErrorCode]:
    """Create topics with default settings; NONE for what exists now, whoever created it.

    LEADER_NOT_AVAILABLE where a client should ask again: there is no controller now, say.
    The controller goes on with a creation that was begun when the caller is cancelled.
    """
    request = CreateTopicsRequest(
        topics=[_wanted(name, services) for name in names],
        timeout_ms=int(CREATE_TIMEOUT_S * 1000),
    )
    errors = dict.fromkeys(names, ErrorCode.LEADER_NOT_AVAILABLE)
    try:
        response = await _create(request, services)
    except (BrokerError, LinkLost) as error:
        services.events.debug("topics.creation_failed", topics=names, reason=str(error))
        return errors
    for topic in response.topics:
        code = ErrorCode(topic.error_code)
        if code in {ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS}:
            errors[topic.name] = ErrorCode.NONE
        elif not code.retriable:
            errors[topic.name] = code
            services.events.warning(
                "topic.creation_refused",
                topic=topic.name,
                error=code.name,
                reason=topic.error_message,
            )
    return errors


async def _create(request: CreateTopicsRequest, services: Services) -> CreateTopicsResponse:
    if services.controller.is_active:
        return await create_topics(request, services)
    link = services.controller_link()
    if link is None:
        raise LinkLost("no controller is known")
    answer = await link.request(request, version=CREATE_VERSION, timeout_s=CREATE_TIMEOUT_S + 1)
    assert isinstance(answer, CreateTopicsResponse)
    return answer


def _wanted(name: str, services: Services) -> CreatableTopic:
    config = services.config
    if name not in INTERNAL_TOPICS:
        return CreatableTopic(
            name=name,
            num_partitions=config.int("num.partitions"),
            replication_factor=config.int("default.replication.factor"),
        )
    prefix = "offsets.topic" if name == "__consumer_offsets" else "transaction.state.log"
    settings = {
        "cleanup.policy": "compact",
        "compression.type": "producer",
        "segment.bytes": str(config.int(f"{prefix}.segment.bytes")),
    }
    if prefix == "transaction.state.log":
        settings |= {
            "compression.type": "uncompressed",
            "unclean.leader.election.enable": "false",
            "min.insync.replicas": str(config.int(f"{prefix}.min.isr")),
        }
    return CreatableTopic(
        name=name,
        num_partitions=config.int(f"{prefix}.num.partitions"),
        replication_factor=config.int(f"{prefix}.replication.factor"),
        configs=[CreatableTopicConfig(name=key, value=value) for key, value in settings.items()],
    )


__all__ = ["create_missing", "name_error"]
