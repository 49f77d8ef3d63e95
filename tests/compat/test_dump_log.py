"""scripts/dump-log.sh prints what Kafka's own `kafka-dump-log.sh` does, to the last character."""

import subprocess
from pathlib import Path

import pytest

from ottla.broker.groups.records import encode_group_key, encode_offset, encode_offset_key
from ottla.broker.groups.values import OffsetEntry
from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.codec import encode_versioned
from ottla.protocol.kafka.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from ottla.protocol.kafka.messages.consumer_protocol import TopicPartition as Assigned
from ottla.protocol.kafka.messages.group_records import GroupMetadataValue, MemberMetadata
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from ottla.scripts.dump_log import main
from tests.compat.test_kafka_reads_our_files import written_log
from tests.support.jars import KAFKA

LIBS = KAFKA.named()
NOW_MS = 1_700_000_000_000

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(LIBS is None, reason="needs Java and OTTLA_KAFKA_LIBS"),
]


def kafka_says(words: list[str]) -> str:
    command = ["java", "-Xmx256m", "-Dfile.encoding=UTF-8", "-cp", f"{LIBS}/*"]
    done = subprocess.run(
        [*command, "kafka.tools.DumpLogSegments", *words],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


def offsets_log(directory: Path) -> None:
    log = Log.open(
        RealDisk(), str(directory), TopicPartition("__consumer_offsets", 0), LogConfig(),
        now_ms=NOW_MS, clean=True, events=RecordingEvents(),
    )  # fmt: skip
    subscription = ConsumerProtocolSubscription(topics=["t"], user_data=b"xy")
    assignment = ConsumerProtocolAssignment(
        assigned_partitions=[Assigned(topic="t", partitions=[0, 1])]
    )
    group = GroupMetadataValue(
        protocol_type="consumer",
        generation=3,
        protocol="range",
        leader="a",
        current_state_timestamp=12,
        members=[
            MemberMetadata(
                member_id="a",
                client_id="c",
                client_host="/127.0.0.1",
                rebalance_timeout=1,
                session_timeout=2,
                subscription=encode_versioned(subscription, 1),
                assignment=encode_versioned(assignment, 1),
            )
        ],
    )
    key = encode_offset_key("g", TopicPartition("t", 1))
    entry = OffsetEntry(offset=5, leader_epoch=2, metadata='m"\u00e9', commit_ms=17)
    records = [
        (key, encode_offset(entry)),
        (key, None),
        (encode_group_key("g"), encode_versioned(group, 3)),
        (encode_group_key("g"), None),
        (b"\x00\x63?", b"of another kind"),
    ]
    data = build_batch([(key, value, NOW_MS, []) for key, value in records])
    log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS)
    log.close(clean=True)


def files_of(directory: Path) -> list[str]:
    """Those that Kafka's tool has to be given one by one."""
    kinds = {".log", ".index", ".timeindex", ".txnindex", ".snapshot"}
    return sorted(str(path) for path in directory.iterdir() if path.suffix in kinds)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--deep-iteration"],
        ["--print-data-log"],
        ["--print-data-log", "--skip-record-metadata"],
        ["--max-bytes", "3000"],
        ["--index-sanity-check"],
        ["--verify-index-only"],
    ],
    ids=" ".join,
)
def test_a_partition(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    written_log(tmp_path / "t-0")
    words = ["--files", ",".join(files_of(tmp_path / "t-0")), *flags]
    assert main(words) == 0
    assert capsys.readouterr().out == kafka_says(words)


def test_offsets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offsets_log(tmp_path / "__consumer_offsets-0")
    (path,) = (tmp_path / "__consumer_offsets-0").glob("*.log")
    words = ["--files", str(path), "--offsets-decoder"]
    assert main(words) == 0
    assert capsys.readouterr().out == kafka_says(words)
