"""ControlledShutdown (key 7): a broker asks the controller to move its leaderships away.

Version 1 has the usual request header (0 has no client id), 2 fences by broker epoch (KIP-380), 3
is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import INT16, INT32, INT64, STRING, array, at, message, struct


@message(api=ApiKey.CONTROLLED_SHUTDOWN, versions=(0, 3), flexible_from=3)
class ControlledShutdownRequest:
    broker_id: int = at(INT32)
    broker_epoch: int = at(INT64, since=2, default=-1, ignorable=True)


@struct
class RemainingPartition:
    topic_name: str = at(STRING)
    partition_index: int = at(INT32)


@message(api=ApiKey.CONTROLLED_SHUTDOWN, versions=(0, 3), flexible_from=3)
class ControlledShutdownResponse:
    error_code: int = at(INT16)
    remaining_partitions: list[RemainingPartition] = at(array(RemainingPartition))
