"""Planted bugs of topics that change in use: growth, retention, unclean elections, settings."""

from dataclasses import replace

from ottla.broker.api import delete_records
from ottla.broker.controller import decisions
from ottla.broker.controller.controller import Controller
from ottla.broker.controller.topics import TopicAdmin, TopicOutcome
from ottla.broker.dynamic_config import DynamicConfig
from ottla.broker.metadata import MetadataCache
from ottla.broker.partitions.partition import Partition
from ottla.broker.storage import retention
from ottla.broker.storage.log import Log
from ottla.config.broker import BrokerConfig
from ottla.protocol.kafka.errors import ErrorCode
from tests.simulation.world.planted.bugs import Patch, planted

_GROWTH = {"changes": {"grows": True}}


@planted("that a topic grows is granted and forgotten", **_GROWTH)
def _growth_forgotten() -> list[Patch]:
    async def grow(_self, wish, validate_only: bool):
        del validate_only
        return TopicOutcome(wish.name, partitions=wish.count)

    return [(TopicAdmin, "_grow", grow)]


@planted("a broker takes no more partitions for a topic that it knows", **_GROWTH)
def _partitions_of_known_topics_ignored() -> list[Patch]:
    original = MetadataCache._apply_topic

    def apply(self, state, gone) -> None:
        known = self._topics.get(state.topic_name)
        if known is not None and known.topic_id == state.topic_id:
            state.partition_states = [
                each for each in state.partition_states if each.partition_index in known.partitions
            ]
        original(self, state, gone)

    return [(MetadataCache, "_apply_topic", apply)]


# Retention

_RETAINED = {
    "segment_bytes": "500",
    "segment_ms": "60000",
    "retention_bytes": "-1",
    "retention_ms": "-1",
    "file_delete_delay_ms": "5000",
}
_ROUNDS = {"log.retention.check.interval.ms": "2000"}
_DELETIONS = {
    "faults": {"kill_broker": 12.0, "isolate": 12.0},
    "settings": _ROUNDS,
    "changes": {"retained": _RETAINED},
}


@planted(
    "retention by size keeps half of what it should",
    settings=_ROUNDS,
    changes={"retained": _RETAINED | {"retention_bytes": "6000"}, "records_per_s": 8.0},
)
def _half_is_retained() -> list[Patch]:
    original = retention._count_by_size
    return [
        (
            retention,
            "_count_by_size",
            lambda segments, retention_bytes: original(segments, retention_bytes // 2),
        )
    ]


@planted(
    "retention by age goes by the oldest record of a segment",
    settings=_ROUNDS,
    faults={"kill_broker": 20.0},
    changes={
        "retained": _RETAINED | {"retention_ms": "25000", "segment_bytes": "2000"},
        "records_per_s": 3.0,
    },
)
def _age_of_the_oldest() -> list[Patch]:
    def count(segments, retention_ms: int, now_ms: int) -> int:
        if retention_ms < 0:
            return 0
        return sum(now_ms - segment.created_ms > retention_ms for segment in segments.all)

    return [(retention, "_count_by_time", count)]


@planted("a deletion of records is answered before followers have made it", **_DELETIONS)
def _deleted_on_the_leader_alone() -> list[Patch]:
    def low_watermark(tp, ctx) -> int:
        return ctx.services.partitions.get(tp).log.log_start

    return [(delete_records, "low_watermark", low_watermark)]


@planted("a fetch below the log start gives what is still on the disk", **_DELETIONS)
def _deleted_records_given() -> list[Patch]:
    original = Log.read

    def read(self, offset: int, *args, **options):
        kept, self.log_start = self.log_start, min(self.log_start, self.first_base)
        try:
            return original(self, offset, *args, **options)
        finally:
            self.log_start = kept

    return [(Log, "read", read)]


@planted("retention puts the log start where the first segment begins", **_DELETIONS)
def _log_start_goes_back() -> list[Patch]:
    original = Log.delete_expired

    def delete_expired(self, now_ms: int, high_watermark: int) -> int:
        deleted = original(self, now_ms, high_watermark)
        self.log_start = self.first_base
        return deleted

    return [(Log, "delete_expired", delete_expired)]


# Unclean elections

_UNCLEAN = {
    "faults": {"kill_broker": 6.0, "cut_pair": 10.0},
    "settings": {"replica.lag.time.max.ms": "4000"},
    "changes": {"unclean": 2},
}


@planted("a follower of an unclean leader keeps what it holds for committed", **_UNCLEAN)
def _committed_kept_under_unclean_leaders() -> list[Patch]:
    original = Partition._move

    def move(self, wanted) -> None:
        if wanted.end >= self.high_watermark:
            original(self, wanted)
        else:
            self.log.epochs.assign(max(self.leader_epoch, 0), self.log.log_end)

    return [(Partition, "_move", move)]


@planted("an unclean election that somebody asks for is answered and not held", **_UNCLEAN)
def _unclean_election_not_held() -> list[Patch]:
    original = Controller.elect_leaders

    async def elect(self, partitions, *, unclean: bool = False):
        if unclean:
            return dict.fromkeys(partitions or (), (ErrorCode.NONE, None))
        return await original(self, partitions, unclean=unclean)

    return [(Controller, "elect_leaders", elect)]


@planted("an unclean leader goes on in the epoch of the one before", **_UNCLEAN)
def _unclean_leader_in_an_old_epoch() -> list[Patch]:
    original = decisions._write

    def write(cluster, tp, state, recipients):
        before = cluster.partitions.get(tp)
        if before is not None and state.leader >= 0 and state.leader not in before.isr:
            state = replace(state, leader_epoch=before.leader_epoch)
        return original(cluster, tp, state, recipients)

    return [(decisions, "_write", write)]


# Settings of brokers

_SETTINGS = {"faults": {"kill_broker": 10.0}, "changes": {"configures_brokers": True}}


@planted("what all brokers are set to goes before a broker's own setting", **_SETTINGS)
def _own_setting_hidden() -> list[Patch]:
    original = BrokerConfig.with_sound_dynamic

    def with_dynamic(self, cluster, broker):
        own = {key: value for key, value in broker.items() if key not in cluster}
        return original(self, cluster, own)

    return [(BrokerConfig, "with_sound_dynamic", with_dynamic)]


@planted("a broker that starts does not read what it was set to", **_SETTINGS)
def _settings_not_read_at_the_start() -> list[Patch]:
    async def read(_self) -> None:
        return

    return [(DynamicConfig, "read_broker", read)]
