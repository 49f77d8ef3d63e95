"""Files that say which daemons were started here, so that they can be stopped by name.

`<run dir>/<kind>-<id>.pid`:

    <process id>
    started=<the kernel's start time of that process, in clock ticks since boot>
    id=<broker or member id>

The start time tells the process from a later one that got the same id. Only processes that wrote
such a file are ever signalled.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that is alive and has its run file."""

    kind: str
    id: int
    pid: int
    path: Path

    def __str__(self) -> str:
        return f"{self.kind} {self.id} (pid {self.pid})"


def home() -> Path:
    """The project's directory, where `var` is; the working directory when run without scripts."""
    return Path(os.environ.get("OTTLA_HOME") or Path.cwd())


def default_run_dir() -> Path:
    named = os.environ.get("OTTLA_RUN_DIR")
    return Path(named) if named else home() / "var" / "run"


def known_run_dirs() -> list[Path]:
    """Where daemons of this project may have left their files."""
    return [default_run_dir(), home() / "var" / "cluster" / "run"]


def register(run_dir: Path, kind: str, id_: int) -> Path:
    """Write this process's file. OSError when the directory cannot be written."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / f"{kind}-{id_}.pid"
    other = _read(path, kind)
    if other is not None and other.pid != os.getpid():
        path = run_dir / f"{kind}-{id_}-{os.getpid()}.pid"  # another cluster's, same id
    temporary = path.with_suffix(f".{os.getpid()}")
    started = _start_time(os.getpid())
    temporary.write_text(f"{os.getpid()}\nstarted={started}\nid={id_}\n", encoding="ascii")
    temporary.replace(path)
    return path


def find(run_dirs: Iterable[Path], kind: str, id_: int | None = None) -> list[Running]:
    """Daemons that are alive, of one id or all. Files of dead ones are removed."""
    found: dict[int, Running] = {}
    for run_dir in run_dirs:
        for path in sorted(run_dir.glob(f"{kind}-*.pid")):
            running = _read(path, kind)
            if running is None:
                path.unlink(missing_ok=True)
            elif id_ is None or running.id == id_:
                found.setdefault(running.pid, running)
    return sorted(found.values(), key=lambda one: (one.id, one.pid))


def stop(daemons: Sequence[Running], timeout_s: float) -> list[Running]:
    """SIGTERM all, wait for their ends; those that are still there after the time."""
    for daemon in daemons:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGTERM)
    return wait_ended(daemons, timeout_s)


def wait_ended(daemons: Sequence[Running], timeout_s: float) -> list[Running]:
    deadline = time.monotonic() + timeout_s
    while alive := [daemon for daemon in daemons if _read(daemon.path, daemon.kind, daemon.pid)]:
        if time.monotonic() >= deadline:
            return alive
        time.sleep(_POLL_S)
    return []


def _read(path: Path, kind: str, expected_pid: int | None = None) -> Running | None:
    """The live daemon of a file; None when there is none, or when its process is another now."""
    try:
        lines = path.read_text(encoding="ascii").split("\n")
        pid = int(lines[0])
        fields = dict(line.split("=", 1) for line in lines[1:] if "=" in line)
        id_, started = int(fields["id"]), int(fields["started"])
    except (OSError, ValueError, KeyError):
        return None
    if expected_pid not in {None, pid} or _start_time(pid) != started:
        return None
    return Running(kind, id_, pid, path)


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot; None when there is no such process or it only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else int(fields[19])


__all__ = [
    "Running",
    "default_run_dir",
    "find",
    "home",
    "known_run_dirs",
    "register",
    "stop",
    "wait_ended",
]
