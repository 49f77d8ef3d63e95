"""A broker with two log directories, of which one is on a disk that begins to answer EIO (KIP-112).

The disk is an ext4 file system in a file, told by its own ioctl to shut down: from then on every
call on it fails, also on files that are open.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.test_lone_server import LoneServer
from tests.support.clusters import HarmedCluster, wait_until
from tests.support.processes import end_all

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
SYNCED_FIRST = struct.pack("I", 0)
HARMED = 1  # the broker of which a disk fails


class Disk:
    """A file system of its own, mounted at `at`."""

    def __init__(self, home: Path) -> None:
        self.at = home / "disk"
        self._image = home / "disk.ext4"
        self.at.mkdir()

    def make(self) -> str | None:
        """Why it cannot be had here, or None: it is mounted."""
        with self._image.open("wb") as file:
            file.truncate(64 << 20)
        for command in (["mkfs.ext4", "-q", str(self._image)], self._mount):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return done.stderr.strip()
        return None

    @property
    def _mount(self) -> list[str]:
        return ["mount", "-o", "loop", str(self._image), str(self.at)]

    def fail(self) -> None:
        """Everything that is asked of it from now on fails."""
        root = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(root, SHUTDOWN, SYNCED_FIRST)
        finally:
            os.close(root)

    def repair(self) -> None:
        """As it was before it failed. Nobody may have a file of it open."""
        subprocess.run(["umount", str(self.at)], check=True)
        subprocess.run(self._mount, check=True)

    def remove(self) -> None:
        subprocess.run(["umount", "-l", str(self.at)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not (shutil.which("mount") and shutil.which("mkfs.ext4")):
        pytest.skip("only root may make and mount a file system")
    made = Disk(tmp_path)
    refused = made.make()
    if refused is not None:
        pytest.skip(f"no file system can be mounted from a file here: {refused}")
    try:
        yield made
    finally:
        made.remove()


def write(bootstrap: str, topic: str, values: list[str], **settings: object) -> list[object]:
    """What became of each: its error, None where it was acknowledged by all in sync."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **settings})
    told: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _message: told.append(error))
        assert producer.flush(30) == 0
    return told


def read(bootstrap: str, topic: str, count: int) -> list[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    found: list[str] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])

        def enough() -> bool:
            came = [each for each in consumer.consume(100, 0.2) if each.error() is None]
            found.extend(each.value().decode() for each in came)
            return len(found) >= count

        wait_until(enough, lambda: f"{count} records, {len(found)} came")
        return found
    finally:
        consumer.close()


def test_a_failed_directory_takes_its_own_partitions_offline_and_no_others(
    tmp_path: Path, disk: Disk
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Its own coordinator is in the first directory; new topics go to the emptier one.
    server = LoneServer(home, f"log.dirs={home / 'data'},{disk.at / 'data'}")
    try:
        server.start()
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        for name in ("elsewhere", "doomed"):
            for made in admin.create_topics([NewTopic(name, 1, 1)]).values():
                made.result(20)
        assert (disk.at / "data/doomed-0").is_dir()
        before = [f"before {number}" for number in range(20)]
        assert write(server.bootstrap, "doomed", before) == [None] * 20
        disk.fail()
        [error] = write(
            server.bootstrap, "doomed", ["lost"], **{"delivery.timeout.ms": 3000, "retries": 0}
        )
        assert isinstance(error, KafkaError)
        assert "log_dir.failed" in server.log.read_text()
        assert write(server.bootstrap, "elsewhere", ["on"]) == [None]
        assert read(server.bootstrap, "elsewhere", 1) == ["on"]
        wait_until(
            lambda: admin.list_topics("doomed", 10).topics["doomed"].partitions[0].leader == -1,
            "the others are told that nobody leads it",
        )
        assert server.processes[-1].poll() is None
        end_all(server.processes)
        disk.repair()
        server.start()
        assert read(server.bootstrap, "doomed", 20)[:20] == before
        assert write(server.bootstrap, "doomed", ["after"]) == [None]
    finally:
        end_all(server.processes)


def test_a_leader_whose_directory_fails_is_followed_by_another_replica(
    tmp_path: Path, disk: Disk
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    cluster = HarmedCluster(home)
    cluster.configure("broker", {"auto.leader.rebalance.enable": "false"})
    properties = home / f"config/broker-{HARMED}.properties"
    lines = properties.read_text().splitlines()
    [at] = [at for at, line in enumerate(lines) if line.startswith("log.dirs=")]
    lines[at] += f",{disk.at / 'data'}"
    properties.write_text("\n".join(lines) + "\n")
    try:
        cluster.start()
        for name in ("one", "two", "three"):
            cluster.create_topic(name, [[HARMED, 2, 3]])
        on_disk = {path.name for path in (disk.at / "data").iterdir()}
        doomed = next(name for name in ("one", "two", "three") if f"{name}-0" in on_disk)
        stays = next(name for name in ("one", "two", "three") if f"{name}-0" not in on_disk)
        values = [f"{number}" for number in range(60)]
        assert write(cluster.bootstrap, doomed, values[:20]) == [None] * 20
        disk.fail()
        assert write(cluster.bootstrap, doomed, values[20:40]) == [None] * 20
        cluster.wait_event("broker", HARMED, "log_dir.failed")
        assert cluster.leader(doomed) in {2, 3}
        wait_until(lambda: cluster.isr(doomed) == {2, 3}, "it leaves the ISR")
        assert cluster.leader(stays) == HARMED
        assert write(cluster.bootstrap, stays, ["on"]) == [None]
        cluster.terminate("broker", HARMED)
        disk.repair()
        cluster.start_member("broker", HARMED)
        wait_until(lambda: cluster.isr(doomed) == {1, 2, 3}, "it comes back with its disk")
        assert write(cluster.bootstrap, doomed, values[40:]) == [None] * 20
        assert read(cluster.bootstrap, doomed, 60) == values
    finally:
        cluster.destroy()
