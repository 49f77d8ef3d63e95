"""What `scripts/sim.sh` runs: seeds, one after the other on each core, or one with its timeline."""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.world import planted
from tests.simulation.world.seeds import attempt
from tests.simulation.world.world import run_seed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sim.sh", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many seeds (default 20)")
    parser.add_argument("--start", type=int, default=1, help="the first one (default 1)")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--minutes", type=float, default=3.0, help="virtual minutes of faults each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--planted", nargs="*", metavar="BUG", help="find the planted bugs")
    parser.add_argument("--trace", action="store_true", help="print the timeline (with --seed)")
    return parser.parse_args()


def _one(options: argparse.Namespace) -> int:
    began = time.perf_counter()
    trace = print if options.trace else None
    try:
        outcome = run_seed(options.seed, minutes=options.minutes, trace=trace)
    except BaseException:
        traceback.print_exc()
        print(f"\nseed {options.seed} FAILED")
        return 1
    real_s = time.perf_counter() - began
    print(
        f"seed {options.seed} held: {outcome.virtual_s / 60:.1f} virtual minutes in {real_s:.1f} s"
    )
    print(f"converged in {outcome.converged_s:.1f} s, digest {outcome.digest}")
    for title, counts in (("faults", outcome.faults), ("counts", outcome.counts)):
        print(f"{title}: " + ", ".join(f"{key} {count}" for key, count in sorted(counts.items())))
    return 0


def _many(options: argparse.Namespace) -> int:
    began, virtual_s, busy_s, failed = time.perf_counter(), 0.0, 0.0, []
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    jobs = [
        (seed, options.minutes)
        for seed in range(options.start, options.start + (options.seeds or 20))
    ]
    with get_context("spawn").Pool(min(options.jobs, len(jobs)), maxtasksperchild=20) as pool:
        for done, (seed, result, real_s) in enumerate(pool.imap_unordered(attempt, jobs), 1):
            busy_s += real_s
            if isinstance(result, str):
                failed.append(seed)
                print(f"\r\033[Kseed {seed} FAILED after {real_s:.1f} s\n{result}")
                print(f"replay: scripts/sim.sh --seed {seed} --minutes {options.minutes:g} --trace")
            else:
                virtual_s += result.virtual_s
                faults.update(result.faults)
                counts.update(result.counts)
            line = f"{done}/{len(jobs)} seeds, {len(failed)} failed, {virtual_s / 3600:.1f} h"
            print(f"\r\033[K{line}", end="" if sys.stdout.isatty() else "\n", flush=True)
    elapsed_s = time.perf_counter() - began
    print(f"\n{virtual_s / 3600:.2f} virtual hours in {elapsed_s:.0f} s", end="")
    print(f", {virtual_s / max(busy_s, 1e-9):.0f} virtual seconds per second of one core")
    for title, found in (("faults", faults), ("facts", counts)):
        print(f"{title}: " + ", ".join(f"{key} {count}" for key, count in sorted(found.items())))
    print(f"failed: {sorted(failed)}" if failed else "all held")
    return 1 if failed else 0


def _planted(options: argparse.Namespace) -> int:
    """Look for the named planted bugs, or all; the table in the documents grows as they come."""
    names = options.planted or list(planted.PLANTED)
    seeds = range(options.start, options.start + (options.seeds or planted.SEEDS))
    document = Path("docs/planted-bugs.md")
    found: dict[str, tuple[planted.Catch | None, range]] = {}

    def on_result(name: str, caught: planted.Catch | None) -> None:
        found[name] = caught, seeds
        said = "NOT FOUND" if caught is None else f"{caught.seed}, {caught.checker}: {caught.said}"
        print(f"\r\033[K{len(found)}/{len(names)} {name}: {said}"[:220], flush=True)
        before = document.read_text(encoding="utf-8") if document.exists() else ""
        document.write_text(planted.table(found, before), encoding="utf-8")

    def on_progress(line: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="", flush=True)

    def on_surprise(name: str, caught: planted.Catch) -> None:
        print(f"\r\033[K{name}: seed {caught.seed} {caught.surprise}"[:400], flush=True)

    planted.search(
        names,
        seeds,
        jobs=min(options.jobs, len(names)),
        on_result=on_result,
        on_progress=on_progress,
        on_surprise=on_surprise,
    )
    return 0 if all(caught for caught, _ in found.values()) else 1


def main() -> int:
    options = _arguments()
    if options.planted is not None:
        return _planted(options)
    return _one(options) if options.seed is not None else _many(options)


if __name__ == "__main__":
    sys.exit(main())
