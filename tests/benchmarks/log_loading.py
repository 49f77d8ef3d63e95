"""What a broker's start costs before it serves: opening its logs, and checking them after a crash.

Run `python -m tests.benchmarks.log_loading`. Two measurements, each in a process of its own, over a
scratch directory that is removed afterwards:

* many logs, cleanly closed, nearly all of them empty: seconds and memory to open them;
* some gigabytes in a few logs, not cleanly closed: seconds per GB to check them.

Both tell how long the loop was held.
"""

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log_config import LogConfig
from ottla.broker.storage.log_dir import LogManager
from ottla.protocol.kafka.records import build_batch
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from ottla.runtime.worker_processes import WorkerProcesses

NOW_MS = 1_700_000_000_000
CONFIG = LogConfig(segment_bytes=256 << 20)
RECORD_BYTES = 1000


def manager(directory: str) -> LogManager:
    logs = LogManager(RealDisk(), [directory], events=RecordingEvents())
    logs.claim(broker_id=1, cluster_id="c")
    return logs


async def fill(directory: str, partitions: int, with_data: int, data_bytes: int) -> None:
    """`data_bytes` in each of the first `with_data` partitions, in batches of 1 and of 16 kB."""
    logs = manager(directory)
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS)
    rng = random.Random(7)
    record = (None, rng.randbytes(RECORD_BYTES), NOW_MS, ())
    small, large = build_batch([record]), build_batch([record] * 16)
    for number in range(partitions):
        log = logs.create(TopicPartition("bench", number), CONFIG, now_ms=NOW_MS)
        log.assign_epoch(0, 0)
        while number < with_data and log.size_bytes < data_bytes:
            log.append_as_leader(small, leader_epoch=0, now_ms=NOW_MS)
            log.append_as_leader(large, leader_epoch=0, now_ms=NOW_MS)
    logs.close(clean=partitions > with_data)


class Holds(trio.abc.Instrument):
    """How long tasks held the loop, by the clock and in CPU time of the loop's own thread."""

    def __init__(self) -> None:
        self.cpu_s = self.longest_cpu_s = self.longest_s = 0.0
        self._began = time.perf_counter(), time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.perf_counter(), time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = time.perf_counter() - self._began[0]
        cpu = time.thread_time() - self._began[1]
        self.cpu_s += cpu
        self.longest_s = max(self.longest_s, took)
        self.longest_cpu_s = max(self.longest_cpu_s, cpu)


async def load(directory: str, threads: int) -> None:
    started = time.perf_counter()
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logs = manager(directory)
    holds = Holds()
    await trio.lowlevel.checkpoint()
    trio.lowlevel.add_instrument(holds)
    await logs.load(lambda _: CONFIG, now_ms=NOW_MS, workers=WorkerProcesses(), threads=threads)
    trio.lowlevel.remove_instrument(holds)
    took = time.perf_counter() - started
    burnt = sum(
        usage.ru_utime + usage.ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for usage in (resource.getrusage(who),)
    )
    size = sum(log.size_bytes for log in logs.logs.values())
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    print(
        f"{len(logs.logs)} logs, {size / 1e9:.2f} GB, {threads} at a time: {took:.2f} s"
        f"{f', {took / size * 1e9:.2f} s/GB' if size > 1e9 else ''}, {burnt:.2f} s of CPU with the"
        f" start of Python, {grown_kb / 1024:.0f} MB more,"
        f" the loop held for {holds.cpu_s:.2f} s of CPU,"
        f" {holds.longest_cpu_s * 1000:.0f} ms at once ({holds.longest_s * 1000:.0f} by the clock),"
        f" {open_files()} open files"
    )
    logs.close(clean=False)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def in_process(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.benchmarks.log_loading", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        kind, directory, *numbers = args.step
        counts = [int(number) for number in numbers]
        _raise_file_limit()
        trio.run(fill if kind == "fill" else load, directory, *counts)
        return
    scratch = tempfile.mkdtemp(prefix="ottla-bench-")
    try:
        many, large = f"{scratch}/many", f"{scratch}/large"
        in_process("--step", "fill", many, str(args.partitions), "50", str(1 << 20))
        for threads in args.threads:
            in_process("--step", "load", many, str(threads))  # nobody closes it: as after a crash
        shutil.rmtree(many)
        in_process("--step", "fill", large, "8", "8", str(int(args.gigabytes * 1e9 / 8)))
        for threads in args.threads:
            shutil.copytree(large, f"{large}-{threads}")
            in_process("--step", "load", f"{large}-{threads}", str(threads))
            shutil.rmtree(f"{large}-{threads}")
    finally:
        shutil.rmtree(scratch)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
