"""Kafka's own dump tool finds no fault in segments that we compacted: empty batches, delete
horizons, kept markers, merged indexes. Needs what test_kafka_reads_our_files needs.
"""

import re
import subprocess
from pathlib import Path

import pytest

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.producers import Origin
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    ControlMarker,
    build_batch,
    build_control_batch,
)
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from tests.support.compactions import compact_now, headers_of
from tests.support.jars import KAFKA

LIBS = KAFKA.named()
NOW_MS = 1_700_000_000_000
CONFIG = LogConfig(
    segment_bytes=8000,
    index_interval_bytes=200,
    cleanup_policy=frozenset({"compact"}),
    delete_retention_ms=1000,
)

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(LIBS is None, reason="needs Java and OTTLA_KAFKA_LIBS"),
]


def compacted_log(directory: Path) -> int:
    """A log that was compacted three times, at different ages; how many batches it has."""
    disk = RealDisk()
    log = Log.open(
        disk,
        str(directory),
        TopicPartition("t", 0),
        CONFIG,
        now_ms=NOW_MS,
        clean=True,
        events=RecordingEvents(),
    )
    sequences = dict.fromkeys(range(4), 0)
    for at in range(600):
        producer = at // 9 % 4
        records = [
            (b"key %d" % (at * 31 % 97), None if at % 11 == 0 else b"v" * 40, NOW_MS + at, ())
            for n in range(1 + at % 3)
        ]
        data = build_batch(
            records,
            producer_id=producer,
            producer_epoch=0,
            base_sequence=sequences[producer],
            codec=Codec(at % 5),
            transactional=True,
        )
        sequences[producer] += len(records)
        log.append_as_leader(data, leader_epoch=at // 200, now_ms=NOW_MS)
        if at % 9 == 8:
            kind = ABORT_MARKER if at % 27 == 8 else COMMIT_MARKER
            marker = build_control_batch(
                ControlMarker(kind, 3),
                timestamp_ms=NOW_MS + at,
                producer_id=producer,
                producer_epoch=0,
            )
            log.append_as_leader(
                marker, leader_epoch=at // 200, now_ms=NOW_MS, origin=Origin.INTERNAL
            )
            log.forget_replicated(log.log_end)
        if at in {200, 400}:
            compact_now(disk, log, now_ms=NOW_MS + at * 10, end=stable_base(log))
    compact_now(disk, log, now_ms=NOW_MS + 6000, end=stable_base(log))
    headers = headers_of(disk, log)
    assert any(header.record_count == 0 for header in headers)
    assert any(header.attributes & 0x40 for header in headers)
    assert log.segment_count > 2
    log.close(clean=True)
    return len(headers)


def stable_base(log: Log) -> int:
    """The end of what is decided, in whole segments."""
    sealed, end = log.sealed_segments()
    stable = log.first_unstable_offset
    if stable is None or stable >= end:
        return end
    return max(segment.base for segment in sealed if segment.base <= stable)


def test_dump_tool_finds_no_fault_in_a_compacted_log(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    batches = compacted_log(directory)
    kinds = {".log", ".index", ".timeindex", ".txnindex", ".snapshot"}
    files = sorted(str(path) for path in directory.iterdir() if path.suffix in kinds)
    done = subprocess.run(
        ["java", "-Xmx256m", "-cp", f"{LIBS}/*", "kafka.tools.DumpLogSegments",
         "--print-data-log", "--files", ",".join(files)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    for fault in ("ismatch", "isvalid: false", "Exception", "orrupt", "not monotonic", "out of"):
        at = said.find(fault)
        assert at < 0, said[max(at - 1000, 0) : at + 1000]
    assert len(re.findall(r"^baseOffset: ", said, re.MULTILINE)) == batches
    assert said.count("deleteHorizonMs: OptionalLong[") > 5
    assert "count: 0 " in said
