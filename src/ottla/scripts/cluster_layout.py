"""A local cluster on disk: which daemons it has, their ports, their property files.

<data>/cluster.json                what the cluster was made with, so that a later start resumes it
<data>/config/<daemon>.properties  written once, then its user's to change
<data>/<daemon>/                   the daemon's data
<data>/logs/<daemon>.log           what it printed
<data>/run/<daemon>.pid            while it runs
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HOST = "127.0.0.1"
_PEER_OFFSET = 1000  # a member's port for its peers, above its client port
_STATE = "cluster.json"
_TICK_MS = 1000


class LayoutError(Exception):
    """What was asked for does not fit; the text is one line."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many daemons, and where their ports begin."""

    brokers: int = 3
    coordinators: int = 3
    base_port: int = 9092
    coordinator_base_port: int = 2181

    def check(self) -> None:
        """LayoutError when no cluster can look like this."""
        if self.coordinators % 2 == 0:
            less = self.coordinators - 1
            raise LayoutError(
                f"--coordinators {self.coordinators}: an even number bears no more failures than"
                f" {less} (a majority of {self.coordinators} is {self.coordinators // 2 + 1}),"
                f" and can be cut in halves; use {less if less > 0 else 1} or"
                f" {self.coordinators + 1}"
            )
        if self.coordinators < 1 or self.brokers < 1:
            raise LayoutError("there must be at least one broker and one coordinator")
        ports = [port for _, port in self.ports()]
        if not all(0 < port < 65_536 for port in ports):
            raise LayoutError("the ports do not all lie between 1 and 65535")
        if len(set(ports)) < len(ports):
            raise LayoutError("ports of brokers and coordinators overlap; move one of the bases")

    def ports(self) -> Iterator[tuple[str, int]]:
        """Every port with the option or key that moves it."""
        for n in range(self.coordinators):
            yield "--coordinator-base-port", self.coordinator_base_port + n
            if self.coordinators > 1:
                yield "--coordinator-base-port", self.peer_port(n + 1)
        for n in range(self.brokers):
            yield "--base-port", self.base_port + n

    def peer_port(self, member: int) -> int:
        return self.coordinator_base_port + member - 1 + _PEER_OFFSET

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{self.base_port + n}" for n in range(self.brokers))

    @property
    def connect(self) -> str:
        return ",".join(
            f"{HOST}:{self.coordinator_base_port + n}" for n in range(self.coordinators)
        )


@dataclass(frozen=True, slots=True)
class Member:
    """One daemon of the cluster."""

    kind: str  # "coordinator" or "broker"
    id: int
    home: Path

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.id}"

    @property
    def config(self) -> Path:
        return self.home / "config" / f"{self.name}.properties"

    @property
    def data(self) -> Path:
        return self.home / self.name

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.name}.log"


def members(home: Path, layout: Layout) -> list[Member]:
    """Coordinators first."""
    return [
        *(Member("coordinator", n + 1, home) for n in range(layout.coordinators)),
        *(Member("broker", n + 1, home) for n in range(layout.brokers)),
    ]


def saved_layout(home: Path) -> Layout | None:
    """What the cluster in a directory was made with; None when there is none."""
    try:
        content = json.loads((home / _STATE).read_text(encoding="utf-8"))
        return Layout(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LayoutError(f"{home / _STATE} is damaged: {error}") from None


def prepare(home: Path, layout: Layout) -> None:
    """Make directories and the property files that are not there yet. OSError."""
    for name in ("config", "logs", "run"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for member in members(home, layout):
        member.data.mkdir(exist_ok=True)
        if member.kind == "coordinator":
            (member.data / "myid").write_text(f"{member.id}\n", encoding="ascii")
        if not member.config.exists():
            lines = _coordinator(member, layout) if member.kind == "coordinator" else None
            text = "\n".join(lines or _broker(member, layout)) + "\n"
            member.config.write_text(text, encoding="utf-8")
    state = home / _STATE
    temporary = state.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(layout), indent=2) + "\n", encoding="utf-8")
    temporary.replace(state)


def _coordinator(member: Member, layout: Layout) -> list[str]:
    lines = [
        "# A member of a local ensemble, made by scripts/cluster-start.sh; yours to change.",
        f"dataDir={member.data}",
        f"clientPort={layout.coordinator_base_port + member.id - 1}",
        f"clientPortAddress={HOST}",
        f"tickTime={_TICK_MS}",
        "4lw.commands.whitelist=*",
        "admin.enableServer=false",
        "autopurge.purgeInterval=1",
    ]
    if layout.coordinators > 1:
        lines += [
            f"server.{n}={HOST}:{layout.peer_port(n)}" for n in range(1, layout.coordinators + 1)
        ]
    return lines


def _broker(member: Member, layout: Layout) -> list[str]:
    replicas = min(3, layout.brokers)
    return [
        "# A broker of a local cluster, made by scripts/cluster-start.sh; yours to change.",
        f"broker.id={member.id}",
        f"listeners=PLAINTEXT://{HOST}:{layout.base_port + member.id - 1}",
        f"log.dirs={member.data}",
        f"zookeeper.connect={layout.connect}",
        "# A broker that dies is noticed after this time.",
        "zookeeper.session.timeout.ms=6000",
        "# When all brokers stop at the same time, the controller is gone for some of them.",
        "controlled.shutdown.retry.backoff.ms=500",
        f"default.replication.factor={replicas}",
        f"min.insync.replicas={max(1, replicas - 1)}",
        f"offsets.topic.replication.factor={replicas}",
        "# One machine: a consumer group need not wait for members that start later.",
        "group.initial.rebalance.delay.ms=0",
    ]


__all__ = ["HOST", "Layout", "LayoutError", "Member", "members", "prepare", "saved_layout"]
