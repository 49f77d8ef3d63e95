"""Kafka and our broker are asked the same, one after the other, and answer the same.

Produce, Fetch, ListOffsets, OffsetForLeaderEpoch and DeleteRecords in many versions, sound requests
and all that can be wrong with one: offsets, error codes, timestamps, what became of batches in
topics that pack or stamp anew. `OTTLA_KAFKA_LIBS` names a directory with the jars of
org.apache.kafka:kafka_2.13:3.9.1 and what it depends on. Without it, or without Java, the test is
skipped.

Not asked is what Kafka does worse: records that are null (it gives no answer), a codec that nobody
knows (UNKNOWN_SERVER_ERROR), a batch that says it has the broker's time (taken as it is), the
greatest timestamp where all records that had it are deleted (found all the same).
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.crc import crc32c
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.headers import decode_response, encode_request_frame
from ottla.protocol.kafka.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from ottla.protocol.kafka.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
)
from ottla.protocol.kafka.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from ottla.protocol.kafka.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from ottla.protocol.kafka.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from ottla.protocol.kafka.records import CRC_AT, CRC_FROM, build_batch, read_all_records
from ottla.protocol.kafka.schema import Struct, schema_of
from tests.benchmarks.kafka_servers import Kafka, Ottla, Server, wait_up
from tests.benchmarks.kafka_sockets import Connection
from tests.support.jars import KAFKA

LIBS = KAFKA.named()
HOUR_MS = 3_600_000
ANSWER_S_MAX = 10.0
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TOPICS = {
    "plain": {},
    "sequences": {},
    "stamped": {"message.timestamp.type": "LogAppendTime"},
    "no-older": {"message.timestamp.before.max.ms": str(HOUR_MS)},
    "no-younger": {"message.timestamp.after.max.ms": str(HOUR_MS)},
    "any-time": {"message.timestamp.after.max.ms": str(2**63 - 1)},
    "small": {"max.message.bytes": "1500"},
    "short": {"segment.bytes": "600"},
    "compacted": {"cleanup.policy": "compact"},
    "times": {},
    **{f"to-{codec}": {"compression.type": codec} for codec in CODECS[1:]},
    "to-none": {"compression.type": "uncompressed"},
}
UNEQUAL = {
    "throttle_time_ms",
    "session_id",
    "node_endpoints",
    "error_message",
    "batch_index_error_message",
}
AGAIN = {"its duplicate", "again"}
"""Kafka gives the batch's own time as that of the append, though the topic has the producers'."""
Step = tuple[str, Any, int]
"""(what is asked, request or what makes it of the fetch session's id, version)"""

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(LIBS is None, reason="needs Java and OTTLA_KAFKA_LIBS"),
]


def produce(topic: str, records: bytes | None, *, acks: int = -1, partition: int = 0) -> Any:
    data = PartitionProduceData(index=partition, records=records)
    return ProduceRequest(
        acks=acks,
        timeout_ms=5_000,
        topic_data=[TopicProduceData(name=topic, partition_data=[data])],
    )


def fetch(
    topic: str,
    offset: int,
    *,
    partition: int = 0,
    epoch: int = -1,
    level: int = 0,
    last_epoch: int = -1,
) -> Any:
    one = FetchPartition(
        partition=partition,
        fetch_offset=offset,
        partition_max_bytes=1 << 20,
        current_leader_epoch=epoch,
        last_fetched_epoch=last_epoch,
    )
    return FetchRequest(
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=1 << 24,
        isolation_level=level,
        topics=[FetchTopic(topic=topic, partitions=[one])],
    )


def in_session(epoch: int, *wanted: tuple[str, int], id_: int | None = None, leave: str = ""):
    """What makes a request of a session, whose id each server chooses for itself."""

    def request(session: int) -> FetchRequest:
        made = fetch("", 0)
        made.session_id, made.session_epoch = session if id_ is None else id_, epoch
        made.topics = [fetch(topic, offset).topics[0] for topic, offset in wanted]
        if leave:
            made.forgotten_topics_data = [ForgottenTopic(topic=leave, partitions=[0])]
        return made

    return request


def offsets(topic: str, timestamp: int, *, partition: int = 0, epoch: int = -1) -> Any:
    one = ListOffsetsPartition(
        partition_index=partition, timestamp=timestamp, current_leader_epoch=epoch
    )
    return ListOffsetsRequest(
        replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=[one])]
    )


def epoch_end(topic: str, epoch: int, *, partition: int = 0, current: int = -1) -> Any:
    one = OffsetForLeaderPartition(
        partition=partition, leader_epoch=epoch, current_leader_epoch=current
    )
    return OffsetForLeaderEpochRequest(
        replica_id=-2, topics=[OffsetForLeaderTopic(topic=topic, partitions=[one])]
    )


def delete(topic: str, offset: int, *, partition: int = 0) -> Any:
    one = DeleteRecordsPartition(partition_index=partition, offset=offset)
    return DeleteRecordsRequest(
        topics=[DeleteRecordsTopic(name=topic, partitions=[one])], timeout_ms=5_000
    )


class Script:
    """What is asked, in its order."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def batch(self, *values: bytes | None, at: int = 0, key: bytes | None = b"k", **more: Any):
        return build_batch([(key, value, self.now_ms + at, ()) for value in values], **more)

    def sequence(self, producer: int, sequence: int, count: int = 1, epoch: int = 0) -> bytes:
        return self.batch(
            *[b"v"] * count, producer_id=producer, producer_epoch=epoch, base_sequence=sequence
        )

    def steps(self) -> Iterator[Step]:
        yield from self.bad_batches()
        yield from self.sequences()
        yield from self.timestamps()
        yield from self.codecs()
        yield from self.reads()
        yield from self.sessions()
        yield from self.deletions()

    def bad_batches(self) -> Iterator[Step]:
        sound = self.batch(b"value")
        flipped = sound[:-1] + bytes([sound[-1] ^ 1])
        for version in (3, 5, 7, 8, 9, 11):
            yield "sound", produce("plain", sound), version
            yield "no topic", produce("nothing", sound), version
            yield "no partition", produce("plain", sound, partition=9), version
            yield "acks 2", produce("plain", sound, acks=2), version
            yield "empty records", produce("plain", b""), version
            yield "two batches", produce("plain", sound + sound), version
            yield "cut", produce("plain", sound[:-1]), version
            yield "flipped", produce("plain", flipped), version
            yield "too large", produce("small", self.batch(bytes(2000))), version
            yield "many too large", produce("small", self.batch(*[bytes(300)] * 9)), version
            yield "over a segment", produce("short", self.batch(bytes(900))), version
            yield "keyless", produce("compacted", self.batch(b"v", key=None)), version
            yield "tombstone", produce("compacted", self.batch(None)), version
            yield "control", produce("plain", self.batch(b"v", control=True)), version
            yield "format 1", produce("plain", sound[:16] + b"\x01" + sound[17:]), version
            yield "count of 2", produce("plain", signed(sound, 60, 2)), version
            yield "last offset 1", produce("plain", signed(sound, 26, 1)), version
        for version in (3, 6, 7, 9):
            yield "zstd", produce("plain", self.batch(b"v", codec=Codec.ZSTD)), version

    def sequences(self) -> Iterator[Step]:
        for number, version in enumerate((3, 8, 11)):
            one, two, three = (1000 * (number + 1) + n for n in (1, 2, 3))
            for label, records in (
                ("first", self.sequence(one, 0, 2)),
                ("its duplicate", self.sequence(one, 0, 2)),
                ("half of it", self.sequence(one, 0, 1)),
                ("next", self.sequence(one, 2)),
                ("gap", self.sequence(one, 5)),
                ("next epoch, in its middle", self.sequence(one, 3, epoch=1)),
                ("next epoch", self.sequence(one, 0, epoch=1)),
                ("former epoch", self.sequence(one, 3)),
                ("unknown, in its middle", self.sequence(two, 7)),
                ("goes on", self.sequence(two, 8)),
                ("last number", self.sequence(three, 2**31 - 1)),
                ("wraps", self.sequence(three, 0)),
                ("no sequence", self.batch(b"v", producer_id=one, producer_epoch=1)),
            ):
                yield label, produce("sequences", records), version
            for step in range(1, 7):
                yield "one of six", produce("sequences", self.sequence(two, 8 + step)), version
            for step in range(7):
                yield "again", produce("sequences", self.sequence(two, 8 + step)), version

    def timestamps(self) -> Iterator[Step]:
        for version in (3, 8, 11):
            for topic in ("plain", "stamped", "no-older", "no-younger", "any-time"):
                for at in (0, -2 * HOUR_MS, 2 * HOUR_MS, -self.now_ms, -self.now_ms - 1):
                    yield f"{topic} at {at}", produce(topic, self.batch(b"v", at=at)), version
                mixed = build_batch(
                    [(b"k", b"v", self.now_ms + at, ()) for at in (0, -2 * HOUR_MS, 2 * HOUR_MS)]
                )
                yield f"{topic}, all three", produce(topic, mixed), version
        for topic in ("stamped", "no-older", "no-younger", "any-time"):
            yield topic, fetch(topic, 0), 11
        yield "latest", offsets("stamped", -1), 7

    def codecs(self) -> Iterator[Step]:
        for target in CODECS:
            for codec in (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD):
                records = self.batch(*[b"value %d" % n for n in range(50)], codec=codec)
                yield f"{codec.name} to {target}", produce(f"to-{target}", records), 9
            yield f"to {target}", fetch(f"to-{target}", 0), 11

    def reads(self) -> Iterator[Step]:
        for at in (0, 500, 200, 900, 900, 100):
            yield "times", produce("times", self.batch(b"v", b"w", at=at)), 9
        for version in (4, 7, 9, 11, 12):
            for offset in (0, 1, 3, 11, 12, 13, -1, -5, 1 << 40):
                yield f"from {offset}", fetch("times", offset), version
            yield "committed", fetch("times", 0, level=1), version
            yield "no partition", fetch("times", 0, partition=3), version
            yield "no topic", fetch("nothing", 0), version
            if version >= 12:
                for last_epoch in (0, 1, 5):
                    for offset in (0, 12, 13):
                        request = fetch("times", offset, last_epoch=last_epoch)
                        yield f"after {last_epoch}, from {offset}", request, version
            if version >= 9:
                for epoch in (0, 1, 7):
                    yield f"in epoch {epoch}", fetch("times", 0, epoch=epoch), version
        for version in range(1, 10):
            for timestamp in (-1, -2, -3, -4, -5, -6, 0, *(self.now_ms + n for n in (0, 150, 950))):
                yield f"offset of {timestamp - self.now_ms}", offsets("times", timestamp), version
                yield "of none", offsets("small", timestamp), version
            yield "no partition", offsets("times", -1, partition=3), version
            yield "no topic", offsets("nothing", -1), version
            if version >= 4:
                for epoch in (0, 1):
                    yield f"in epoch {epoch}", offsets("times", -1, epoch=epoch), version
        for version in (2, 3, 4):
            for epoch in (-1, 0, 1, 5):
                for current in (-1, 0, 3):
                    request = epoch_end("times", epoch, current=current)
                    yield f"end of {epoch} in {current}", request, version
            yield "no partition", epoch_end("times", 0, partition=3), version
            yield "no topic", epoch_end("nothing", 0), version

    def sessions(self) -> Iterator[Step]:
        for version in (7, 11, 12):
            both = ("times", 12), ("compacted", 0)
            for label, request in (
                ("begin", in_session(0, *both, id_=0)),
                ("nothing new", in_session(1)),
                ("from elsewhere", in_session(2, ("times", 4))),
                ("again", in_session(3)),
                ("at the end again", in_session(4, ("times", 12))),
                ("nothing new", in_session(5)),
                ("one more topic", in_session(6, ("stamped", 0))),
                ("without it", in_session(7, ("stamped", 1 << 40), leave="compacted")),
                ("the error again", in_session(8)),
                ("an epoch too few", in_session(8)),
                ("an epoch too many", in_session(10)),
                ("no such partition", in_session(9, ("nothing", 0))),
                ("it stays", in_session(10)),
                ("no such session", in_session(1, id_=12345)),
                ("end", in_session(-1, ("times", 11))),
                ("after its end", in_session(11)),
            ):
                yield f"session: {label}", request, version

    def deletions(self) -> Iterator[Step]:
        for version in (0, 1, 2):
            first = 3 * version
            for offset in (first + 1, first, first + 3, -2, 99):
                yield f"below {offset}", delete("times", offset), version
            yield "no partition", delete("times", 0, partition=3), version
            yield "no topic", delete("nothing", 0), version
        for timestamp in (-1, -2, -4, self.now_ms, self.now_ms + 150, self.now_ms + 500):
            yield "of what is left", offsets("times", timestamp), 8
        for offset in (0, 8, 9, 10):
            yield "of what is left", fetch("times", offset), 11
        yield "all", delete("times", -1), 2
        yield "of nothing", offsets("times", -2), 8


def signed(batch: bytes, at: int, value: int) -> bytes:
    """With another byte under a right checksum."""
    changed = batch[:at] + bytes([value]) + batch[at + 1 :]
    return changed[:CRC_AT] + crc32c(changed[CRC_FROM:]).to_bytes(4, "big") + changed[CRC_FROM:]


def shown(value: Any, now_ms: int, name: str = "") -> Any:
    """An answer without what may differ: texts, the servers' clocks and addresses, and what no
    client looks at: where a log starts that refused records, whether a list is empty or null.
    """
    if name in UNEQUAL:
        return None
    if name == "error_code":
        return ErrorCode(value).name
    if name == "log_append_time_ms":
        return value if value < 0 else "now"
    if name == "aborted_transactions":
        value = value or []
    if name == "records":
        return [
            (header.codec.name, header.attributes & 0x38, record.offset, record.key, record.value,
             "now" if header.attributes & 8 else record.timestamp - now_ms)
            for header, records in read_all_records(bytes(value or b""))
            for record in records
        ]  # fmt: skip
    if isinstance(value, Struct):
        found = {each: shown(getattr(value, each), now_ms, each) for each in type(value).__slots__}
        if found.get("base_offset") == -1:
            del found["log_start_offset"]
        return found
    if isinstance(value, list):
        return [shown(each, now_ms) for each in value]
    return value


def answers(server: Server, script: Script) -> list[tuple[str, Any]]:
    server.start()
    try:
        wait_up(server)
        admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})
        wanted = [NewTopic(name, 1, 1, config=config) for name, config in TOPICS.items()]
        for future in admin.create_topics(wanted).values():
            future.result(30)
        time.sleep(2)  # until all are led
        found = []
        connection = Connection(server.address)
        session = 0
        for label, wanted_now, version in script.steps():
            request = wanted_now(session) if callable(wanted_now) else wanted_now
            key = schema_of(type(request)).api
            asked = f"{key.name} {version}: {label}"
            try:
                connection.socket.settimeout(ANSWER_S_MAX)
                frame = connection.ask(encode_request_frame(request, version, 1, "twin"))
                response = decode_response(key, version, frame)[1]
                session = getattr(response, "session_id", 0) or session
                answer = shown(response, script.now_ms)
            except (ConnectionError, TimeoutError) as error:
                answer = type(error).__name__
                connection.close()
                connection = Connection(server.address)
            found.append((asked, answer))
        connection.close()
        return found
    finally:
        server.kill()


def _without_time(answer: Any) -> str:
    return re.sub(r"'log_append_time_ms': [^,]*", "", str(answer))


def test_both_answer_the_same(tmp_path: Path) -> None:
    assert LIBS is not None
    script = Script(int(time.time() * 1000) - 1000)
    theirs = answers(Kafka(tmp_path / "kafka", 1, LIBS), script)
    ours = answers(Ottla(tmp_path / "ottla", 1), script)
    different = [
        f"{asked}\n    Kafka: {there}\n    ours:  {here}"
        for (asked, there), (_, here) in zip(theirs, ours, strict=True)
        if there != here
        and not (asked.partition(": ")[2] in AGAIN and _without_time(there) == _without_time(here))
    ]
    assert not different, f"{len(different)} of {len(ours)}\n" + "\n".join(different)
