"""Every figure that the README names, as rows of a markdown table.

    python -m tests.benchmarks.figures [--only NAME]... [--json FILE] [--scale 1.0]

Names: start memory stream requests replicated consumer. Each starts what it needs: a whole cluster
of 3 coordinators and 3 brokers by `scripts/cluster-start.sh` on free ports, in a temporary
directory, ended and removed afterwards. `--scale` makes all loads smaller or longer. What is
compared is compared in one run, in turns; the machine should be quiet. Progress goes to stderr.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ottla.scripts.cluster_layout import HOST
from tests.benchmarks import machine, produce_requests, rdkafka
from tests.benchmarks.machine import progress
from tests.benchmarks.rdkafka import percentile, spread
from tests.support.processes import ROOT, LocalCluster, end_all, free_layout

START_MAX_S = 3.0
BROKER_MAX_MB = 80.0
COORDINATOR_MAX_MB = 60.0
STREAM_RATIO_MIN = 0.8
REQUESTS_MIN = 20_000
IDLE_S = 30.0
CONNECTIONS = 50
RECORDS_PER_S = 1000  # of the latency figures


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. met: None where there is no target, only a measurement."""

    name: str
    measured: str
    target: str = ""
    met: bool | None = None

    def markdown(self) -> str:
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return f"| {self.name} | {self.measured} | {self.target} | {met} |"


class Bench:
    """What the figures share: one running cluster, made when first asked for."""

    def __init__(self, home: Path, scale: float, stack: contextlib.ExitStack) -> None:
        self.home = home
        self.scale = scale
        self._stack = stack
        self._cluster: LocalCluster | None = None
        self.started_at = 0.0
        self._topics = 0

    @property
    def cluster(self) -> LocalCluster:
        if self._cluster is None:
            cluster = LocalCluster(self.home / "cluster", free_layout())
            self._stack.callback(cluster.destroy)
            cluster.start()
            self.started_at = time.monotonic()
            self._cluster = cluster
        return self._cluster

    def records(self, count: int) -> int:
        return max(int(count * self.scale), 1000)

    def runs(self, count: int) -> int:
        return max(round(count * min(self.scale, 1.0)), 1)

    def pids(self, kind: str) -> list[int]:
        return [self.cluster.pid(kind, n) for n in (1, 2, 3)]

    @contextlib.contextmanager
    def topic(self, replicas: list[list[int]], min_isr: int = 1) -> Iterator[str]:
        self._topics += 1
        name = f"figures-{self._topics}"
        bootstrap = self.cluster.bootstrap
        rdkafka.create_topic(bootstrap, name, replicas=replicas, min_isr=min_isr)
        yield name
        rdkafka.delete_topic(bootstrap, name)


def start(bench: Bench) -> list[Row]:
    """From the command to the first acknowledged write, which ends the command."""
    taken = []
    for run in range(bench.runs(7)):
        layout = free_layout()
        cluster = LocalCluster(bench.home / f"start-{run}", layout)
        command = [
            str(ROOT / "scripts" / "cluster-start.sh"), "--data", str(cluster.home),
            "--base-port", str(layout.base_port),
            "--coordinator-base-port", str(layout.coordinator_base_port),
        ]  # fmt: skip
        try:
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            taken.append(time.monotonic() - began)
        finally:
            cluster.destroy()
    return [
        Row(
            f"3 + 3 daemons from the command to the first acknowledged write, {len(taken)} runs",
            f"{spread(taken, 2)} s",
            f"< {START_MAX_S:g} s",
            max(taken) < START_MAX_S,
        )
    ]


def memory(bench: Bench) -> list[Row]:
    """Resident memory 30 s after the start of a cluster that did nothing else."""
    bench.cluster  # noqa: B018  starts it
    wait_s = IDLE_S * min(bench.scale, 1.0)
    time.sleep(max(bench.started_at + wait_s - time.monotonic(), 0))
    rows = []
    for kind, limit in (("broker", BROKER_MAX_MB), ("coordinator", COORDINATOR_MAX_MB)):
        sizes = [machine.resident_mb(pid) for pid in bench.pids(kind)]
        rows.append(
            Row(
                f"resident memory of an idle {kind}, {wait_s:.0f} s after the start",
                f"{spread(sizes)} MB",
                f"< {limit:g} MB",
                max(sizes) < limit,
            )
        )
    return rows


def memory_after(bench: Bench) -> list[Row]:
    """The same after the loads of the other figures."""
    rows = []
    for kind in ("broker", "coordinator"):
        sizes = [machine.resident_mb(pid) for pid in bench.pids(kind)]
        rows.append(Row(f"resident memory of a {kind} after these loads", f"{spread(sizes)} MB"))
    return rows


def stream(bench: Bench) -> list[Row]:
    """One producer and one partition leader, in turns with the bare loop."""
    records = bench.records(400_000)
    bare: list[rdkafka.Rate] = []
    ours: list[rdkafka.Rate] = []
    cpu = 0.0
    pid = bench.pids("broker")[0]
    with _bare_peer(bench.home / "bare") as address:
        for _ in range(bench.runs(7)):
            bare.append(rdkafka.produce(address, "bare", records=records, size=1000, acks="1"))
            with bench.topic([[1]]) as topic:
                before = machine.cpu_seconds(pid)
                rate = rdkafka.produce(
                    bench.cluster.bootstrap, topic, records=records, size=1000, acks="1"
                )
                cpu += machine.cpu_seconds(pid) - before
                ours.append(rate)
    ratio = statistics.median(r.mb_s for r in ours) / statistics.median(r.mb_s for r in bare)
    client = statistics.mean(r.client_cpu for r in ours)
    server = cpu / sum(r.seconds for r in ours)
    return [
        Row(
            "one librdkafka producer, 1 kB records, acks=1, one partition: a broker",
            f"{spread([r.mb_s for r in ours])} MB/s; client {client:.0%}, broker {server:.0%}"
            " of a core",
        ),
        Row(
            "the same client: a bare loop that writes the bytes to a file",
            f"{spread([r.mb_s for r in bare])} MB/s; client"
            f" {statistics.mean(r.client_cpu for r in bare):.0%} of a core",
        ),
        Row(
            "ratio of the medians",
            f"{ratio:.0%}",
            f">= {STREAM_RATIO_MIN:.0%}",
            ratio >= STREAM_RATIO_MIN,
        ),
    ]


@contextlib.contextmanager
def _bare_peer(path: Path) -> Iterator[str]:
    """Its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bare_peer", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"{HOST}:{int(process.stdout.readline())}"
    finally:
        end_all([process])
        assert process.stdout is not None
        process.stdout.close()


def requests(bench: Bench) -> list[Row]:
    """One-record produce requests over 50 connections to one broker process."""
    rows = []
    address = (HOST, bench.cluster.layout.base_port)
    pid = bench.pids("broker")[0]
    seconds = 1.5 * bench.scale
    for pipeline in (1, 5):
        with bench.topic([[1]] * 6) as topic:
            frames = produce_requests.spread_frames(topic, 6, CONNECTIONS, acks=1)
            rates = [
                produce_requests.measure(address, pid, frames, pipeline=pipeline, seconds=seconds)
                for _ in range(bench.runs(5))
            ]
        per_s = [rate.per_s for rate in rates]
        cpu_us = statistics.median(rate.server_cpu_us for rate in rates)
        cpu = statistics.median(rate.server_cpu for rate in rates)
        kind = f"{pipeline} in flight on each" if pipeline > 1 else "one in flight on each"
        rows.append(
            Row(
                f"one-record produce requests, acks=1, {CONNECTIONS} connections, {kind}",
                f"{spread(per_s)} /s; broker {cpu_us:.1f} µs of CPU each, {cpu:.0%} of a core",
                f">= {REQUESTS_MIN} /s",
                statistics.median(per_s) >= REQUESTS_MIN,
            )
        )
    return rows


_SPREAD_REPLICAS = [[1, 2, 3], [2, 3, 1], [3, 1, 2]] * 2


def replicated(bench: Bench) -> list[Row]:
    """6 partitions with 3 replicas, acks=all: throughput, then latency at a steady pace."""
    rows = []
    bootstrap = bench.cluster.bootstrap
    what = "6 partitions, 3 replicas, acks=all"
    for size, count in ((1000, 300_000), (100, 1_000_000)):
        rates = []
        for _ in range(bench.runs(3)):
            with bench.topic(_SPREAD_REPLICAS, min_isr=2) as topic:
                records = bench.records(count)
                rates.append(
                    rdkafka.produce(bootstrap, topic, records=records, size=size, acks="all")
                )
        mb_s = spread([rate.mb_s for rate in rates])
        per_s = statistics.median(rate.per_s for rate in rates)
        rows.append(
            Row(f"{what}: throughput, {size} B records", f"{mb_s} MB/s, {per_s:,.0f} records/s")
        )
    with bench.topic(_SPREAD_REPLICAS, min_isr=2) as topic:
        runs = [
            rdkafka.latency(
                bootstrap, topic, 6, per_s=RECORDS_PER_S, seconds=5 * bench.scale, size=1000
            )
            for _ in range(bench.runs(3))
        ]
    for name, each in (
        ("acknowledged", [run.produced for run in runs]),
        ("end to end, at a consumer", [run.consumed for run in runs]),
    ):
        shares = "; ".join(
            f"p{label} {spread([percentile(values, share) for values in each], 1)}"
            for label, share in (("50", 0.5), ("99", 0.99), ("99.9", 0.999))
        )
        rows.append(Row(f"{what}, {RECORDS_PER_S} records/s of 1 kB: {name}", f"{shares} ms"))
    return rows


def consumer(bench: Bench) -> list[Row]:
    """One consumer reads what is in the page cache."""
    rows = []
    bootstrap = bench.cluster.bootstrap
    for size, count in ((1000, 400_000), (100, 1_000_000)):
        with bench.topic([[1]]) as topic:
            records = bench.records(count)
            rdkafka.produce(bootstrap, topic, records=records, size=size, acks="1")
            rates = [
                rdkafka.consume(bootstrap, topic, 1, size=size, records=records)
                for _ in range(bench.runs(3))
            ]
        mb_s = spread([rate.mb_s for rate in rates])
        per_s = statistics.median(rate.per_s for rate in rates)
        client = statistics.mean(rate.client_cpu for rate in rates)
        rows.append(
            Row(
                f"one librdkafka consumer, one partition, {size} B records",
                f"{mb_s} MB/s, {per_s:,.0f} records/s; client {client:.0%} of a core",
            )
        )
    return rows


FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "start": start,
    "memory": memory,
    "stream": stream,
    "requests": requests,
    "replicated": replicated,
    "consumer": consumer,
}


def measure(names: list[str], scale: float) -> list[Row]:
    """The rows of the named figures, in the order of `FIGURES`."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ottla-figures-") as home, contextlib.ExitStack() as on:
        bench = Bench(Path(home), scale, on)
        for name, figure in FIGURES.items():
            if name in names:
                progress(f"{name} ...")
                rows += figure(bench)
        if "memory" in names and len(names) > 1:
            rows += memory_after(bench)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.figures", description="Prints the README's figures."
    )
    parser.add_argument("--only", action="append", choices=list(FIGURES), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args(arguments)
    described = machine.description()
    rows = measure(options.only or list(FIGURES), options.scale)
    print(", ".join(f"{name} {value}" for name, value in described.items()))
    print("\n| Figure | Measured: median (least to most) | Target | Met |\n|---|---|---|---|")
    for row in rows:
        print(row.markdown())
    if options.json:
        content = {"machine": described, "figures": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
