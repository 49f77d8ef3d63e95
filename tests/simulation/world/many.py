"""Seeds on all cores: what `scripts/sim.sh --seeds` does, shows meanwhile, and sums up."""

import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from tests.simulation.world.processes import attempts
from tests.simulation.world.world import Outcome

HELD, FAILED, INTERRUPTED = 0, 1, 130
"""Exit codes; 2 is argparse's."""
_LINES_EVERY_S = 15.0  # where there is no terminal


@dataclass
class Totals:
    """What came of the seeds so far."""

    seeds: int
    processes: int
    began: float = field(default_factory=time.perf_counter)
    done: int = 0
    virtual_s: float = 0.0
    busy_s: float = 0.0
    failed: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, seed: int, result: Outcome | str, busy_s: float) -> None:
        self.done += 1
        self.busy_s += busy_s
        if isinstance(result, str):
            self.failed.append(seed)
            return
        self.virtual_s += result.virtual_s
        self.faults.update(result.faults)
        self.counts.update(result.counts)

    @property
    def pace(self) -> float:
        """Virtual seconds per second of one core."""
        return self.virtual_s / max(self.busy_s, 1e-9)

    def progress(self) -> str:
        """One line."""
        elapsed_s = time.perf_counter() - self.began
        left_s = elapsed_s / max(self.done, 1) * (self.seeds - self.done)
        return (
            f"{self.done}/{self.seeds} seeds, {len(self.failed)} failed,"
            f" {self.virtual_s / 3600:.2f} virtual hours, {self.pace:.0f} per hour of a core,"
            f" {duration(left_s)} left"
        )

    def summary(self) -> list[str]:
        elapsed_s = time.perf_counter() - self.began
        counts = self.counts
        lines = [
            f"{self.done} of {self.seeds} seeds, {self.virtual_s / 3600:.2f} virtual hours in"
            f" {duration(elapsed_s)} with {self.processes} processes:"
            f" {self.pace:.0f} virtual seconds per second of one core",
            f"records: {counts['records acknowledged']} acknowledged,"
            f" {counts['acknowledged records found']} of them looked for and found in the end,"
            f" {counts['records read']} read",
            f"faults: {listed(self.faults)}",
            f"facts: {listed(self.counts)}",
        ]
        lines.append(f"FAILED: {sorted(self.failed)}" if self.failed else "all held")
        return lines


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 1 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{key} {count}" for key, count in sorted(counts.items())) or "none"


class _Screen:
    """A line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._next = time.perf_counter() + _LINES_EVERY_S

    def say(self, text: str) -> None:
        print(f"\r\033[K{text}" if self._terminal else text, flush=True)

    def progress(self, line: str) -> None:
        if self._terminal:
            print(f"\r\033[K{line}", end="", flush=True)
        elif time.perf_counter() >= self._next:
            self._next = time.perf_counter() + _LINES_EVERY_S
            print(line, flush=True)


def run_many(seeds: range, minutes: float, jobs: int) -> int:
    """Run them all, or until an interrupt; the summary comes in both cases. An exit code."""
    processes = min(jobs, len(seeds))
    totals = Totals(len(seeds), processes)
    screen = _Screen()
    interrupted = False
    try:
        with closing(attempts(seeds, minutes, processes)) as results:
            for seed, result, busy_s in results:
                totals.take(seed, result, busy_s)
                if isinstance(result, str):
                    screen.say(f"seed {seed} FAILED after {busy_s:.1f} s\n{result}")
                    replay = f"scripts/sim.sh --seed {seed} --minutes {minutes:g} --trace"
                    screen.say(f"replay: {replay}")
                screen.progress(totals.progress())
    except KeyboardInterrupt:
        interrupted = True
    screen.say("interrupted" if interrupted else totals.progress())
    print("\n".join(totals.summary()))
    if totals.failed:
        return FAILED
    return INTERRUPTED if interrupted else HELD
