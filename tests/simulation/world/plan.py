"""What a seed decides before a run begins: sizes, settings, and which faults there are.

Swarm testing (Groce et al., 2012): each run leaves out whole kinds of faults and turns up others,
since kinds that are always all on hide what one of them alone would show.
"""

import random
from dataclasses import dataclass, field

from ottla.broker.replication.read_replica import RACK_AWARE

FAULTS = (
    "kill_broker",
    "kill_member",
    "stop_broker",
    "power_broker",
    "power_member",
    "power_ensemble",
    "pause",
    "pause_client",
    "cut_one_way",
    "cut_pair",
    "isolate",
    "halves",
    "slow_link",
    "reset",
    "slow_disk",
    "sync_failure",
    "clock_jump",
)
LANE_FAULTS = ("stall", "slow_drain")  # of single connections
LINK_FAULTS = {
    "cut_one_way",
    "cut_pair",
    "isolate",
    "halves",
    "slow_link",
    "reset",
    *LANE_FAULTS,
}
# Drawn apart, so that plans of seeds that failed long ago keep what they had.
MORE_FAULTS = ("full_broker", "full_member", "flip_broker", "flip_member")
LOG_DIRS = ["/log", "/log2"]
"""Of brokers whose logs are moved between them; others have the first alone."""


@dataclass
class Plan:
    """Everything that a run is made of, next to the seed itself."""

    seed: int
    minutes: float
    members: int = 3
    brokers: int = 3
    tick_ms: int = 2000
    snap_count: int = 100_000
    delay_s: float = 0.001
    jitter_s: float = 0.002
    faults: dict[str, float] = field(default_factory=dict)  # kind -> mean seconds between two
    broker_settings: dict[str, str] = field(default_factory=dict)
    topics: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # partitions, rf, min isr
    producers: int = 2
    records_per_s: float = 4.0  # of each producer
    groups: int = 1
    group_kind: str = "range"  # of all groups: range, static or cooperative
    group_members: int = 2
    ensemble_clients: int = 2
    durable: bool = False  # brokers sync each batch before they acknowledge it
    compacted: dict[str, str] | None = None  # settings of a compacted topic, if there is one
    configures: bool = False  # somebody changes configurations all the time
    configures_brokers: bool = False  # each broker's own configuration, and that of all
    recreates: bool = False  # a topic is deleted and made again under its name
    pipelined: bool = False  # the first producer has several requests in flight
    moves: bool = False  # partitions go to other brokers, preferred leaders are elected
    moves_logs: bool = False  # brokers have two log directories, and logs go from one to the other
    grows: bool = False  # topics get more partitions while they are used
    retained: dict[str, str] | None = None  # settings of a topic whose old records go, if any
    unclean: int = 0  # replicas of topics that anybody may lead who is left; 0: there is none
    racks: int = 0  # how many the brokers stand in; consumers then read in theirs

    @classmethod
    def of(cls, seed: int, minutes: float = 3.0) -> "Plan":
        rng = random.Random(seed * 7919 + 13)
        plan = cls(seed, minutes)
        plan.tick_ms = rng.choice((1000, 2000, 3000, 4000))
        plan.snap_count = rng.choice((60, 200, 1000, 100_000))
        plan.delay_s = rng.choice((0.0005, 0.001, 0.005, 0.02))
        # Delays that elections can not outlast are faults, and come as such.
        plan.jitter_s = rng.choice((0.0, 0.001, 0.01, 0.05)) * plan.tick_ms / 1000
        kinds = rng.sample(FAULTS, rng.randint(1, len(FAULTS)))
        if rng.random() < 0.05:
            kinds = []
        for kind in sorted(kinds):
            plan.faults[kind] = rng.choice((15.0, 30.0, 60.0))
        session_ms = rng.choice((2, 3, 6)) * plan.tick_ms
        plan.broker_settings = {
            "zookeeper.session.timeout.ms": str(session_ms),
            "num.partitions": "2",
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.num.partitions": str(rng.choice((1, 3))),
            "offsets.topic.replication.factor": "3",
            "replica.lag.time.max.ms": str(rng.choice((4_000, 10_000, 30_000))),
            "replica.fetch.wait.max.ms": rng.choice(("500", "2000", "3500")),
            "group.initial.rebalance.delay.ms": rng.choice(("0", "1000")),
            "log.segment.bytes": str(rng.choice((2_000, 20_000, 1_000_000))),
            "log.index.interval.bytes": rng.choice(("200", "4096")),
            "controlled.shutdown.retry.backoff.ms": "500",
            "auto.create.topics.enable": "false",
        }
        plan.topics = {
            "safe": (rng.choice((1, 3)), 3, 2),
            "loose": (rng.choice((1, 2)), rng.choice((2, 3)), 1),
        }
        plan.producers = rng.randint(1, 3)
        # A run's load is that of all its producers: more of them interleave, they do not add up.
        plan.records_per_s = rng.choice((1.0, 3.0, 8.0)) / plan.producers
        plan.groups = rng.randint(0, 2)
        plan.group_members = rng.randint(1, 3)
        plan.ensemble_clients = rng.randint(0, 3)
        plan._draw_more(random.Random(seed * 104_729 + 7))
        plan._draw_leaders(random.Random(seed * 1_299_709 + 11))
        plan._draw_topics(random.Random(seed * 15_485_863 + 17))
        return plan

    def _draw_topics(self, rng: random.Random) -> None:
        """Topics that change under those who use them, in a part of the runs."""
        if not self.faults:
            return
        self.grows = rng.random() < 0.2
        if rng.random() < 0.2:
            self.make_retained(rng)
        if rng.random() < 0.12:
            self.make_unclean(rng)
        for kind in LANE_FAULTS:
            if rng.random() < 0.25:
                self.faults[kind] = rng.choice((4.0, 10.0, 30.0))
        if rng.random() < 0.1:
            self.brokers = rng.choice((4, 5))
        if rng.random() < 0.08:
            self.members = rng.choice((1, 5))
        self.configures_brokers = rng.random() < 0.2

    def make_retained(self, rng: random.Random) -> None:
        """Small segments of which the oldest go soon, by their size, their age or both."""
        kind = rng.choice(("size", "age", "both", "neither"))
        self.retained = {
            "segment_bytes": rng.choice(("500", "2000")),
            "segment_ms": rng.choice(("5000", "60000")),
            "retention_bytes": rng.choice(("1500", "6000")) if kind in ("size", "both") else "-1",
            "retention_ms": rng.choice(("8000", "25000")) if kind in ("age", "both") else "-1",
            "file_delete_delay_ms": rng.choice(("100", "5000")),
        }
        self.broker_settings["log.retention.check.interval.ms"] = rng.choice(("2000", "8000"))

    def make_unclean(self, rng: random.Random) -> None:
        """Replicas leave their ISRs soon, and brokers go away often."""
        self.unclean = rng.choice((2, 3))
        self.broker_settings["replica.lag.time.max.ms"] = "4000"
        self.faults["kill_broker"] = rng.choice((6.0, 12.0))
        self.faults["cut_pair"] = rng.choice((10.0, 30.0))

    def _draw_leaders(self, rng: random.Random) -> None:
        """Leaderships and the controller's role move between live brokers, in half of the runs."""
        if not self.faults or rng.random() < 0.5:
            return
        interval_s = rng.choice(("3", "20", "300"))
        self.broker_settings["leader.imbalance.check.interval.seconds"] = interval_s
        if rng.random() < 0.5:
            self.faults["move_controller"] = rng.choice((10.0, 20.0, 40.0))

    def _draw_more(self, rng: random.Random) -> None:
        """What was added later; half of the runs have none of it."""
        if not self.faults or rng.random() < 0.5:
            return
        for kind in rng.sample(MORE_FAULTS, rng.randint(1, len(MORE_FAULTS))):
            self.faults[kind] = rng.choice((10.0, 20.0, 40.0))
        if rng.random() < 0.4:
            self.make_durable(rng)
        if rng.random() < 0.5:
            self.make_compacted(rng)
        self.pipelined = rng.random() < 0.5
        self.group_kind = rng.choice(("range", "static", "cooperative"))
        self.configures = rng.random() < 0.4
        self.recreates = rng.random() < 0.4
        if rng.random() < 0.4:
            self.make_moving(rng)
        if rng.random() < 0.3:
            self.make_two_dirs()
        if rng.random() < 0.4:
            self.make_racks(rng)

    def make_moving(self, rng: random.Random) -> None:
        """The controller that moves partitions is deposed now and then."""
        self.moves = True
        if rng.random() < 0.6:
            self.faults["move_controller"] = rng.choice((10.0, 25.0))

    def make_two_dirs(self) -> None:
        self.moves_logs = True
        self.broker_settings["log.dirs"] = ",".join(LOG_DIRS)

    def make_racks(self, rng: random.Random) -> None:
        self.racks = rng.choice((2, 3))
        self.broker_settings["replica.selector.class"] = RACK_AWARE

    def rack(self, broker: int) -> str:
        return f"rack-{broker % self.racks}"

    def settings_of(self, broker: int) -> dict[str, str]:
        rack = {"broker.rack": self.rack(broker)} if self.racks else {}
        return self.broker_settings | rack

    def make_durable(self, rng: random.Random) -> None:
        """Then brokers may lose power like anybody, and nothing is excused."""
        self.durable = True
        self.broker_settings["log.flush.interval.messages"] = "1"
        for kind in ("power_broker", "power_leader", "power_brokers"):
            if rng.random() < 0.7:
                self.faults[kind] = rng.choice((20.0, 40.0, 80.0))

    def make_compacted(self, rng: random.Random) -> None:
        """A compacted topic next to the others, whose segments are small and cleaned all the time.

        Tombstones that go after a second let deleted keys come back (see `keyed`); others stay.
        """
        self.compacted = {
            "cleanup_policy": "compact",
            "segment_bytes": rng.choice(("500", "2000")),
            "segment_ms": rng.choice(("3000", "60000")),
            "min_cleanable_dirty_ratio": rng.choice(("0.01", "0.5")),
            "delete_retention_ms": rng.choice(("1000", "604800000", "604800000")),
        }
        self.broker_settings["log.cleaner.backoff.ms"] = rng.choice(("300", "2000"))
        self.broker_settings["offsets.topic.segment.bytes"] = rng.choice(("1000", "100000"))
