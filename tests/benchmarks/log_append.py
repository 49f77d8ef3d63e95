"""What a log's append costs beside a bare write of the same bytes.

Run `python tests/benchmarks/log_append.py`. Prints microseconds per append of one small batch and
MB/s of large batches, each with its ratio to `os.pwrite` of the same bytes on the same file system
in the same run.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk

NOW_MS = 1_700_000_000_000
ROUNDS = 5


def best_of(run: Callable[[int], float], count: int) -> float:
    """Seconds per call in the fastest round: the others were disturbed."""
    return min(run(count) for _ in range(ROUNDS)) / count


def bare(directory: str, data: bytes) -> Callable[[int], float]:
    def run(count: int) -> float:
        fd = os.open(f"{directory}/bare", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        start = time.perf_counter()
        at = 0
        for _ in range(count):
            at += os.pwrite(fd, data, at)
        took = time.perf_counter() - start
        os.close(fd)
        return took

    return run


def appends(directory: str, data: bytes, *, reads: bool = False) -> Callable[[int], float]:
    def run(count: int) -> float:
        path = f"{directory}/bench-0"
        log = Log.open(
            RealDisk(),
            path,
            TopicPartition("bench", 0),
            LogConfig(),
            now_ms=NOW_MS,
            clean=True,
            events=RecordingEvents(),
        )
        log.assign_epoch(0, 0)
        if reads:
            for _ in range(count):
                log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS)
        start = time.perf_counter()
        for offset in range(count):
            if reads:
                log.read(offset, 1 << 20, end=log.log_end, at_least_one=True)
            else:
                log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS)
        took = time.perf_counter() - start
        log.delete()
        return took

    return run


def main() -> None:
    directory = tempfile.mkdtemp(prefix="ottla-bench-")
    try:
        for size in (100, 1000):
            for idempotent in (False, True):
                report_small(directory, size, idempotent=idempotent)
        small = build_batch([(None, bytes(100), NOW_MS, ())])
        took = best_of(appends(directory, small, reads=True), 5000)
        print(f"read from any offset of 5000 small batches: {took * 1e6:6.2f} us")
        for size in (100_000, 1_000_000):
            data = build_batch([(None, os.urandom(1000), NOW_MS, ()) for _ in range(size // 1000)])
            took = best_of(appends(directory, data), 50_000_000 // size)
            floor = best_of(bare(directory, data), 50_000_000 // size)
            rate = len(data) / took / 1e6
            print(f"append of {size:8d} bytes: {rate:7.0f} MB/s, {took / floor:5.2f} x a write")
    finally:
        shutil.rmtree(directory)


def report_small(directory: str, size: int, *, idempotent: bool) -> None:
    record = (None, bytes(size), NOW_MS, ())
    # Sequences would have to rise; a new epoch for each round does as well for the cost.
    data = build_batch([record])
    run = sequenced(directory, record) if idempotent else appends(directory, data)
    took = best_of(run, 10_000)
    floor = best_of(bare(directory, data), 10_000)
    kind = "idempotent" if idempotent else "plain"
    print(
        f"append of one {size:5d} byte record, {kind:10}: {took * 1e6:6.2f} us,"
        f" {took / floor:5.2f} x a bare write"
    )


def sequenced(directory: str, record: tuple[None, bytes, int, tuple[()]]) -> Callable[[int], float]:
    def run(count: int) -> float:
        batches = [
            build_batch([record], producer_id=7, producer_epoch=0, base_sequence=sequence)
            for sequence in range(count)
        ]
        log = Log.open(
            RealDisk(),
            f"{directory}/bench-0",
            TopicPartition("bench", 0),
            LogConfig(),
            now_ms=NOW_MS,
            clean=True,
            events=RecordingEvents(),
        )
        log.assign_epoch(0, 0)
        start = time.perf_counter()
        for data in batches:
            log.append_as_leader(data, leader_epoch=0, now_ms=NOW_MS)
        took = time.perf_counter() - start
        log.check()
        log.delete()
        return took

    return run


if __name__ == "__main__":
    main()
