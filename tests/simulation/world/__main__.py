"""What `scripts/sim.sh` runs: seeds, one after the other on each core, or one with its timeline."""

import argparse
import os
import sys
import time
import traceback
from dataclasses import fields
from pathlib import Path

from ottla.runtime.supervise import leaves
from tests.simulation.world import planted
from tests.simulation.world.many import FAILED, HELD, INTERRUPTED, listed, run_many
from tests.simulation.world.plan import Plan
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
    """All that it prints is the same each time; how long it took goes to stderr."""
    began = time.perf_counter()
    trace = print if options.trace else None
    plan = Plan.of(options.seed, options.minutes)
    for each in fields(plan):
        print(f"{each.name}: {_shown(getattr(plan, each.name))}")
    try:
        outcome = run_seed(options.seed, minutes=options.minutes, trace=trace, plan=plan)
    except BaseException as error:
        if any(isinstance(each, KeyboardInterrupt) for each in leaves(error)):
            print(f"seed {options.seed} was interrupted")
            return INTERRUPTED
        traceback.print_exc(limit=-6, file=sys.stdout)
        print(f"seed {options.seed} FAILED")
        return FAILED
    real_s = time.perf_counter() - began
    print(
        f"seed {options.seed} held: {outcome.virtual_s:.1f} virtual seconds,"
        f" converged in {outcome.converged_s:.1f}, digest {outcome.digest}"
    )
    print(f"faults: {listed(outcome.faults)}")
    print(f"facts: {listed(outcome.counts)}")
    print(f"{outcome.virtual_s / real_s:.0f} virtual seconds per second", file=sys.stderr)
    return HELD


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={each}" for key, each in value.items()) or "none"
    return str(value)


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

    try:
        planted.search(
            names,
            seeds,
            jobs=min(options.jobs, len(names)),
            on_result=on_result,
            on_progress=on_progress,
            on_surprise=on_surprise,
        )
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was found so far is in {document}")
        return 130
    return 0 if all(caught for caught, _ in found.values()) else 1


def main() -> int:
    options = _arguments()
    if options.planted is not None:
        return _planted(options)
    if options.seed is not None:
        return _one(options)
    seeds = range(options.start, options.start + (options.seeds or 20))
    return run_many(seeds, options.minutes, options.jobs)


def _run() -> int:
    """`main`, for a reader that may go away, such as `head`."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


if __name__ == "__main__":
    sys.exit(_run())
