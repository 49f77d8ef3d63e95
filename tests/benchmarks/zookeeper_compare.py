"""Ottla's coordinator against Apache ZooKeeper, in turns, on this machine, under the same load.

    python -m tests.benchmarks.zookeeper_compare [--quick] [--rows GROUP]... [--members 1,3,5]
        [--seconds 3] [--warmup 25] [--json FILE]

Groups: requests watches sessions million start failover. Needs a JVM, and Apache's jars: from the
directory OTTLA_ZOOKEEPER_LIBS, or else fetched from Maven Central by `mvn`. Without them it says so
and ends with status 2. Prints a table in Markdown. `ratio` is above 1 where Ottla is better, and
bold where it is below the goal. CPU is that of all members, in seconds per 100 000 operations.
`generator` is the load generator's share of one core while Ottla served: near 100 % it is the
generator that limited, and the row understates the faster server. Processes and their directory are
gone at the end. Progress, and how long it will take, goes to stderr: about 21 minutes for all, five
with --quick, which has a row of each kind.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.machine import progress
from tests.benchmarks.zookeeper_outages import failover, start
from tests.benchmarks.zookeeper_rows import (
    READ_SHARES,
    SERVED,
    SHAPES,
    VALUE_BYTES,
    Plan,
    Row,
    combinations,
    million,
    served,
)
from tests.support.jars import ZOOKEEPER, NoJars

OTHERS: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    "million": million,
    "start": start,
    "failover": failover,
}
GROUPS = (*SERVED, *OTHERS)
HEAD = (
    "| Row | unit | Ottla | ZooKeeper | ratio | CPU s / 100 k: Ottla | ZooKeeper |"
    " p50 / p99 / p99.9 ms: Ottla | ZooKeeper | generator |\n" + "|---" * 10 + "|"
)


def markdown(row: Row) -> str:
    """One line of the table; a ratio below its target is bold."""
    behind = row.target is not None and row.ratio < row.target
    ratio = f"**{row.ratio:.2f}**" if behind else f"{row.ratio:.2f}"
    cells = [
        row.name, row.unit, _short(row.ottla), _short(row.zookeeper), ratio,
        _short(row.ottla_cpu), _short(row.zookeeper_cpu),
        " / ".join(f"{ms:.2f}" for ms in row.ottla_ms),
        " / ".join(f"{ms:.2f}" for ms in row.zookeeper_ms),
        "" if row.generator is None else f"{row.generator:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def measure(names: Sequence[str], plan: Plan, max_s: float) -> list[Row]:
    """The rows of the named groups; no new one is begun after `max_s`."""
    rows: list[Row] = []
    began = time.monotonic()
    whole = estimate_s(names, plan)
    progress(f"about {whole / 60:.0f} minutes")
    print(HEAD, flush=True)
    for row in _rows(names, plan):
        rows.append(row)
        print(markdown(row), flush=True)
        passed = time.monotonic() - began
        progress(f"  {passed:.0f} of about {max(whole, passed):.0f} s")
        if passed > max_s:
            progress(f"{max_s:g} s are over; the rest is left out")
            break
    return rows


def _rows(names: Sequence[str], plan: Plan) -> Iterator[Row]:
    among_served = [name for name in SERVED if name in names]
    if among_served:
        yield from served(plan, among_served)
    for name, group in OTHERS.items():
        if name in names:
            progress(f"{name} ...")
            yield from group(plan)


def estimate_s(names: Sequence[str], plan: Plan) -> float:
    """How long it takes, roughly: seconds that are measured, warm-up, and starts as seen here."""
    sizes = len(plan.sizes)
    rows = len(list(combinations(plan)))
    rounds = 1 if plan.quick else 2
    ticks = 1 if plan.quick else 2
    taken = {
        "requests": sizes * rows * 2 * plan.seconds,
        "watches": sizes * 12,
        "sessions": sizes * 4 * plan.seconds,
        "million": 2 * (plan.warmup + 4 * plan.seconds) + plan.znodes * 1e-4,
        "start": sizes * (20 + 2 * plan.warmup),
        "failover": 3 * ticks * rounds * (2 * plan.warmup / 5 + 18),
    }
    shared = sizes * (2 * plan.warmup + 12) if set(names) & set(SERVED) else 0
    return shared + sum(taken[name] for name in names)


def _plan(options: argparse.Namespace, home: Path, libs: Path) -> Plan:
    plan = Plan(
        home, libs, seconds=options.seconds, warmup=options.warmup,
        sizes=options.members, values=options.values, read_shares=options.reads,
        shapes=options.shapes, znodes=options.znodes, ahead=options.ahead,
    )  # fmt: skip
    if options.quick:
        plan = replace(
            plan, quick=True, sizes=plan.sizes[:2], seconds=min(plan.seconds, 2.0), slices=1,
            warmup=min(plan.warmup, 6.0), values=plan.values[:1], read_shares=(0.0, 1.0),
            shapes=plan.shapes[:1] + plan.shapes[-1:], znodes=min(plan.znodes, 100_000),
        )  # fmt: skip
    return plan


def _end(_number: int, _frame: object) -> None:
    sys.exit(143)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _shapes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [word.split("x") for word in text.split(",")]
    return tuple((int(connections), int(in_flight)) for connections, in_flight in pairs)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.zookeeper_compare",
        description="Compares Ottla's coordinator with Apache ZooKeeper.",
    )
    parser.add_argument("--rows", action="append", choices=GROUPS, metavar="GROUP")
    parser.add_argument("--quick", action="store_true", help="few rows, short, in five minutes")
    parser.add_argument("--members", type=_numbers, default=(1, 3, 5))
    parser.add_argument("--reads", type=_shares, default=READ_SHARES, metavar="SHARES")
    parser.add_argument("--values", type=_numbers, default=VALUE_BYTES, metavar="BYTES")
    parser.add_argument("--shapes", type=_shapes, default=SHAPES, metavar="CONNECTIONSxIN_FLIGHT")
    parser.add_argument("--seconds", type=float, default=3.0, help="per server and row")
    parser.add_argument("--warmup", type=float, default=25.0, help="seconds, of each server")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--max-seconds", type=float, default=2400.0)
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="run ahead of the machine's other work while measured (needs root)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--directory", help="where the servers' data goes; it has to be on a disk")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)  # by way of what ends the servers
    described = machine.description() | {"Apache ZooKeeper": ZOOKEEPER.artifacts[0]}
    with tempfile.TemporaryDirectory(prefix="ottla-compare-", dir=options.directory) as home:
        try:
            libs = ZOOKEEPER.find(Path(home))
        except NoJars as reason:
            progress(str(reason))
            return 2
        print(", ".join(f"{name} {value}" for name, value in described.items()) + "\n")
        rows = measure(
            options.rows or GROUPS, _plan(options, Path(home), libs), options.max_seconds
        )
    if options.json:
        content = {"machine": described, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
