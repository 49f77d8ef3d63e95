"""What clients notice when a member writes a million znodes down while it serves.

    python -m tests.benchmarks.snapshot_pauses [--znodes 1000000] [--snapshots 3] [--members 1]

A member of Ottla's coordinator gets its znodes, and is started again with a `snapCount` that makes
it take one snapshot after the other. 20 connections keep 10 writes in flight each, one more writes
alone and takes the time of every write: those that overlapped a snapshot beside the rest. Prints a
table in Markdown; `longer` is the slowest write during a snapshot less the slowest of equally many
outside of one. Progress goes to stderr. It takes three minutes for a million znodes.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.machine import progress
from tests.benchmarks.zookeeper_rows import fill, grow, load, paths_of
from tests.benchmarks.zookeeper_servers import OTTLA, Ensemble
from tests.benchmarks.zookeeper_wire import Client

CONNECTIONS, IN_FLIGHT = 20, 10
LIMIT_S = 180.0


def measure(ensemble: Ensemble, snapshots: int) -> tuple[list[float], list[float]]:
    """Seconds of lone writes: those during a snapshot of any member, and the others."""
    during: list[float] = []
    quiet: list[float] = []
    lone = Client(ensemble.ports[0])
    path = paths_of(100)[0]
    value = bytes(100)
    taken, was_on = 0, False
    ends = time.monotonic() + LIMIT_S
    while taken < snapshots:
        if time.monotonic() > ends:
            raise TimeoutError(f"{taken} snapshots in {LIMIT_S:g} s")
        began = time.perf_counter()
        lone.set_data(path, value)
        took = time.perf_counter() - began
        is_on = ensemble.takes_snapshot()
        (during if is_on or was_on else quiet).append(took)
        taken += was_on and not is_on
        was_on = is_on
    lone.close()
    return during, quiet


def table(during: Sequence[float], quiet: Sequence[float], name: str) -> str:
    """As many of the quiet ones as there are others, so that the slowest of each compare."""
    fair = quiet[-len(during) :]
    lines = ["| Lone writes | number | p50 | p99 | slowest |", "|---" * 5 + "|"]
    for what, taken in ((f"{name}, no snapshot", fair), ("during a snapshot", during)):
        ordered = [seconds * 1000 for seconds in sorted(taken)]
        p99 = ordered[int(len(ordered) * 0.99)]
        lines.append(
            f"| {what} | {len(ordered)} | {statistics.median(ordered):.1f} ms | {p99:.1f} ms |"
            f" {ordered[-1]:.1f} ms |"
        )
    longer = (max(during) - max(fair)) * 1000
    return "\n".join(lines) + f"\n\nlonger: {longer:.1f} ms"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.snapshot_pauses")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--snapshots", type=int, default=3)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--snap-count", type=int, default=100_000)
    parser.add_argument("--directory", help="where the data goes; it has to be on a disk")
    options = parser.parse_args(arguments)
    described = machine.description()
    with tempfile.TemporaryDirectory(prefix="ottla-pauses-", dir=options.directory) as home:
        ensemble = Ensemble(OTTLA, options.members, Path(home), Path(home))
        generator = multiprocessing.get_context("fork").Process(
            target=_write_on, args=(ensemble,), daemon=True
        )
        try:
            ensemble.configure("snapCount=1000000000")
            ensemble.start()
            progress(f"{options.znodes} znodes ...")
            fill(ensemble, (100,))
            grow(ensemble, options.znodes)
            ensemble.stop()
            ensemble.configure(f"snapCount={options.snap_count}")
            progress(f"restart: {ensemble.start():.1f} s; {options.snapshots} snapshots ...")
            generator.start()
            during, quiet = measure(ensemble, options.snapshots)
        finally:
            if generator.is_alive():
                generator.terminate()
                generator.join(10)
            ensemble.stop()
    print(", ".join(f"{name} {value}" for name, value in described.items()) + "\n")
    name = f"{options.members} members, {options.znodes:,} znodes"
    print(table(during, quiet, name))
    return 0


def _write_on(ensemble: Ensemble) -> None:
    load(ensemble, (CONNECTIONS, IN_FLIGHT), 0.0, 100, LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
