"""WriteTxnMarkers (key 27): control records go to every partition of a transaction (KIP-98).

Sent by the home of a transactional id to the leaders of its partitions. Version 1 is flexible.
"""

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.schema import (
    BOOL,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    at,
    message,
    struct,
)


@struct
class WritableTxnMarkerTopic:
    name: str = at(STRING)
    partition_indexes: list[int] = at(array(INT32))


@struct
class WritableTxnMarker:
    producer_id: int = at(INT64)
    producer_epoch: int = at(INT16)
    transaction_result: bool = at(BOOL)
    topics: list[WritableTxnMarkerTopic] = at(array(WritableTxnMarkerTopic))
    coordinator_epoch: int = at(INT32)


@message(api=ApiKey.WRITE_TXN_MARKERS, versions=(1, 1), flexible_from=1)
class WriteTxnMarkersRequest:
    markers: list[WritableTxnMarker] = at(array(WritableTxnMarker))


@struct
class WritableTxnMarkerPartitionResult:
    partition_index: int = at(INT32)
    error_code: int = at(INT16)


@struct
class WritableTxnMarkerTopicResult:
    name: str = at(STRING)
    partitions: list[WritableTxnMarkerPartitionResult] = at(array(WritableTxnMarkerPartitionResult))


@struct
class WritableTxnMarkerResult:
    producer_id: int = at(INT64)
    topics: list[WritableTxnMarkerTopicResult] = at(array(WritableTxnMarkerTopicResult))


@message(api=ApiKey.WRITE_TXN_MARKERS, versions=(1, 1), flexible_from=1)
class WriteTxnMarkersResponse:
    markers: list[WritableTxnMarkerResult] = at(array(WritableTxnMarkerResult))
