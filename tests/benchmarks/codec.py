"""Microseconds per decode and encode of hot messages, with kio as the peer in the same run.

    python -m tests.benchmarks.codec

Each figure is the best of five rounds. "build" includes making the objects, as a handler does.
"""

import datetime
import io
import timeit
import uuid
from collections.abc import Callable
from typing import Any

import kio.schema.fetch.v12.response as kio_fetch
import kio.schema.metadata.v12.response as kio_metadata
import kio.schema.produce.v9.request as kio_produce
import kio.schema.produce.v9.response as kio_produce_response
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i32Timedelta, i64

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.framing import FrameReader
from ottla.protocol.kafka.headers import decode_request_header, encode_request_frame
from ottla.protocol.kafka.messages.fetch import (
    FetchableTopicResponse,
    FetchResponse,
    PartitionData,
)
from ottla.protocol.kafka.messages.heartbeat import HeartbeatRequest
from ottla.protocol.kafka.messages.metadata import (
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)

PARTITIONS = 100
TOPIC_ID = uuid.UUID(int=7)
RECORDS = bytes(100)
NOT_THROTTLED = i32Timedelta.parse(datetime.timedelta())


def microseconds(call: Callable[[], object]) -> float:
    """The time of one call."""
    number = max(1, int(0.02 / max(timeit.timeit(call, number=20) / 20, 1e-7)))
    return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e6


def produce_request() -> ProduceRequest:
    partition = PartitionProduceData(index=0, records=RECORDS)
    topic = TopicProduceData(name="my-topic", partition_data=[partition])
    return ProduceRequest(acks=-1, timeout_ms=30000, topic_data=[topic])


def produce_response() -> ProduceResponse:
    partition = PartitionProduceResponse(index=0, base_offset=4711, log_start_offset=0)
    topic = TopicProduceResponse(name="my-topic", partition_responses=[partition])
    return ProduceResponse(responses=[topic])


def kio_produce_response_entity() -> Any:
    m = kio_produce_response
    partition = m.PartitionProduceResponse(
        index=i32(0),
        error_code=KioErrorCode.none,
        base_offset=i64(4711),
        log_append_time=None,
        log_start_offset=i64(0),
        record_errors=(),
        error_message=None,
    )
    topic = m.TopicProduceResponse(name="my-topic", partition_responses=(partition,))
    return m.ProduceResponse(responses=(topic,))


def metadata_response() -> MetadataResponse:
    partitions = [
        MetadataResponsePartition(
            partition_index=index,
            leader_id=1,
            leader_epoch=5,
            replica_nodes=[1, 2, 3],
            isr_nodes=[1, 2, 3],
        )
        for index in range(PARTITIONS)
    ]
    topic = MetadataResponseTopic(name="my-topic", topic_id=TOPIC_ID, partitions=partitions)
    return MetadataResponse(topics=[topic])


def kio_metadata_entity() -> Any:
    m = kio_metadata
    nodes = (i32(1), i32(2), i32(3))
    partitions = tuple(
        m.MetadataResponsePartition(
            error_code=KioErrorCode.none,
            partition_index=i32(index),
            leader_id=i32(1),
            leader_epoch=i32(5),
            replica_nodes=nodes,
            isr_nodes=nodes,
            offline_replicas=(),
        )
        for index in range(PARTITIONS)
    )
    topic = m.MetadataResponseTopic(
        error_code=KioErrorCode.none,
        name="my-topic",
        topic_id=TOPIC_ID,
        is_internal=False,
        partitions=partitions,
    )
    return m.MetadataResponse(throttle_time=NOT_THROTTLED, brokers=(), topics=(topic,))


def fetch_response() -> FetchResponse:
    partitions = [
        PartitionData(
            partition_index=index,
            high_watermark=100,
            last_stable_offset=100,
            log_start_offset=0,
            aborted_transactions=None,
            records=RECORDS,
        )
        for index in range(PARTITIONS)
    ]
    return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=partitions)])


def written(write: Callable[[Any, Any], None], entity: Any) -> bytes:
    """The bytes of a kio entity."""
    stream = io.BytesIO()
    write(stream, entity)
    return stream.getvalue()


def row(
    name: str, ours: Callable[[], object], theirs: Callable[[], object] | None, per: int
) -> None:
    """Print one line: our time, kio's, and how many of ours fit into it."""
    mine = microseconds(ours) / per
    if theirs is None:
        print(f"{name:44} {mine:8.2f} µs")
        return
    peer = microseconds(theirs) / per
    print(f"{name:44} {mine:8.2f} µs   kio {peer:8.2f} µs   {peer / mine:6.1f} x")


def main() -> None:
    """Print all figures."""
    data = codec.encode(produce_request(), 9)
    view = memoryview(bytearray(data))
    read_produce = entity_reader(kio_produce.ProduceRequest)
    row(
        "Produce v9 request, 1 partition, decode",
        lambda: codec.decode(ProduceRequest, 9, view),
        lambda: read_produce(data, 0),
        1,
    )
    write_answer = entity_writer(kio_produce_response.ProduceResponse)
    assert codec.encode(produce_response(), 9) == written(
        write_answer, kio_produce_response_entity()
    )
    row(
        "Produce v9 response, 1 partition, build+encode",
        lambda: codec.encode(produce_response(), 9),
        lambda: written(write_answer, kio_produce_response_entity()),
        1,
    )
    write_metadata = entity_writer(kio_metadata.MetadataResponse)
    read_metadata = entity_reader(kio_metadata.MetadataResponse)
    metadata, kio_entity = metadata_response(), kio_metadata_entity()
    encoded = codec.encode(metadata, 12)
    row(
        "Metadata v12 response, per partition, encode",
        lambda: codec.encode(metadata, 12),
        lambda: written(write_metadata, kio_entity),
        PARTITIONS,
    )
    row(
        "Metadata v12 response, per partition, build+encode",
        lambda: codec.encode(metadata_response(), 12),
        lambda: written(write_metadata, kio_metadata_entity()),
        PARTITIONS,
    )
    row(
        "Metadata v12 response, per partition, decode",
        lambda: codec.decode(MetadataResponse, 12, encoded),
        lambda: read_metadata(encoded, 0),
        PARTITIONS,
    )
    fetched = codec.encode(fetch_response(), 12)
    read_fetch = entity_reader(kio_fetch.FetchResponse)
    write_fetch = entity_writer(kio_fetch.FetchResponse)
    answer, (kio_answer, _) = fetch_response(), read_fetch(fetched, 0)
    row(
        "Fetch v12 response, per partition, encode",
        lambda: codec.encode(answer, 12),
        lambda: written(write_fetch, kio_answer),
        PARTITIONS,
    )
    row(
        "Fetch v12 response, per partition, parts",
        lambda: codec.encode_parts(answer, 12),
        None,
        PARTITIONS,
    )
    row(
        "Fetch v12 response, per partition, decode",
        lambda: codec.decode(FetchResponse, 12, fetched),
        lambda: read_fetch(fetched, 0),
        PARTITIONS,
    )
    frame = encode_request_frame(HeartbeatRequest(group_id="g", member_id="m"), 4, 1, "rdkafka")
    body = memoryview(bytearray(frame))[4:]
    row("request header v2, decode", lambda: decode_request_header(body), None, 1)
    reader, burst = FrameReader(1 << 20), frame * 100

    def cut() -> None:
        reader.buffer()[: len(burst)] = burst
        reader.received(len(burst))

    row("frames, 100 in one receive, per frame", cut, None, 100)


if __name__ == "__main__":
    main()
