"""The facts about a cluster that znodes hold, as values.

Pure: neither bytes nor sockets. `encodings` turns them into znode data and back, the controller's
cores compute with them.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from ottla.broker.ids import BrokerId, ControllerEpoch, LeaderEpoch, PartitionEpoch

NO_LEADER = BrokerId(-1)
"""The leader of a partition none of whose eligible replicas is alive."""

LEADER_DURING_DELETE = BrokerId(-2)
"""What UpdateMetadata names as leader of a partition whose topic is being deleted."""

EPOCH_DURING_DELETE = LeaderEpoch(-2)
"""What StopReplica carries for such a partition: it overrides every epoch (KIP-570)."""

INITIAL_LEADER_EPOCH = LeaderEpoch(0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One advertised listener. `protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""

    listener: str
    host: str
    port: int
    protocol: str = "PLAINTEXT"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.listener}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """A registered broker: `/brokers/ids/<id>`. `epoch` is the znode's czxid (-1: not read)."""

    id: BrokerId
    endpoints: tuple[Endpoint, ...]
    rack: str | None = None
    epoch: int = -1

    def endpoint(self, listener: str) -> Endpoint | None:
        """The endpoint of that listener name."""
        for endpoint in self.endpoints:
            if endpoint.listener == listener:
                return endpoint
        return None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which brokers hold a partition; the first one is the preferred leader."""

    replicas: tuple[BrokerId, ...]
    adding: tuple[BrokerId, ...] = ()
    removing: tuple[BrokerId, ...] = ()

    @property
    def is_being_reassigned(self) -> bool:
        return bool(self.adding or self.removing)

    @property
    def origin(self) -> tuple[BrokerId, ...]:
        """Where the partition was before; what a cancelled reassignment goes back to."""
        return tuple(each for each in self.replicas if each not in self.adding)

    @property
    def target(self) -> tuple[BrokerId, ...]:
        """Where it is to be, the preferred leader first."""
        return tuple(each for each in self.replicas if each not in self.removing)

    def reassigned_to(self, target: tuple[BrokerId, ...]) -> "Assignment":
        """On the way to `target`, from where it was before any move under way (KIP-455)."""
        origin = self.origin
        replicas = (*target, *(each for each in origin if each not in target))
        return Assignment(
            replicas,
            tuple(each for each in replicas if each not in origin),
            tuple(each for each in replicas if each not in target),
        )


@dataclass(frozen=True, slots=True)
class TopicAssignment:
    """`/brokers/topics/<topic>`: its id (None: written before topic ids) and its partitions."""

    topic_id: UUID | None
    partitions: dict[int, Assignment]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """`/brokers/topics/<topic>/partitions/<n>/state`.

    `partition_epoch` is the znode's version, which every change compares and raises;
    `controller_epoch` that of the controller which wrote it.
    """

    leader: BrokerId
    leader_epoch: LeaderEpoch
    isr: tuple[BrokerId, ...]
    controller_epoch: ControllerEpoch
    partition_epoch: PartitionEpoch
    recovering: bool = False

    def with_election(
        self, leader: BrokerId, isr: tuple[BrokerId, ...], *, recovering: bool | None = None
    ) -> "PartitionState":
        """The same partition under the next leader epoch."""
        return replace(
            self,
            leader=leader,
            leader_epoch=LeaderEpoch(self.leader_epoch + 1),
            isr=isr,
            recovering=self.recovering if recovering is None else recovering,
        )
