"""Dynamic configuration in the ensemble: reading, writing, hearing of changes.

Whoever changes `/config/<type>/<name>` then creates a sequential `/config/changes/config_change_`
that names the entity; every broker reads the entity anew. Notices are removed by whichever broker
has seen them for a quarter of an hour first. Kafka goes by their time of creation instead: there a
broker whose clock is ahead removes what others have not read yet.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import trio

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import (
    ANY_VERSION,
    EnsembleClient,
    check_op,
    create_op,
    set_data_op,
)
from ottla.broker.ensemble.errors import (
    BadVersion,
    EnsembleError,
    MultiFailed,
    NodeExists,
    NoNode,
)
from ottla.broker.ensemble.replies import Reply
from ottla.broker.ensemble.watches import WatchEvent
from ottla.protocol.zookeeper.messages import Stat
from ottla.protocol.zookeeper.opcodes import CreateMode
from ottla.runtime.interfaces import Events

NOTICE_KEPT_S = 15 * 60.0
ABSENT = -2
"""The version of an entity that has no znode; -1 is ensemble language for any version."""
DEFAULT_ENTITY = "<default>"
"""Of brokers: what counts for all of them."""
_PREFIX = "config_change_"
_READS_AT_ONCE = 200

OnChange = Callable[[str, str, dict[str, str]], None]


async def read_config(client: EnsembleClient, kind: str, name: str) -> dict[str, str]:
    """An entity's overrides; none when it has no znode."""
    return (await read_versioned(client, kind, name))[0]


async def read_versioned(
    client: EnsembleClient, kind: str, name: str
) -> tuple[dict[str, str], int]:
    """An entity's overrides and the version of its znode; ABSENT when it has none."""
    path = paths.config(kind, name)
    try:
        data, stat = await client.get_data(path)
    except NoNode:
        return {}, ABSENT
    return encodings.decode_config(path, data), stat.version


async def read_configs(
    client: EnsembleClient, kind: str, names: Iterable[str]
) -> dict[str, dict[str, str]]:
    """The overrides of many entities, asked for without waiting for each other.

    Without those whose znodes cannot be read.
    """
    found: dict[str, dict[str, str]] = {}
    waiting: deque[tuple[str, Reply[tuple[bytes | None, Stat]]]] = deque()

    async def take() -> None:
        name, reply = waiting.popleft()
        try:
            data, _ = await reply.get()
            with suppress(encodings.MalformedZnode):
                found[name] = encodings.decode_config(paths.config(kind, name), data)
        except NoNode:
            found[name] = {}

    for name in names:
        waiting.append((name, client.start_get_data(paths.config(kind, name))))
        if len(waiting) >= _READS_AT_ONCE:
            await take()
    while waiting:
        await take()
    return found


async def write_config(
    client: EnsembleClient,
    kind: str,
    name: str,
    config: Mapping[str, str],
    *,
    expected: int = ANY_VERSION,
    beside: str | None = None,
) -> bool:
    """Replace an entity's overrides and tell every broker, both or neither.

    `expected`: the version that `read_versioned` gave; False when the entity is at another one by
    now, and nothing was written. `beside`: a znode that has to be there; NoNode when it is not.
    """
    path = paths.config(kind, name)
    data = encodings.encode_config(config)
    change = encodings.encode_config_change(f"{kind}/{name}")
    notice = create_op(paths.CONFIG_CHANGE_PREFIX, change, CreateMode.PERSISTENT_SEQUENTIAL)
    before = [] if beside is None else [check_op(beside, ANY_VERSION)]
    absent = expected == ABSENT
    while True:
        write = create_op(path, data) if absent else set_data_op(path, data, expected)
        try:
            await client.multi([*before, write, notice])
        except MultiFailed as error:
            if error.index != len(before):
                raise error.cause from None
            if not isinstance(error.cause, NoNode | NodeExists | BadVersion):
                raise error.cause from None
            if expected != ANY_VERSION:
                return False
            absent = isinstance(error.cause, NoNode)
        else:
            return True


class ConfigWatcher:
    """Calls every subscriber with (entity type, entity name, its config) after each change.

    Changes made before `run` began are not told: read those after it began. A change whose
    notice came while this broker was cut off is told after it is back.
    """

    def __init__(self, client: EnsembleClient, events: Events) -> None:
        self._client = client
        self._events = events
        self._subscribers: list[OnChange] = []
        self._told = -1
        self._seen_at: dict[str, float] = {}  # notices that are there -> since when, for us
        self._woken = trio.Event()

    def subscribe(self, on_change: OnChange) -> None:
        self._subscribers.append(on_change)

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
                try:
                    config = await read_config(self._client, kind, entity_name)
                except encodings.MalformedZnode as error:
                    self._events.warning("config.unreadable", reason=str(error))
                    continue
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
        """Remove what everybody had the time to read, or whose session ended meanwhile."""
        now = trio.current_time()
        self._seen_at = {name: self._seen_at.get(name, now) for name in names}
        for name, seen_at in self._seen_at.items():
            if now - seen_at >= NOTICE_KEPT_S:
                with suppress(NoNode):
                    await self._client.delete(f"{paths.CONFIG_CHANGES}/{name}")


__all__ = [
    "ABSENT",
    "DEFAULT_ENTITY",
    "ConfigWatcher",
    "OnChange",
    "read_config",
    "read_configs",
    "read_versioned",
    "write_config",
]
