"""Identifiers of the broker side, as distinct types where mixing them up would be a bug."""

from typing import NamedTuple, NewType
from uuid import UUID

BrokerId = NewType("BrokerId", int)
Offset = NewType("Offset", int)
LeaderEpoch = NewType("LeaderEpoch", int)
ControllerEpoch = NewType("ControllerEpoch", int)
BrokerEpoch = NewType("BrokerEpoch", int)
PartitionEpoch = NewType("PartitionEpoch", int)
TopicId = UUID

NO_BROKER = BrokerId(-1)
NO_EPOCH = LeaderEpoch(-1)
ZERO_TOPIC_ID: TopicId = UUID(int=0)


class TopicPartition(NamedTuple):
    """A partition by name; `str()` is the name of its directory."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"
