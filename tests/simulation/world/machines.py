"""What one simulated machine has besides its network: a disk, a wall clock, an event log."""

import errno
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable

import trio

from ottla.runtime.memory_disk import MemoryDisk


class SimDisk(MemoryDisk):
    """A disk whose syncs take time and may fail. `process()` is what one process sees of it.

    Closing, killing and power cuts are told apart: a killed process leaves all bytes (they are in
    the page cache), a power cut keeps synced ones and any part of the rest.
    """

    def __init__(self, rng: random.Random, sync_s: tuple[float, float]) -> None:
        super().__init__()
        self._rng = rng
        self.sync_s = sync_s
        self.stalled_until = 0.0
        self.failing_syncs = 0
        self.synced = 0

    async def wait_sync(self, path: str) -> None:
        low, high = self.sync_s
        await trio.sleep(low + (high - low) * self._rng.random() ** 3)
        if trio.current_time() < self.stalled_until:
            await trio.sleep_until(self.stalled_until)

    def require_sync(self, path: str) -> None:
        if self.failing_syncs > 0:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, f"{os.strerror(errno.EIO)} (sync)", path)
        self.synced += 1


class ProcessDisk:
    """A disk as long as its process lives: the dying do not write, rename or remove any more.

    Open files are fenced by the disk itself.
    """

    _METHODS = (
        "open", "exists", "list_dir", "is_dir", "make_dirs", "read", "replace", "rename", "remove",
        "remove_tree", "sync_dir", "lock", "beside",
    )  # fmt: skip

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        for name in self._METHODS:
            setattr(self, name, getattr(disk, name))

    def die(self) -> None:
        for name in self._METHODS:
            setattr(self, name, _dead)


def _dead(*_args, **_options):
    raise OSError(errno.EIO, "the process is dead")


class SimWallClock:
    """Wall time that drifts and is set forth and back."""

    def __init__(self, offset_ms: int, drift: float) -> None:
        self.offset_ms = 1_700_000_000_000 + offset_ms
        self.drift = drift

    def now_ms(self) -> int:
        return self.offset_ms + int(trio.current_time() * 1000 * (1 + self.drift))


def _plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


_MARKS = {"debug": ".", "info": " ", "warning": "!", "error": "E"}


class Timeline:
    """All that the daemons and the simulation said, in order; its digest tells runs apart."""

    def __init__(self, trace: Callable[[str], None] | None = None) -> None:
        self.trace = trace
        self.counts: Counter[str] = Counter()
        self.listeners: list[Callable[[str, str, str, dict], None]] = []
        self._hash = hashlib.blake2b(digest_size=16)

    def note(self, source: str, level: str, name: str, fields: dict) -> None:
        if level == "debug" and self.trace is None:
            return
        now = trio.current_time()
        line = f"{now:10.4f} {source:<9} {_MARKS[level]} {name}"
        for key, value in fields.items():
            if type(value) is str and value and " " not in value:
                line += f" {key}={value}"
                continue
            plain = _plain(value)
            bare = isinstance(plain, str) and plain and " " not in plain
            line += f" {key}={plain}" if bare else f" {key}={plain!r}"
        if level != "debug":
            self._hash.update(line.encode())
            self.counts[name] += 1
        if self.trace is not None:
            self.trace(line)
        for listener in self.listeners:
            listener(source, level, name, fields)

    def digest(self) -> str:
        return self._hash.hexdigest()


class SimEvents:
    """One machine's event log; see `Events`. What is bound to it falls silent with it."""

    def __init__(
        self,
        timeline: Timeline,
        source: str,
        bound: dict | None = None,
        parent: "SimEvents | None" = None,
    ) -> None:
        self._timeline = timeline
        self._source = source
        self._bound = bound or {}
        self._root = parent._root if parent is not None else self
        self._muted = False

    def mute(self) -> None:
        """The process died; what its tasks say as they end was never said."""
        self._root._muted = True

    def debug(self, event: str, **fields: object) -> None:
        if self._timeline.trace is not None:
            self._note("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._note("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._note("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._note("error", event, fields)

    def _note(self, level: str, event: str, fields: dict) -> None:
        if not self._root._muted:
            self._timeline.note(self._source, level, event, {**self._bound, **fields})

    def bind(self, **fields: object) -> "SimEvents":
        return SimEvents(self._timeline, self._source, {**self._bound, **fields}, self)
