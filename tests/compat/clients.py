"""The four outside clients behind one face, each with its defaults.

Only what a test is about is set: the bootstrap servers, the group, and to read from the beginning.
"""

import asyncio
import json
import shutil
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiokafka
import confluent_kafka

with warnings.catch_warnings():
    # It loads its schemas through a function that the standard library has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka
    import kafka.admin

BOUND_S = 30.0
"""No client waits longer for anything."""


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Read(NamedTuple):
    partition: int
    offset: int
    record: Record


class Outside(Protocol):
    """A client that is not ours."""

    name: str

    def produce(
        self, bootstrap: str, topic: str, records: Sequence[Record], **options: Any
    ) -> None:
        """Send all and wait for the acknowledgements. options: in the client's own words."""

    def read(self, bootstrap: str, topic: str, group: str, count: int) -> list[Read]:
        """Join a group, read `count` records, commit, leave."""

    def committed(self, bootstrap: str, topic: str, group: str) -> dict[int, int]:
        """The group's offsets by partition; partitions without one are left out."""


class ConfluentKafka:
    name = "confluent-kafka"

    def produce(
        self, bootstrap: str, topic: str, records: Sequence[Record], **options: Any
    ) -> None:
        settings = {key.replace("_", "."): value for key, value in options.items()}
        producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **settings})
        errors: list[object] = []
        for record in records:
            producer.produce(
                topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                on_delivery=lambda error, _message: errors.append(error) if error else None,
            )
        assert producer.flush(BOUND_S) == 0
        assert not errors

    def read(self, bootstrap: str, topic: str, group: str, count: int) -> list[Read]:
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
        )
        found: list[Read] = []
        consumer.subscribe([topic])
        try:
            deadline = time.monotonic() + BOUND_S
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count}"
                message = consumer.poll(0.5)
                if message is None:
                    continue
                assert message.error() is None
                headers = tuple(message.headers() or ())
                record = Record(message.key(), message.value(), headers)
                found.append(Read(message.partition(), message.offset(), record))
        finally:
            consumer.close()
        return found

    def committed(self, bootstrap: str, topic: str, group: str) -> dict[int, int]:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
        try:
            partitions = consumer.list_topics(topic, BOUND_S).topics[topic].partitions
            asked = [confluent_kafka.TopicPartition(topic, index) for index in partitions]
            answered = consumer.committed(asked, BOUND_S)
        finally:
            consumer.close()
        return {each.partition: each.offset for each in answered if each.offset >= 0}


class KafkaPython:
    name = "kafka-python"

    def produce(
        self, bootstrap: str, topic: str, records: Sequence[Record], **options: Any
    ) -> None:
        producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, **options)
        try:
            futures = [
                producer.send(
                    topic, key=record.key, value=record.value, headers=list(record.headers)
                )
                for record in records
            ]
            for future in futures:
                future.get(BOUND_S)
        finally:
            producer.close(timeout=BOUND_S)

    def read(self, bootstrap: str, topic: str, group: str, count: int) -> list[Read]:
        consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
        )
        found: list[Read] = []
        try:
            deadline = time.monotonic() + BOUND_S
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count}"
                for messages in consumer.poll(500).values():
                    found += [read_of(message) for message in messages]
        finally:
            consumer.close()
        return found

    def committed(self, bootstrap: str, topic: str, group: str) -> dict[int, int]:
        consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, group_id=group)
        try:
            found = {
                index: consumer.committed(kafka.TopicPartition(topic, index))
                for index in sorted(consumer.partitions_for_topic(topic))
            }
        finally:
            consumer.close()
        return {index: offset for index, offset in found.items() if offset is not None}


class AioKafka:
    name = "aiokafka"

    def produce(
        self, bootstrap: str, topic: str, records: Sequence[Record], **options: Any
    ) -> None:
        async def main() -> None:
            async with (
                asyncio.timeout(BOUND_S),
                aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer,
            ):
                futures = [
                    await producer.send(
                        topic, key=record.key, value=record.value, headers=list(record.headers)
                    )
                    for record in records
                ]
                await asyncio.gather(*futures)

        asyncio.run(main())

    def read(self, bootstrap: str, topic: str, group: str, count: int) -> list[Read]:
        found: list[Read] = []

        async def main() -> None:
            consumer = aiokafka.AIOKafkaConsumer(
                topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"
            )
            async with asyncio.timeout(BOUND_S), consumer:
                while len(found) < count:
                    for messages in (await consumer.getmany(timeout_ms=500)).values():
                        found.extend(read_of(message) for message in messages)

        asyncio.run(main())
        return found

    def committed(self, bootstrap: str, topic: str, group: str) -> dict[int, int]:
        async def main() -> dict[int, int | None]:
            consumer = aiokafka.AIOKafkaConsumer(
                topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
            )
            async with asyncio.timeout(BOUND_S), consumer:
                return {
                    index: await consumer.committed(aiokafka.TopicPartition(topic, index))
                    for index in consumer.partitions_for_topic(topic) or ()
                }

        found = asyncio.run(main())
        return {index: offset for index, offset in found.items() if offset is not None}


def read_of(message: Any) -> Read:
    """A record of kafka-python or of aiokafka, whose names are the same."""
    record = Record(message.key, message.value, tuple(message.headers))
    return Read(message.partition, message.offset, record)


class Kcat:
    """The command line client. Text only, since it is read back as JSON."""

    name = "kcat"
    _BETWEEN = "\x1f"

    @staticmethod
    def is_there() -> bool:
        return shutil.which("kcat") is not None

    def produce(
        self, bootstrap: str, topic: str, records: Sequence[Record], **options: Any
    ) -> None:
        """Records of one call share their headers, for kcat takes them on its command line."""
        words = ["-P", "-t", topic, "-K", self._BETWEEN, "-Z"]
        for key, value in options.items():
            words += ["-X", f"{key.replace('_', '.')}={value}"]
        (headers,) = {record.headers for record in records}
        for name, content in headers:
            words += ["-H", name if content is None else f"{name}={content.decode()}"]
        lines = [(r.key or b"") + self._BETWEEN.encode() + (r.value or b"") for r in records]
        run_kcat(bootstrap, *words, text=b"\n".join(lines))

    def read(self, bootstrap: str, topic: str, group: str, count: int) -> list[Read]:
        words = ["-G", group, "-X", "auto.offset.reset=earliest", "-c", str(count), "-J", topic]
        found = [json.loads(line) for line in run_kcat(bootstrap, *words).splitlines()]
        return [
            Read(each["partition"], each["offset"], Record(*self._content(each))) for each in found
        ]

    @staticmethod
    def _content(
        found: Mapping[str, Any],
    ) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
        key, value = (None if found[k] is None else found[k].encode() for k in ("key", "payload"))
        words = iter(found.get("headers", ()))
        headers = tuple(
            (name, None if content is None else content.encode())
            for name, content in zip(words, words, strict=True)
        )
        return key, value, headers

    def committed(self, bootstrap: str, topic: str, group: str) -> dict[int, int]:
        """It has no way to ask, so librdkafka's other user here does."""
        return ConfluentKafka().committed(bootstrap, topic, group)


def run_kcat(bootstrap: str, *words: str, text: bytes = b"", cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["kcat", "-b", bootstrap, *words],
        input=text, capture_output=True, timeout=BOUND_S, check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


CLIENTS: tuple[Outside, ...] = (ConfluentKafka(), KafkaPython(), AioKafka(), Kcat())
