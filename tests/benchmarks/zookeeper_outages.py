"""Rows that start and end ensembles: how long that takes, memory, and what a leader's end costs."""

import statistics
import time
from collections.abc import Callable, Iterator

from tests.benchmarks.zookeeper_rows import Plan, Row, fill, load, members, pair, paths_of
from tests.benchmarks.zookeeper_servers import OTTLA, ZOOKEEPER, Ensemble
from tests.benchmarks.zookeeper_wire import Client, Unexpected, wait_for_client

REQUEST_TIMEOUT_S = 0.25
"""When a client gives up on a member that does not answer; a pause is known that precisely."""


def start(plan: Plan) -> Iterator[Row]:
    """From the command to the first session (which is a committed write), and memory."""
    for size in plan.sizes:
        taken: dict[str, list[float]] = {OTTLA: [], ZOOKEEPER: []}
        empty: dict[str, list[float]] = {}
        loaded: dict[str, list[float]] = {}
        runs = 1 if plan.quick else 5
        for number in range(runs):
            with pair(plan, size, f"start-{number}") as both:
                for kind, ensemble in both.items():
                    taken[kind].append(ensemble.start())
                    if number < runs - 1:
                        ensemble.stop()
                if number < runs - 1:
                    continue
                time.sleep(2 if plan.quick else 10)
                empty = {kind: e.resident_mb() for kind, e in both.items()}
                for kind, ensemble in both.items():
                    fill(ensemble, plan.values)
                    for share in (0.0, 1.0):
                        load(ensemble, (32, 16), share, 100, max(plan.warmup / 2, 1))
                    loaded[kind] = ensemble.resident_mb()
        for what, unit, values in (
            ("start to the first session", "s", taken),
            ("memory of a member, empty", "MB", empty),
            ("memory of a member, after load", "MB", loaded),
        ):
            yield Row(
                "start", f"{members(size)}: {what}", unit,
                statistics.median(values[OTTLA]), statistics.median(values[ZOOKEEPER]),
                more_is_better=False, target=2,
            )  # fmt: skip


def failover(plan: Plan) -> Iterator[Row]:
    """The leader ends, freezes or stops while clients write: the longest time without a write."""
    harms: dict[str, Callable[[Ensemble, int], None]] = {
        "kill -9 of the leader": Ensemble.kill,
        "SIGSTOP of the leader": Ensemble.freeze,
        "clean stop of the leader": Ensemble.end,
    }
    for what, harm in harms.items():
        for tick_ms in (2000,) if plan.quick else (2000, 200):
            gaps: dict[str, list[float]] = {OTTLA: [], ZOOKEEPER: []}
            for number in range(1 if plan.quick else 2):
                name = f"failover-{what[:7].strip()}-{tick_ms}-{number}"
                with pair(plan, 3, name, tick_ms=tick_ms) as both:
                    for kind, ensemble in both.items():
                        ensemble.start()
                        fill(ensemble, (100,))
                        load(ensemble, (32, 16), 0.0, 100, max(plan.warmup / 5, 1))
                        gaps[kind].append(_longest_gap(ensemble, harm))
                        ensemble.stop()
            yield Row(
                "failover", f"3 members, tickTime {tick_ms}, {what}: without writes", "s",
                statistics.median(gaps[OTTLA]), statistics.median(gaps[ZOOKEEPER]),
                more_is_better=False, target=2,
            )  # fmt: skip


def _longest_gap(ensemble: Ensemble, harm: Callable[[Ensemble, int], None]) -> float:
    """One client per survivor, taking turns; each comes back as soon as it is let in."""
    leader = ensemble.leader()
    ports = [port for index, port in enumerate(ensemble.ports) if index != leader]
    path = paths_of(100)[0]
    clients: list[Client | None] = [Client(port, REQUEST_TIMEOUT_S) for port in ports]
    for client in clients:
        assert client is not None
        client.set_data(path, bytes(100))
    harm(ensemble, leader)
    killed_at = last = time.monotonic()
    longest = 0.0
    # A member that has not noticed yet may still answer, so the longest pause counts, not the first
    # write; a second without a longer one ends the search.
    while not longest or last < killed_at + longest + 1.0:
        if time.monotonic() > killed_at + 60:
            raise TimeoutError("no write succeeds after the leader's end")
        for index, client in enumerate(clients):
            try:
                if client is None:
                    client = clients[index] = wait_for_client(ports[index], 0.0)
                    client.socket.settimeout(REQUEST_TIMEOUT_S)
                client.set_data(path, bytes(100))
            except (OSError, Unexpected):
                if client is not None:
                    client.socket.close()
                clients[index] = None
                continue
            done = time.monotonic()
            longest = max(longest, done - last)
            last = done
    for client in clients:
        if client is not None:
            client.close()
    return longest


__all__ = ["failover", "start"]
