"""Dynamic configuration in the ensemble: reading, writing, hearing of changes.

Whoever changes `/config/<type>/<name>` then creates a sequential `/config/changes/config_change_`
that names the entity; every broker reads the entity anew. Notices older than a quarter of an hour
are removed by whichever broker sees them first, as Kafka does.
"""

from collections.abc import Callable, Mapping

import trio

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import EnsembleError, NodeExists, NoNode
from ottla.broker.ensemble.watches import WatchEvent
from ottla.protocol.zookeeper.opcodes import CreateMode
from ottla.runtime.interfaces import Events, WallClock

NOTICE_KEPT_MS = 15 * 60 * 1000
_PREFIX = "config_change_"

OnChange = Callable[[str, str, dict[str, str]], None]


async def read_config(client: EnsembleClient, kind: str, name: str) -> dict[str, str]:
    """An entity's overrides; none when it has no znode."""
    path = paths.config(kind, name)
    try:
        data, _ = await client.get_data(path)
    except NoNode:
        return {}
    return encodings.decode_config(path, data)


async def write_config(
    client: EnsembleClient, kind: str, name: str, config: Mapping[str, str]
) -> None:
    """Replace an entity's overrides and tell every broker."""
    path = paths.config(kind, name)
    data = encodings.encode_config(config)
    try:
        await client.set_data(path, data)
    except NoNode:
        try:
            await client.create(path, data)
        except NodeExists:
            await client.set_data(path, data)
    change = encodings.encode_config_change(f"{kind}/{name}")
    await client.create(paths.CONFIG_CHANGE_PREFIX, change, CreateMode.PERSISTENT_SEQUENTIAL)


class ConfigWatcher:
    """Calls every subscriber with (entity type, entity name, its config) after each change.

    Changes made before `run` began are not told: read those with `topic_config`. A change whose
    notice came while this broker was cut off is told after it is back.
    """

    def __init__(self, client: EnsembleClient, wall_clock: WallClock, events: Events) -> None:
        self._client = client
        self._wall_clock = wall_clock
        self._events = events
        self._subscribers: list[OnChange] = []
        self._told = -1
        self._woken = trio.Event()

    def subscribe(self, on_change: OnChange) -> None:
        self._subscribers.append(on_change)

    async def topic_config(self, name: str) -> dict[str, str]:
        """The overrides of one topic, straight from the ensemble."""
        return await read_config(self._client, "topics", name)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch for as long as the client lives. Started once the first watch is set."""
        unsubscribe = self._client.on_state(lambda _state: self._wake())
        started = False
        try:
            while True:
                self._woken = trio.Event()
                try:
                    names = await self._client.get_children(paths.CONFIG_CHANGES, watch=self._fired)
                    await self._take(names, tell=started)
                except EnsembleError as error:
                    self._events.warning("config.watch_interrupted", reason=str(error))
                    await self._client.wait_connected()
                    await trio.sleep(0.1)
                    continue
                if not started:
                    started = True
                    task_status.started()
                await self._woken.wait()
        finally:
            unsubscribe()

    def _fired(self, _event: WatchEvent) -> None:
        self._wake()

    def _wake(self) -> None:
        self._woken.set()

    async def _take(self, names: list[str], *, tell: bool) -> None:
        """Tell what is new in the order it was written; an entity that changed twice, once."""
        numbered = sorted(
            (int(name.removeprefix(_PREFIX)), name)
            for name in names
            if name.startswith(_PREFIX) and name.removeprefix(_PREFIX).isdigit()
        )
        fresh = [(number, name) for number, name in numbered if number > self._told]
        if tell:
            changed: dict[tuple[str, str], None] = {}
            for _, name in fresh:
                entity = await self._read_notice(name)
                if entity is not None:
                    changed[entity] = None
            for kind, entity_name in changed:
                config = await read_config(self._client, kind, entity_name)
                for subscriber in self._subscribers:
                    subscriber(kind, entity_name, config)
        if numbered:
            self._told = max(self._told, numbered[-1][0])
            await self._purge([name for _, name in numbered])

    async def _read_notice(self, name: str) -> tuple[str, str] | None:
        try:
            data, _ = await self._client.get_data(f"{paths.CONFIG_CHANGES}/{name}")
            return encodings.decode_config_change(data)
        except NoNode:
            return None
        except encodings.MalformedZnode as error:
            self._events.warning("config.notice_unreadable", reason=str(error))
            return None

    async def _purge(self, names: list[str]) -> None:
        """Remove old notices, which are first in the order of their numbers."""
        limit_ms = self._wall_clock.now_ms() - NOTICE_KEPT_MS
        for name in names:
            path = f"{paths.CONFIG_CHANGES}/{name}"
            try:
                stat = await self._client.exists(path)
                if stat is None:
                    continue
                if stat.ctime > limit_ms:
                    return
                await self._client.delete(path)
            except NoNode:
                continue


__all__ = ["ConfigWatcher", "OnChange", "read_config", "write_config"]
