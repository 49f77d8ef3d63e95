"""Which replica a consumer should read from (KIP-392), by the rule of Kafka's
RackAwareReplicaSelector. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ottla.broker.ids import BrokerId, Offset

RACK_AWARE = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
"""The value of `replica.selector.class`; clients know nothing of it."""


class ReadReplica(NamedTuple):
    """A follower in sync that has what is asked for. `caught_up_at`: monotonic seconds."""

    broker: BrokerId
    log_end: Offset
    caught_up_at: float


def choose_in_rack(
    rack: str,
    leader: BrokerId,
    followers: Sequence[ReadReplica],
    racks: Mapping[BrokerId, str | None],
) -> BrokerId:
    """The leader if it is in `rack`, or nobody is; else who has most of the log, then who caught up
    last. `racks`: of the brokers that can be reached.
    """
    near = [each for each in followers if racks.get(each.broker) == rack]
    if racks.get(leader) == rack or not near:
        return leader
    return max(near, key=lambda each: (each.log_end, each.caught_up_at, each.broker)).broker


__all__ = ["RACK_AWARE", "ReadReplica", "choose_in_rack"]
