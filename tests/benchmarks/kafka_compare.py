"""Ottla and Apache Kafka 3.9 side by side: rates, latencies, and CPU time per work of both.

    python -m tests.benchmarks.kafka_compare [--quick] [--rows PATTERN]... [--seconds 3]
        [--warmup 20] [--rounds 2] [--restart-gb 10] [--ahead] [--json FILE]
        [--directory DIR]

Needs a JVM. Kafka's jars come from the directory that OTTLA_KAFKA_LIBS names, or by `mvn` from
Maven Central into the run's temporary directory, which is removed at the end; `--directory` says
where it is made. Exit code 2 when Kafka cannot be run here. Both servers are up at the same time,
measured in turns, with the same clients, `--rounds` times each; what is printed is the median. A
ratio above 1 means that Ottla is ahead, in rates, times and CPU time alike. `--warmup` is how long
Kafka gets the load of the first row of each kind before it counts, since a JVM compiles what runs
often. All of it takes less than half an hour on a machine with nothing else to do, and 25 GB.
"""

import argparse
import fnmatch
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks import kafka_restarts, machine
from tests.benchmarks.kafka_rows import Bench, Figure, Row, client_processes, rows
from tests.benchmarks.kafka_servers import Server, both
from tests.benchmarks.machine import progress
from tests.support.jars import KAFKA, NoJars

NO_KAFKA = 2
_RESTARTS = ("start", "restart-after-kill")
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
    with bench.topics(servers, row):
        for server in servers:
            row.prepare(bench, server)
            if warmup := bench.warmup(server, row):
                with bench.measuring(server):
                    row.measure(bench, server, warmup)

        def measure(index: int) -> list[Figure]:
            with bench.measuring(servers[index]):
                return row.measure(bench, servers[index], bench.seconds)

        runs = in_turns([server.name for server in servers], measure, rounds)
    return lines(row.name, runs)


class Progress:
    """Says on stderr which row of how many is measured, and since when all of it runs."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun = 0
        self._began = time.monotonic()

    def begin(self, name: str) -> None:
        self._begun += 1
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        progress(f"[{minutes:2d}:{seconds:02d}] {self._begun} of {self._count}: {name}")

    def end(self) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        progress(f"[{minutes:2d}:{seconds:02d}] done")


def measured(options: argparse.Namespace, home: Path) -> Iterator[Line]:
    """All lines that were asked for; NoJars."""
    libs = KAFKA.find(home)
    chosen = [row for row in rows() if _is_wanted(row.name, row.is_quick, options)]
    restarts = [name for name in _RESTARTS if _is_wanted(name, True, options)]
    tell = Progress(len(chosen) + len(restarts))
    with client_processes() as clients:
        bench = Bench(options.seconds, options.warmup, clients, is_ahead=options.ahead)
        for brokers in (1, 3):
            if some := [row for row in chosen if row.brokers == brokers]:
                with both(home / f"{brokers}-brokers", brokers, libs) as servers:
                    for row in some:
                        tell.begin(row.name)
                        yield from compared(row, bench, servers, options.rounds)
        make = kafka_restarts.makers(home, libs)
        measures = {
            "start": lambda index: kafka_restarts.start(bench, make[index]),
            "restart-after-kill": lambda index: kafka_restarts.restart(
                bench, make[index], options.restart_gb
            ),
        }
        for name in restarts:
            tell.begin(name)
            # One round of gigabytes says it; the start differs from time to time.
            rounds = options.rounds if name == "start" else 1
            yield from lines(name, in_turns(("Ottla", "Kafka"), measures[name], rounds))
        tell.end()


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
    parser.add_argument("--warmup", type=float, help="per kind of row, of Kafka (20; quick: 5)")
    parser.add_argument("--rounds", type=int, help="(2; quick: 1)")
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="run ahead of the machine's other work while measured (needs root)",
    )
    parser.add_argument("--restart-gb", type=float, help="to recover (10; quick: 1)")
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
    options.warmup = (5.0 if quick else 20.0) if options.warmup is None else options.warmup
    options.rounds = options.rounds or (1 if quick else 2)
    options.restart_gb = options.restart_gb or (1.0 if quick else 10.0)
    if options.list:
        print("\n".join([*(row.name for row in rows()), *_RESTARTS]))
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
