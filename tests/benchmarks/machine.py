"""What the figures were measured on, and what the kernel says of processes."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import confluent_kafka


def description() -> dict[str, str]:
    """The machine and the versions that matter, in the order in which they are printed."""
    return {
        "cores": str(os.cpu_count()),
        "CPU": _field(Path("/proc/cpuinfo"), "model name"),
        "memory": f"{int(_field(Path('/proc/meminfo'), 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "trio": version("trio"),
        "librdkafka": confluent_kafka.libversion()[0],
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _field(path: Path, name: str) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, and of children that have ended."""
    with Path(f"/proc/{pid}/stat").open(encoding="ascii") as stat:
        fields = stat.read().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, shared pages included, in MB."""
    return int(_field(Path(f"/proc/{pid}/status"), "VmRSS").split()[0]) * 1024 / 1e6


@contextlib.contextmanager
def ahead(pids: Sequence[int]) -> Iterator[None]:
    """Run processes ahead of the machine's other work for a while. PermissionError unless root."""
    normal = os.sched_param(0)
    for tid in _threads(pids):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(tid, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        for tid in _threads(pids):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(tid, os.SCHED_OTHER, normal)


def _threads(pids: Sequence[int]) -> list[int]:
    return [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")]


def progress(text: str) -> None:
    """Say on stderr what is being measured; stdout is for the figures."""
    print(text, file=sys.stderr, flush=True)


__all__ = ["ahead", "cpu_seconds", "description", "progress", "resident_mb"]
