"""Telling a client that came to the wrong broker where to go (KIP-951), and whom it may be."""

from ottla.broker.api.api import RequestContext
from ottla.broker.errors import BrokerError
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.runtime.interfaces import Address

MOVED = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH})


def current_leader(
    error: BrokerError, tp: TopicPartition, ctx: RequestContext
) -> tuple[BrokerId, int] | None:
    """Leader and leader epoch as far as this broker knows, when the error says that it moved."""
    if error.code not in MOVED:
        return None
    # A role that was just taken up is known to the partition before the metadata says so.
    partition = ctx.services.partitions.get(tp)
    image = ctx.services.metadata.partition(tp)
    if partition is not None and (image is None or partition.leader_epoch >= image.leader_epoch):
        return partition.leader_id, partition.leader_epoch
    return None if image is None else (image.leader, image.leader_epoch)


def leader_endpoints(
    leaders: set[BrokerId], ctx: RequestContext
) -> list[tuple[BrokerId, Address, str | None]]:
    """Id, address on the client's listener, and rack of those leaders that are alive."""
    metadata = ctx.services.metadata
    found = []
    for leader in sorted(leaders):
        address = metadata.endpoint(leader, ctx.listener_name)
        if address is not None:
            found.append((leader, address, metadata.brokers[leader].rack))
    return found


__all__ = ["current_leader", "leader_endpoints"]
