"""An admin that changes configurations while everything runs, and what brokers have to say of them.

An answered change counts. One whose answer never came may have been made, or be made later; so a
value is only certain once a change is answered after which nothing older can be under way. The last
changes are therefore made when the faults are over, and then every broker has to show them, and its
logs have to go by them.
"""

from dataclasses import dataclass, field

import trio

from ottla.broker.link import LinkLost
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from ottla.protocol.kafka.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.history import History, Violation
from tests.simulation.world.nodes import Node

_TOPIC, _BROKER = 2, 4  # types of resources
_SET, _DELETE = 0, 1
_SETTLED_S = 20.0  # after this long, no request of before the healing is under way
TIMEOUT_S = 8.0

# Values that change how a topic behaves, and none that takes acknowledged records away.
TOPIC_VALUES = {
    "min.insync.replicas": ("1", "2"),
    "segment.bytes": ("800", "5000", "1000000"),
    "segment.ms": ("2000", "604800000"),
    "retention.ms": ("604800000", "-1"),
    "max.message.bytes": ("200", "1048588"),
    "index.interval.bytes": ("100", "4096"),
}
CLUSTER_VALUES = {
    "log.segment.bytes": ("1500", "30000"),
    "log.retention.ms": ("604800000", "-1"),
    "message.max.bytes": ("20000", "1048588"),
}
# What a log goes by, of the keys above: the attribute of its configuration.
_ATTRIBUTES = {
    "segment.bytes": "segment_bytes",
    "segment.ms": "segment_ms",
    "retention.ms": "retention_ms",
    "max.message.bytes": "max_message_bytes",
    "index.interval.bytes": "index_interval_bytes",
}


@dataclass
class Setting:
    """One key of one resource (a topic, or "" for all brokers)."""

    topic: str
    key: str
    acked: str | None = None  # the value of the last answered change
    maybe: set[str] = field(default_factory=set)  # of changes that nobody answered


class ConfigAdmin:
    """`play` until the end of the faults, then `finish`."""

    def __init__(self, port: KafkaPort, history: History, topics: list[str]) -> None:
        self._port = port
        self._history = history
        self._topics = topics
        self._settings: dict[tuple[str, str], Setting] = {}
        self.is_finished = False
        history.sizes_change = True

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.uniform(0.5, 8.0))
            topic = rng.choice((*self._topics, *self._topics, ""))
            values = TOPIC_VALUES if topic else CLUSTER_VALUES
            key = rng.choice(list(values))
            await self._change(topic, key, rng.choice(values[key]))

    async def finish(self) -> None:
        """Set what was touched once more, to what lets everybody write, until it is answered."""
        await trio.sleep(_SETTLED_S)
        for setting in list(self._settings.values()):
            values = TOPIC_VALUES if setting.topic else CLUSTER_VALUES
            is_set = False
            while not is_set:
                is_set = await self._change(setting.topic, setting.key, values[setting.key][-1])
                await trio.sleep(0.1)
            setting.maybe.clear()
        self.is_finished = True

    async def _change(self, topic: str, key: str, value: str) -> bool:
        """Whether it was answered that it is made."""
        setting = self._settings.setdefault((topic, key), Setting(topic, key))
        request = IncrementalAlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=_TOPIC if topic else _BROKER,
                    resource_name=topic,
                    configs=[AlterableConfig(name=key, config_operation=_SET, value=value)],
                )
            ]
        )
        try:
            answer = await self._port.ask(self._port.any_broker(), request, 1, TIMEOUT_S)
        except LinkLost:
            setting.maybe.add(value)
            return False
        code = ErrorCode(answer.responses[0].error_code)
        self._history.counts[f"configuration changes: {code.name.lower()}"] += 1
        if code is ErrorCode.NONE:
            setting.acked = value
            return True
        if code not in (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
            raise Violation(f"{topic or 'all brokers'}: {key}={value} is refused: {code.name}")
        setting.maybe.add(value)
        return False

    # At the end

    async def check(self, brokers: list[int]) -> list[str]:
        """What brokers do not show yet of the last answered values."""
        wrong = []
        for broker in brokers:
            try:
                wrong += await self._look(broker)
            except LinkLost as lost:
                wrong.append(str(lost))
        return wrong

    async def _look(self, broker: int) -> list[str]:
        names = list(dict.fromkeys(setting.topic for setting in self._settings.values()))
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsResource(
                    resource_type=_TOPIC if name else _BROKER,
                    resource_name=name or str(broker),
                    configuration_keys=None,
                )
                for name in names
            ]
        )
        answer = await self._port.ask(broker, request, 3, TIMEOUT_S)
        wrong = []
        for name, result in zip(names, answer.results, strict=True):
            if result.error_code:
                wrong.append(f"broker {broker}: {ErrorCode(result.error_code).name}")
                continue
            shown = {row.name: row.value for row in result.configs}
            wrong += [
                f"broker {broker} shows {setting.key}={shown.get(setting.key)} of"
                f" {name or 'all brokers'}, the last was {setting.acked}"
                for setting in self._settings.values()
                if setting.topic == name and not self._may_be(setting, shown.get(setting.key))
            ]
        self._history.counts["configurations compared"] += len(self._settings)
        return wrong

    @staticmethod
    def _may_be(setting: Setting, value: str | None) -> bool:
        return setting.acked is None or value == setting.acked or value in setting.maybe

    def check_logs(self, nodes: list[Node]) -> list[str]:
        """Logs that do not go by what their topics are set to."""
        wrong = []
        for node in nodes:
            if node.handle is None:
                continue
            for partition in node.handle.services.partitions:
                for (topic, key), setting in self._settings.items():
                    if topic != partition.tp.topic:
                        continue
                    if key == "min.insync.replicas":
                        has = partition.min_isr
                    else:
                        has = getattr(partition.log.config, _ATTRIBUTES[key])
                    if not self._may_be(setting, str(has)):
                        wrong.append(
                            f"{node.name}: {partition.tp} goes by {key}={has},"
                            f" the last was {setting.acked}"
                        )
        return wrong
