"""A broker on a file system of a few megabytes: it fills up, and is emptied by its user."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.test_lone_server import LoneServer
from tests.support.clusters import wait_until
from tests.support.processes import end_all

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SIZE = "8m"
RECORD = os.urandom(50_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(where)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def produce_until_refused(bootstrap: str, topic: str) -> tuple[int, KafkaError]:
    """How many records were taken, and why the next was not."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "retries": 0,
            "enable.idempotence": False,
            "delivery.timeout.ms": 10_000,
        }
    )
    refused: list[KafkaError] = []

    def told(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            refused.append(error)

    for taken in range(500):
        producer.produce(topic, RECORD, on_delivery=told)
        assert producer.flush(20) == 0
        if refused:
            return taken, refused[0]
    raise AssertionError("it never fills up")


def count_records(bootstrap: str, topic: str, count: int) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[object] = []

        def enough() -> bool:
            found.extend(m for m in consumer.consume(100, 0.2) if m.error() is None)
            return len(found) >= count

        wait_until(enough, lambda: f"{count} records, {len(found)} came")
        assert all(message.value() == RECORD for message in found)
        return len(found)
    finally:
        consumer.close()


def test_a_full_disk_refuses_records_until_something_is_deleted(
    tmp_path: Path, small_disk: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Its own coordinator is in the first directory, which has room; topics go to the emptier one.
    server = LoneServer(
        home,
        f"log.dirs={home / 'data'},{small_disk / 'data'}",
        "log.segment.delete.delay.ms=0",
        "log.segment.bytes=1000000",
    )
    try:
        server.start()
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        for name in ("elsewhere", "big"):
            create(admin, name)
        assert (small_disk / "data/big-0").is_dir()
        taken, error = produce_until_refused(server.bootstrap, "big")
        assert error.code() == KafkaError.KAFKA_STORAGE_ERROR
        assert taken > 50
        assert count_records(server.bootstrap, "big", taken) == taken
        produce_one(server.bootstrap, "elsewhere")
        assert "log_dir.full" in server.log.read_text()

        for deleted in admin.delete_topics(["big"]).values():
            deleted.result(20)
        wait_until(
            lambda: "log_dir.space_returned" in server.log.read_text(), "the space comes back"
        )
        create(admin, "again")
        assert (small_disk / "data/again-0").is_dir()
        produce_one(server.bootstrap, "again")
        assert "log_dir.failed" not in server.log.read_text()
        assert server.processes[-1].poll() is None
    finally:
        end_all(server.processes)


def create(admin: AdminClient, name: str) -> None:
    for made in admin.create_topics([NewTopic(name, 1, 1)]).values():
        made.result(20)


def produce_one(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    errors: list[KafkaError | None] = []
    producer.produce(topic, RECORD, on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None]


def test_a_lone_server_survives_that_its_own_coordinator_has_no_room(
    tmp_path: Path, small_disk: Path
) -> None:
    """One directory for all, as shipped."""
    server = LoneServer(tmp_path, f"log.dirs={small_disk / 'data'}")
    try:
        server.start()
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        for name in ("big", "small"):
            create(admin, name)
        taken, error = produce_until_refused(server.bootstrap, "big")
        assert error.code() == KafkaError.KAFKA_STORAGE_ERROR
        ballast = small_disk / "data/big-0/00000000000000000000.log"
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass
        assert ballast.stat().st_size > 0
        admin.create_topics([NewTopic("refused", 200, 1)], operation_timeout=3)
        wait_until(lambda: "coordinator.stepped_aside" in server.log.read_text(), "it steps aside")
        filler.unlink()
        assert server.processes[-1].poll() is None, server.log.read_text()[-2000:]
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        wait_until(
            lambda: server.log.read_text().count("coordinator.started") == 2, "it comes back"
        )
        create(admin, "again")
        produce_one(server.bootstrap, "again")
        assert count_records(server.bootstrap, "big", taken) == taken
    finally:
        end_all(server.processes)
