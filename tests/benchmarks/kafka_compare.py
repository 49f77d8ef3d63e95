"""Ottla and Apache Kafka 3.9 side by side: rates, latencies, and CPU time per work of both.

    python -m tests.benchmarks.kafka_compare [--quick] [--rows PATTERN]... [--seconds 3]
        [--warmup 5] [--rounds 3] [--restart-gb 0.5] [--ahead] [--json FILE]
        [--directory DIR]

Needs a JVM. Kafka's jars come from the directory that OTTLA_KAFKA_LIBS names, or by `mvn` from
Maven Central into the run's temporary directory, which is removed at the end; `--directory` says
where it is made. Exit code 2 when Kafka cannot be run here. Both servers are up at the same time,
measured in turns, with the same clients, `--rounds` times each; what is printed is the median. A
ratio above 1 means that Ottla is ahead, in rates, times and CPU time alike. `--warmup` is how long
each server gets a row's load before it counts, since a JVM compiles what runs often.
"""

import argparse
import fnmatch
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks import kafka_restarts, machine
from tests.benchmarks.kafka_rows import Bench, Figure, Row, client_processes, rows
from tests.benchmarks.kafka_servers import Server, both
from tests.benchmarks.machine import progress
from tests.support.jars import KAFKA, NoJars

NO_KAFKA = 2
_HEAD = """
| Row | Ottla | Kafka | ratio | CPU of Ottla | CPU of Kafka | ratio |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both servers; medians. Ratios above 1: Ottla is ahead."""

    name: str
    unit: str
    ottla: float
    kafka: float
    ratio: float
    ottla_cpu: float | None
    kafka_cpu: float | None
    cpu_unit: str
    cpu_ratio: float | None

    def markdown(self) -> str:
        cells = [
            self.name,
            f"{_short(self.ottla)} {self.unit}",
            f"{_short(self.kafka)} {self.unit}",
            f"{self.ratio:.2f}",
        ]
        if self.ottla_cpu is not None and self.kafka_cpu is not None:
            cells += [f"{_short(cpu)} {self.cpu_unit}" for cpu in (self.ottla_cpu, self.kafka_cpu)]
            cells.append("" if self.cpu_ratio is None else f"{self.cpu_ratio:.2f}")
        else:
            cells += ["", "", ""]
        return "| " + " | ".join(cells) + " |"


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def lines(row: str, runs: dict[str, list[list[Figure]]]) -> list[Line]:
    """The medians of a row's runs by server."""
    out = []
    for index, first in enumerate(runs["Ottla"][0]):
        ours, theirs = ([run[index] for run in runs[name]] for name in ("Ottla", "Kafka"))
        assert {figure.name for figure in ours + theirs} == {first.name}
        ottla, kafka = (statistics.median(f.value for f in each) for each in (ours, theirs))
        ottla_cpu, kafka_cpu = (
            None if first.cpu is None else statistics.median(f.cpu or 0.0 for f in each)
            for each in (ours, theirs)
        )
        out.append(
            Line(
                " ".join(part for part in (row, first.name, first.note) if part),
                first.unit,
                ottla,
                kafka,
                ottla / kafka if first.is_rate else kafka / ottla,
                ottla_cpu,
                kafka_cpu,
                first.cpu_unit,
                kafka_cpu / ottla_cpu if ottla_cpu and kafka_cpu else None,
            )
        )
    return out


def in_turns(
    names: Sequence[str], measure: Callable[[int], list[Figure]], rounds: int
) -> dict[str, list[list[Figure]]]:
    """Figures of each server by name; who is first changes from round to round."""
    runs: dict[str, list[list[Figure]]] = {name: [] for name in names}
    order = list(range(len(names)))
    for _ in range(rounds):
        for index in order:
            runs[names[index]].append(measure(index))
        order.reverse()
    return runs


def compared(row: Row, bench: Bench, servers: list[Server], rounds: int) -> list[Line]:
    """Measure one row on servers that are up."""
    progress(f"{row.name} ...")
    with bench.topics(servers, row.partitions):
        for server in servers:
            row.prepare(bench, server)
            if bench.warmup and row.is_load:
                with bench.measuring(server):
                    row.measure(bench, server, bench.warmup)

        def measure(index: int) -> list[Figure]:
            with bench.measuring(servers[index]):
                return row.measure(bench, servers[index], bench.seconds)

        runs = in_turns([server.name for server in servers], measure, rounds)
    return lines(row.name, runs)


def measured(options: argparse.Namespace, home: Path) -> Iterator[Line]:
    """All lines that were asked for; NoJars."""
    libs = KAFKA.find(home)
    chosen = [row for row in rows() if _is_wanted(row.name, row.is_quick, options)]
    with client_processes() as clients:
        bench = Bench(options.seconds, options.warmup, clients, is_ahead=options.ahead)
        for brokers in (1, 3):
            if some := [row for row in chosen if row.brokers == brokers]:
                with both(home / f"{brokers}-brokers", brokers, libs) as servers:
                    for row in some:
                        yield from compared(row, bench, servers, options.rounds)
        make = kafka_restarts.makers(home, libs)
        measures = {
            "start": lambda index: kafka_restarts.start(bench, make[index]),
            "restart-after-kill": lambda index: kafka_restarts.restart(
                bench, make[index], options.restart_gb
            ),
        }
        for name, measure in measures.items():
            if _is_wanted(name, True, options):
                progress(f"{name} ...")
                yield from lines(name, in_turns(("Ottla", "Kafka"), measure, options.rounds))


def _is_wanted(name: str, is_quick: bool, options: argparse.Namespace) -> bool:
    if options.rows:
        return any(fnmatch.fnmatch(name, pattern) for pattern in options.rows)
    return is_quick or not options.quick


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.kafka_compare",
        description="Ottla and Apache Kafka 3.9 side by side.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows, one short round")
    parser.add_argument("--rows", action="append", metavar="PATTERN", help="e.g. 'requests-*'")
    parser.add_argument("--list", action="store_true", help="only print the rows' names")
    parser.add_argument("--seconds", type=float, help="per measurement (3; quick: 1)")
    parser.add_argument("--warmup", type=float, help="per row and server (5; quick: 1)")
    parser.add_argument("--rounds", type=int, help="(3; quick: 1)")
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="run ahead of the machine's other work while measured (needs root)",
    )
    parser.add_argument("--restart-gb", type=float, default=0.5, help="(0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--directory", type=Path, help="where the temporary directory is made")
    return parser


def _end(_number: int, _frame: object) -> None:
    sys.exit(143)


def main(arguments: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _end)  # by way of what ends the servers
    options = _parser().parse_args(arguments)
    quick = options.quick
    options.seconds = options.seconds or (1.0 if quick else 3.0)
    options.warmup = (1.0 if quick else 5.0) if options.warmup is None else options.warmup
    options.rounds = options.rounds or (1 if quick else 3)
    if options.list:
        print("\n".join([*(row.name for row in rows()), "start", "restart-after-kill"]))
        return 0
    described = machine.description()
    found: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="ottla-compare-", dir=options.directory) as home:
        try:
            for line in measured(options, Path(home)):
                if not found:
                    print(", ".join(f"{name} {value}" for name, value in described.items()))
                    print(_HEAD)
                print(line.markdown(), flush=True)
                found.append(line)
        except NoJars as error:
            print(error, file=sys.stderr)
            return NO_KAFKA
    if options.json:
        content = {"machine": described, "lines": [asdict(line) for line in found]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
