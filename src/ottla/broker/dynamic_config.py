"""The broker's configuration as it changes at run time, and what topics' overrides make of it.

Over the properties file lie two entities of the ensemble, `/config/brokers/<default>` for all
brokers and `/config/brokers/<id>` for this one; a topic's own overrides are in
`/config/topics/<name>`. Values that were written past our checks, by hand or by another program,
are refused one by one with an event, and the rest counts.

Read once at the start, then whatever the `ConfigWatcher` tells: `on_change` is one synchronous
step, after which every subscriber has the new values.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.config_watcher import DEFAULT_ENTITY, read_configs
from ottla.broker.ensemble.errors import ConnectionLoss, SessionExpired
from ottla.broker.ids import BrokerId
from ottla.broker.partitions.replica_set import TopicSettings
from ottla.broker.slices import topic_settings
from ottla.config.broker import BrokerConfig
from ottla.config.problems import Problem
from ottla.config.topic import sound_overrides
from ottla.runtime.interfaces import Events

OnBroker = Callable[[BrokerConfig], None]
OnTopics = Callable[[Mapping[str, TopicSettings]], None]
_FORGOTTEN_KEPT = 1000


class DynamicConfig:
    """`current` is the broker's configuration now. Owner: `broker.main`.

    It remembers the overrides of each topic that was read, so that a change of the broker's
    defaults reaches the topics without asking the ensemble.
    """

    def __init__(
        self, config: BrokerConfig, client: EnsembleClient, broker_id: BrokerId, events: Events
    ) -> None:
        self.current = config
        self._client = client
        self._own_entity = str(broker_id)
        self._events = events
        self._shared: dict[str, str] = {}
        self._own: dict[str, str] = {}
        self._topics: dict[str, dict[str, str]] = {}
        self._resolved: dict[frozenset[tuple[str, str]], TopicSettings] = {}
        self._told = 0
        self._told_at: dict[tuple[str, str], int] = {}
        self._on_broker: list[OnBroker] = []
        self._on_topics: list[OnTopics] = []

    def subscribe(self, on_broker: OnBroker, on_topics: OnTopics) -> None:
        """`on_broker(config)` after each change of the broker's own values; `on_topics(settings by
        name)` after each change of topics' overrides, or of the defaults below those.
        """
        self._on_broker.append(on_broker)
        self._on_topics.append(on_topics)

    # Reading

    async def read_broker(self) -> None:
        """Take over what the ensemble has for this broker; waits for the ensemble."""
        entities = (DEFAULT_ENTITY, self._own_entity)
        found = await self._read("brokers", entities)
        self._shared = found.get(DEFAULT_ENTITY, self._shared)
        self._own = found.get(self._own_entity, self._own)
        self._apply()

    async def read_topics(self, names: Iterable[str]) -> None:
        """Take over the overrides of these topics, for `settings`; waits for the ensemble."""
        self._topics.update(await self._read("topics", names))

    async def _read(self, kind: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """As the ensemble has them; without those that were told meanwhile, which are newer."""
        began = self._told
        wanted = tuple(names)
        while True:
            try:
                found = await read_configs(self._client, kind, wanted)
                break
            except (ConnectionLoss, SessionExpired):
                # Who asks cannot go on without: a log must not begin with the wrong settings.
                await self._client.wait_connected()
        for name in wanted:
            if name not in found:
                self._events.error("config.entity_unreadable", entity=f"{kind}/{name}")
        return {
            name: config
            for name, config in found.items()
            if self._told_at.get((kind, name), 0) <= began
        }

    async def read_again(self) -> None:
        """Everything once more: notices may have gone while this broker was cut off."""
        await self.read_broker()
        before = dict(self._topics)
        await self.read_topics(before)
        self._tell_topics(
            [name for name, config in before.items() if config != self._topics.get(name)]
        )

    def settings(self, topic: str) -> TopicSettings:
        """What a topic's configuration means now; the defaults when it was never read."""
        overrides = self._topics.get(topic, {})
        key = frozenset(overrides.items())
        found = self._resolved.get(key)
        if found is None:
            sound, refused = sound_overrides(overrides, topic)
            self._tell_refused(refused)
            config = self.current.topic_config(sound, topic=topic)
            found = self._resolved[key] = topic_settings(config, self.current)
        return found

    # Changes

    def on_change(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        """A `ConfigWatcher` subscriber."""
        self._told += 1
        self._told_at[kind, name] = self._told
        if kind == "topics":
            self._topics[name] = dict(config)
            self._tell_topics([name])
        elif kind == "brokers" and name == DEFAULT_ENTITY:
            self._shared = dict(config)
            self._apply()
        elif kind == "brokers" and name == self._own_entity:
            self._own = dict(config)
            self._apply()

    def keep_only(self, topics: Collection[str]) -> None:
        """Forget the overrides of all other topics, now and then.

        Not at once: they may have been read for a partition that is about to be made.
        """
        if len(self._topics) > 2 * len(topics) + _FORGOTTEN_KEPT:
            for name in self._topics.keys() - topics:
                del self._topics[name]
                self._told_at.pop(("topics", name), None)

    def _apply(self) -> None:
        before = self.current
        self.current, refused = before.with_sound_dynamic(self._shared, self._own)
        self._tell_refused(refused)
        changed = sorted(self.current.differences(before))
        if not changed:
            return
        self._events.info("config.broker_changed", keys=changed)
        self._resolved.clear()
        for subscriber in self._on_broker:
            subscriber(self.current)
        self._tell_topics(list(self._topics))

    def _tell_topics(self, names: Iterable[str]) -> None:
        if len(self._resolved) > 10 * len(self._topics) + 100:
            self._resolved.clear()  # of overrides that no topic has any more
        settings = {name: self.settings(name) for name in names}
        if settings:
            for subscriber in self._on_topics:
                subscriber(settings)

    def _tell_refused(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._events.error("config.value_refused", reason=str(problem))


__all__ = ["DynamicConfig"]
