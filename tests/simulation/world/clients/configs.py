"""An admin that changes configurations while everything runs, and what brokers have to say of them.

Topics have configurations, each broker its own, and all brokers one that is below those.

An answered change counts. One whose answer never came may have been made, or be made later; so a
value is only certain once a change is answered after which nothing older can be under way. The last
changes are therefore made when the faults are over, and then every broker has to show them, and its
logs have to go by them.
"""

from dataclasses import dataclass, field

import trio

from ottla.broker.link import LinkLost
from ottla.broker.partitions.partition import Partition
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
BROKER_VALUES = CLUSTER_VALUES | {
    "num.replica.fetchers": ("1", "2"),
    "log.cleaner.threads": ("1", "2"),
    "log.index.interval.bytes": ("300", "4096"),
}
"""Of one broker, and of all where single ones are set too."""
# What a log goes by, of the keys above: the attribute of its configuration.
_ATTRIBUTES = {
    "segment.bytes": "segment_bytes",
    "segment.ms": "segment_ms",
    "retention.ms": "retention_ms",
    "max.message.bytes": "max_message_bytes",
    "index.interval.bytes": "index_interval_bytes",
}
_IN_THE_WAY = {"min.insync.replicas", "max.message.bytes"}
_DEFAULTS_OF_TOPICS = {"log.segment.bytes": "segment.bytes", "log.retention.ms": "retention.ms"}
_PLAIN_TOPICS = {"safe", "loose"}  # have nothing of their own but what is set here


@dataclass
class Setting:
    """One key of one resource (a topic, the number of a broker, or "" for all brokers)."""

    name: str
    key: str
    acked: str | None = None  # the value of the last answered change; None: it has none
    maybe: set[str | None] = field(default_factory=set)  # of changes that nobody answered

    @property
    def kind(self) -> int:
        return _TOPIC if self.name and not self.name.isdigit() else _BROKER

    def may_be(self, value: str | None) -> bool:
        return self.acked is None or value == self.acked or value in self.maybe


class ConfigAdmin:
    """`play` until the end of the faults, then `finish`. `brokers` are configured one by one."""

    def __init__(
        self, port: KafkaPort, history: History, topics: list[str], brokers: list[int]
    ) -> None:
        self._port = port
        self._history = history
        self._names = [*topics, *topics, *map(str, brokers), "", *([""] if brokers else [])]
        self._of_all = BROKER_VALUES if brokers else CLUSTER_VALUES
        self._settings: dict[tuple[str, str], Setting] = {}
        self.is_finished = False
        history.sizes_change = True

    async def play(self) -> None:
        rng = self._port.rng
        while True:
            await trio.sleep(rng.uniform(0.5, 8.0))
            name = rng.choice(self._names)
            values = self._values(name)
            key = rng.choice(list(values))
            value = rng.choice(values[key])
            is_taken_back = name.isdigit() and rng.random() < 0.3
            await self._change(name, key, None if is_taken_back else value)

    def _values(self, name: str) -> dict[str, tuple[str, ...]]:
        if not name:
            return self._of_all
        return BROKER_VALUES if name.isdigit() else TOPIC_VALUES

    async def finish(self) -> None:
        """Set what is uncertain once more, and what may keep somebody from writing.

        What was answered stays: brokers that started since have to know it.
        """
        await trio.sleep(_SETTLED_S)
        for setting in list(self._settings.values()):
            if not setting.maybe and setting.key not in _IN_THE_WAY:
                continue
            value: str | None = self._values(setting.name)[setting.key][-1]
            if setting.name.isdigit() and self._port.rng.random() < 0.5:
                value = None  # what all brokers have counts again
            is_set = False
            while not is_set:
                is_set = await self._change(setting.name, setting.key, value)
                await trio.sleep(0.1)
            setting.maybe.clear()
        self.is_finished = True

    async def _change(self, name: str, key: str, value: str | None) -> bool:
        """Whether it was answered that it is made. `value` None: take it back."""
        setting = self._settings.setdefault((name, key), Setting(name, key))
        operation = _DELETE if value is None else _SET
        request = IncrementalAlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=setting.kind,
                    resource_name=name,
                    configs=[AlterableConfig(name=key, config_operation=operation, value=value)],
                )
            ]
        )
        try:
            broker = int(name) if name.isdigit() else self._port.any_broker()
            answer = await self._port.ask(broker, request, 1, TIMEOUT_S)
        except LinkLost:
            setting.maybe.add(value)
            return False
        except trio.Cancelled:
            setting.maybe.add(value)  # the request is under way
            raise
        code = ErrorCode(answer.responses[0].error_code)
        self._history.counts[f"configuration changes: {code.name.lower()}"] += 1
        if code is ErrorCode.NONE:
            setting.acked = value
            return True
        if code not in (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
            raise Violation(f"{name or 'all brokers'}: {key}={value} is refused: {code.name}")
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
        names = dict.fromkeys(setting.name for setting in self._settings.values())
        mine = [name for name in names if not name.isdigit() or name == str(broker)]
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsResource(
                    resource_type=Setting(name, "").kind,
                    resource_name=name or str(broker),
                    configuration_keys=None,
                )
                for name in mine
            ]
        )
        answer = await self._port.ask(broker, request, 3, TIMEOUT_S)
        wrong = []
        for name, result in zip(mine, answer.results, strict=True):
            if result.error_code:
                wrong.append(f"broker {broker}: {ErrorCode(result.error_code).name}")
                continue
            shown = {row.name: row.value for row in result.configs}
            for key in {key: None for of, key in self._settings if of == name}:
                setting = self._in_force(name, key, broker)
                if not setting.may_be(shown.get(key)):
                    wrong.append(
                        f"broker {broker} shows {key}={shown.get(key)} of"
                        f" {name or 'all brokers'}, the last was {setting.acked}"
                    )
        self._history.counts["configurations compared"] += len(self._settings)
        return wrong

    def _in_force(self, name: str, key: str, broker: int) -> Setting:
        """What counts on `broker` for this key of a topic, of the broker, or of all ("")."""
        if name and not name.isdigit():
            return self._settings[name, key]
        own = self._settings.get((str(broker), key))
        if own is not None and own.acked is not None:
            return own
        return self._settings.get(("", key)) or Setting("", key)

    def check_brokers(self, nodes: list[Node]) -> list[str]:
        """Brokers and logs that do not go by what is set."""
        wrong = []
        for at, node in enumerate(nodes, 1):
            if node.handle is None:
                continue
            services = node.handle.services
            for key in {key for name, key in self._settings if not name or name.isdigit()}:
                setting, has = self._in_force("", key, at), services.config.optional_int(key)
                if not setting.may_be(str(has)):
                    wrong.append(f"{node.name} has {key}={has}, the last was {setting.acked}")
            setting = self._in_force("", "num.replica.fetchers", at)
            fetchers = services.replicas._fetchers._settings.fetchers_per_leader
            if not setting.may_be(str(fetchers)):
                wrong.append(f"{node.name} has {fetchers} fetchers per leader, not {setting.acked}")
            for partition in services.partitions:
                wrong += self._check_log(node.name, at, partition)
        return sorted(wrong)

    def _check_log(self, name: str, broker: int, partition: Partition) -> list[str]:
        topic = partition.tp.topic
        rules = {key: setting for (of, key), setting in self._settings.items() if of == topic}
        for broker_key, key in _DEFAULTS_OF_TOPICS.items() if topic in _PLAIN_TOPICS else ():
            if key not in rules:
                rules[key] = self._in_force("", broker_key, broker)
        wrong = []
        for key, setting in rules.items():
            if key == "min.insync.replicas":
                has = partition.min_isr
            else:
                has = getattr(partition.log.config, _ATTRIBUTES[key])
            if not setting.may_be(str(has)):
                wrong.append(
                    f"{name}: {partition.tp} goes by {key}={has}, the last was {setting.acked}"
                )
        return wrong
