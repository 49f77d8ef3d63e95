"""Requests that are put off and appended together are answered, and kept, as one by one."""

import contextlib
import dataclasses
import struct

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.broker.api import produce
from ottla.broker.storage.log_config import LogConfig, TimestampType
from ottla.broker.storage.producers import encode_snapshot
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.headers import encode_request_frame
from ottla.protocol.kafka.messages.api_versions import ApiVersionsRequest
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import (
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
)
from ottla.runtime.interfaces import ConnectionLost
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from ottla.runtime.memory_disk import MemoryDisk
from tests.support.led_partitions import led_partitions
from tests.support.served import serving

NOW_MS = FixedWallClock().now_ms()
LAST = 424242  # correlation id of the request behind all others
CONFIGS = {
    "default": LogConfig(),
    "small": LogConfig(segment_bytes=420, index_interval_bytes=150, max_message_bytes=400),
    "stamped": LogConfig(timestamp_type=TimestampType.LOG_APPEND_TIME),
    "synced": LogConfig(flush_messages=3),
    "compacted": LogConfig(cleanup_policy=frozenset({"compact"})),
    "bounded": LogConfig(timestamp_before_max_ms=1000),
    "lz4": LogConfig(compression_type="lz4"),
}


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a request carries for one partition. damage: what is wrong with it, if anything."""

    count: int = 1
    producer: int = -1
    sequence: int = -1
    epoch: int = 0
    codec: Codec = Codec.NONE
    timestamp: int = NOW_MS
    damage: str = ""

    def data(self) -> bytes | None:
        if self.damage == "null":
            return None
        records = [(b"k", b"value", self.timestamp, [])] * self.count
        data = bytearray(
            build_batch(
                records,
                producer_id=self.producer,
                producer_epoch=self.epoch if self.producer >= 0 else -1,
                base_sequence=self.sequence,
                codec=self.codec,
                transactional=self.damage == "transactional",
            )
        )
        match self.damage:
            case "crc":
                data[-1] ^= 1
            case "offset":
                struct.pack_into(">q", data, 0, 7)
            case "magic":
                data[16] = 1
            case "length":
                struct.pack_into(">i", data, 8, len(data) - 11)
            case "cut":
                del data[-3:]
            case "short":
                del data[40:]
            case "empty":
                data.clear()
            case "two":
                data = data * 2
            case "control":
                marker = ControlMarker(COMMIT_MARKER, 0)
                return build_control_batch(
                    marker, timestamp_ms=NOW_MS, producer_id=1, producer_epoch=0
                )
            case "large":
                return build_batch([(b"k", bytes(20_000), NOW_MS, [])])
        return bytes(data)


def usually(common: object, *others: object) -> st.SearchStrategy:
    return st.sampled_from([common] * 8 + list(others))


DAMAGES = ["control", "crc", "offset", "magic", "length", "cut", "short", "empty", "null", "two"]
Plain = st.builds(Batch, count=st.integers(1, 3))
Sequenced = st.builds(
    Batch, producer=usually(1, 2), sequence=st.integers(0, 2), epoch=usually(0, 1)
)
Odd = st.builds(
    Batch,
    codec=st.sampled_from(list(Codec)),
    timestamp=st.sampled_from([NOW_MS, NOW_MS - 5000, NOW_MS + 10**9, -1]),
    damage=st.sampled_from(["", "transactional", "large", *DAMAGES]),
)
Batches = st.one_of(Plain, Sequenced, Odd)


@dataclasses.dataclass(frozen=True)
class Asked:
    batches: tuple[Batch, ...]
    partition: int
    version: int
    acks: int
    topic: str
    client: str | None
    behind: bytes

    def frame(self, correlation_id: int) -> bytes:
        parts = [
            PartitionProduceData(index=self.partition + at, records=batch.data())
            for at, batch in enumerate(self.batches)
        ]
        request = ProduceRequest(
            acks=self.acks,
            timeout_ms=100,
            topic_data=[TopicProduceData(name=self.topic, partition_data=parts)],
        )
        frame = encode_request_frame(request, self.version, correlation_id, self.client)
        size = len(frame) - 4 + len(self.behind)
        return struct.pack(">i", size) + frame[4:] + self.behind


Requests = st.builds(
    Asked,
    batches=st.one_of(*[st.tuples(Batches)] * 5, st.tuples(Batches, Batches)),
    partition=usually(0, 1, 5),
    version=usually(9, 3, 5, 7, 8, 10, 11),
    acks=usually(1, -1, -1, -1, 0, 2),
    topic=usually("t", "none", "__consumer_offsets"),
    client=usually("tester", None, "", "__admin_client"),
    behind=usually(b"", b"\0", b"more"),
)


async def answers(
    frames: list[bytes], cuts: list[int], *, config: LogConfig, together: bool
) -> tuple[bytes, list[object]]:
    """All that the broker sent, and what is on its disk and in its memory afterwards."""
    disk = MemoryDisk()
    registry, logs = await led_partitions(
        disk,
        "/data",
        "t",
        2,
        wall_clock=FixedWallClock(),
        events=RecordingEvents(),
        config=config,
    )
    one_by_one = dataclasses.replace(produce.API, handle=produce.handle)
    sent = b"".join(frames)
    received = bytearray()
    served_api = produce.API if together else one_by_one
    async with serving(served_api, partitions=registry, log_manager=logs) as served:
        peer = await served.connect()
        before = 0
        for cut in [*sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]:
            with contextlib.suppress(ConnectionLost):  # a request made the broker hang up
                await peer.stream.send_all(sent[before:cut])
            await trio.testing.wait_all_tasks_blocked()
            before = cut
        room = memoryview(bytearray(1 << 16))
        with trio.move_on_after(60):
            while struct.pack(">i", LAST) not in received:
                try:
                    count = await peer.stream.receive_into(room)
                except OSError:
                    break
                if not count:
                    break
                received += room[:count]
    state: list[object] = []
    for partition in registry:
        partition.check()
        partition.log.check()
        state += [partition.high_watermark, partition.log.log_end, partition.log.settled_end]
        state += [encode_snapshot(partition.log.producers), partition.log.epochs.entries()]
        for offset in range(partition.log.log_end):
            state.append(partition.log.read(offset, 1 << 20, end=1 << 60, at_least_one=True)[1])
    logs.close(clean=True)
    state += [
        disk.read(f"/data/t-{index}/{name}")
        for index in range(2)
        for name in disk.list_dir(f"/data/t-{index}")
        if name.endswith(".log")
    ]
    return bytes(received), state


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(Requests, min_size=6, max_size=24),
    cuts=st.lists(st.integers(0, 1 << 16), max_size=3),
    config=st.sampled_from(["default", "small"] * 2 + sorted(CONFIGS)),
)
def test_both_ways_give_the_same_bytes(requests: list[Asked], cuts: list[int], config: str) -> None:
    frames = [each.frame(number) for number, each in enumerate(requests)]
    frames.append(encode_request_frame(ApiVersionsRequest(), 0, LAST, "tester"))

    async def both() -> None:
        first = await answers(frames, cuts, config=CONFIGS[config], together=True)
        second = await answers(frames, cuts, config=CONFIGS[config], together=False)
        assert first[0] == second[0]
        if struct.pack(">i", LAST) in first[0]:  # else the broker hung up, and owes nothing more
            assert first[1] == second[1]

    trio.run(both, clock=trio.testing.MockClock(autojump_threshold=0))
