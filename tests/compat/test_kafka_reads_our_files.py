"""Kafka's own dump tool, if it is at hand, reads and checks every file of a log that we wrote.

`OTTLA_KAFKA_LIBS` names a directory with the jars of org.apache.kafka:kafka_2.13:3.9.1 and what it
depends on. Without it, or without Java, the test is skipped.
"""

import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
)
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from tests.support.jars import KAFKA

LIBS = KAFKA.named()
NOW_MS = 1_700_000_000_000

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(LIBS is None, reason="needs Java and OTTLA_KAFKA_LIBS"),
]


def written_log(directory: Path) -> None:
    log = Log.open(
        RealDisk(),
        str(directory),
        TopicPartition("t", 0),
        LogConfig(segment_bytes=20_000, index_interval_bytes=1000),
        now_ms=NOW_MS,
        clean=True,
        events=RecordingEvents(),
    )
    log.set_topic_id(UUID(int=7))
    sequence = 0
    for at in range(200):
        records = [
            (b"k%d" % at, b"value %d " % at * 20, NOW_MS + at * 10 + n, [("h", b"x")])
            for n in range(1 + at % 7)
        ]
        data = build_batch(
            records,
            producer_id=9,
            producer_epoch=0,
            base_sequence=sequence,
            codec=Codec(at % 5),
            transactional=True,
        )
        sequence += len(records)
        log.append_as_leader(data, leader_epoch=at // 50, now_ms=NOW_MS)
        if at % 40 == 39:
            marker = build_control_batch(
                ControlMarker(ABORT_MARKER, 3), timestamp_ms=NOW_MS, producer_id=9, producer_epoch=0
            )
            log.append_as_leader(
                marker, leader_epoch=at // 50, now_ms=NOW_MS, origin=Origin.INTERNAL
            )
    assert log.segment_count > 2
    log.close(clean=True)


def test_dump_tool_finds_no_fault_in_any_file(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    written_log(directory)
    files = sorted(
        str(path)
        for path in directory.iterdir()
        if path.suffix in {".log", ".index", ".timeindex", ".txnindex", ".snapshot"}
    )
    done = subprocess.run(
        [
            "java",
            "-Xmx256m",
            "-cp",
            f"{LIBS}/*",
            "kafka.tools.DumpLogSegments",
            "--deep-iteration",
            "--print-data-log",
            "--files",
            ",".join(files),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    for fault in (
        "Mismatches",
        "mismatch",
        "isvalid: false",
        "Exception",
        "corrupt",
        "not monotonic",
    ):
        assert fault not in said, said[said.find(fault) - 1000 : said.find(fault) + 1000]
    assert said.count("| offset: ") == sum(1 + at % 7 for at in range(200)) + 5
    assert said.count("producerId: 9") >= 205
    assert said.count("endTxnMarker: ABORT") == 5
    assert "payload: " + "value 3 " * 20 in said
