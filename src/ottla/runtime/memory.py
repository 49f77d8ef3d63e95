"""A whole outside world in memory: what unit tests and the simulator run daemons on.

No threads, no operating system, no real time: under trio's `MockClock` a run depends on its inputs
and its seed only.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from ottla.runtime.interfaces import Disk, Events, Network, Runtime, WallClock
from ottla.runtime.memory_disk import MemoryDisk
from ottla.runtime.memory_network import MemoryNetwork


class FixedWallClock:
    """A wall clock that stands still until it is moved; `follow` ties it to trio's time."""

    def __init__(self, now_ms: int = 1_700_000_000_000, *, follow: bool = False) -> None:
        self._base_ms = now_ms
        self._follow = follow
        self._origin_s: float | None = None

    def now_ms(self) -> int:
        if not self._follow:
            return self._base_ms
        now_s = trio.current_time()
        if self._origin_s is None:
            self._origin_s = now_s
        return self._base_ms + int((now_s - self._origin_s) * 1000)

    def advance(self, ms: int) -> None:
        """Move by `ms`, which may be negative: wall clocks are set back too."""
        self._base_ms += ms


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One line of the event log: its level, its name, its fields with the bound ones."""

    level: str
    name: str
    fields: Mapping[str, object]


@dataclass(slots=True)
class _Record:
    entries: list[RecordedEvent] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)


class RecordingEvents:
    """An event log that tests read back. Loggers made by `bind` share one record."""

    def __init__(self) -> None:
        self._record = _Record()
        self._bound: dict[str, object] = {}

    @property
    def entries(self) -> list[RecordedEvent]:
        return self._record.entries

    def named(self, name: str) -> list[RecordedEvent]:
        return [entry for entry in self._record.entries if entry.name == name]

    async def wait_for(self, name: str, *, count: int = 1) -> RecordedEvent:
        """Wait until `name` was recorded `count` times since the start; that entry."""
        while len(found := self.named(name)) < count:
            await self._record.changed.wait()
        return found[count - 1]

    def debug(self, event: str, **fields: object) -> None:
        self._add("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._add("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._add("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._add("error", event, fields)

    def bind(self, **fields: object) -> "RecordingEvents":
        child = RecordingEvents()
        child._record = self._record
        child._bound = {**self._bound, **fields}
        return child

    def _add(self, level: str, event: str, fields: dict[str, object]) -> None:
        record = self._record
        record.entries.append(RecordedEvent(level, event, {**self._bound, **fields}))
        changed, record.changed = record.changed, trio.Event()
        changed.set()


def memory_runtime(
    *,
    network: Network | None = None,
    disk: Disk | None = None,
    wall_clock: WallClock | None = None,
    events: Events | None = None,
    seed: int = 0,
) -> Runtime:
    """A runtime in memory; what is not given is made new."""
    return Runtime(
        network=network or MemoryNetwork(),
        disk=disk or MemoryDisk(),
        wall_clock=wall_clock or FixedWallClock(follow=True),
        rng=random.Random(seed),
        events=events or RecordingEvents(),
    )


__all__ = [
    "FixedWallClock",
    "MemoryDisk",
    "MemoryNetwork",
    "RecordedEvent",
    "RecordingEvents",
    "memory_runtime",
]
