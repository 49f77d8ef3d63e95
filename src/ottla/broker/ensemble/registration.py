"""How a broker joins the cluster: paths, cluster id, broker id, its ephemeral znode.

In this order: `prepare_cluster`, `allocate_broker_id` if the configuration names no id,
`end_previous_session`, `register_broker`; after a session expired, `register_broker` again.
"""

from random import Random
from uuid import UUID

import trio

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import ConnectionLoss, NodeExists, NoNode, SessionExpired
from ottla.broker.ensemble.stale_session import SessionFile, UnreadableSession
from ottla.broker.ensemble.values import BrokerInfo
from ottla.broker.ensemble.watches import WatchEvent
from ottla.broker.ids import BrokerId
from ottla.protocol.zookeeper.opcodes import CreateMode
from ottla.runtime.interfaces import Events, WallClock

RESERVED_BROKER_ID_MAX = 1000
# What is done here may be done again, in another session too.
_INTERRUPTED = (ConnectionLoss, SessionExpired)


class BrokerIdTaken(Exception):
    """Another live broker is registered under this id."""

    def __init__(self, broker_id: BrokerId, other: BrokerInfo) -> None:
        where = ", ".join(map(str, other.endpoints)) or "no endpoint"
        super().__init__(f"broker.id {broker_id} is in use by a live broker at {where}")
        self.broker_id = broker_id
        self.other = other


async def prepare_cluster(client: EnsembleClient, rng: Random) -> str:
    """Create what every cluster has, and return its id (22 characters), making one if need be."""
    while True:
        try:
            await client.create_chroot()
            break
        except _INTERRUPTED:
            await client.wait_connected()
    for path in paths.PERSISTENT:
        await _until_done(client, path, None)
    proposed = encodings.encode_uuid(UUID(int=rng.getrandbits(128), version=4))
    await _until_done(client, paths.CLUSTER_ID, encodings.encode_cluster_id(proposed))
    while True:
        try:
            data, _ = await client.get_data(paths.CLUSTER_ID)
            return encodings.decode_cluster_id(data)
        except _INTERRUPTED:
            await client.wait_connected()


async def _until_done(client: EnsembleClient, path: str, data: bytes | None) -> None:
    """Create a path with its parents unless it exists; repeated, as it may be."""
    while True:
        try:
            if await client.exists(path) is None:
                for parent in paths.parents(path):
                    await client.ensure_path(parent)
                await client.create(path, data)
            return
        except NodeExists:
            return
        except _INTERRUPTED:
            await client.wait_connected()


async def allocate_broker_id(
    client: EnsembleClient, *, reserved_max: int = RESERVED_BROKER_ID_MAX
) -> BrokerId:
    """A broker id nobody had before: `reserved_max` plus the next number of `/brokers/seqid`."""
    while True:
        try:
            stat = await client.set_data(paths.BROKER_SEQUENCE, b"")
            return BrokerId(reserved_max + stat.version)
        except _INTERRUPTED:
            await client.wait_connected()  # a number that was taken in vain does no harm


async def end_previous_session(
    client: EnsembleClient, session_file: SessionFile, events: Events, *, timeout_s: float
) -> None:
    """End the session this broker had before it was killed, so that its ephemerals are gone.

    One that nobody can tell any more ends by its own timeout; the registration waits for that.
    """
    try:
        previous = session_file.load()
    except UnreadableSession as error:
        events.warning("ensemble.previous_session_unreadable", reason=str(error))
        return
    if previous is None or previous.id == client.session.id:
        return
    ended = await client.close_session(previous, timeout_s=timeout_s)
    shown = f"{previous.id & 0xFFFFFFFFFFFFFFFF:#x}"
    if ended:
        session_file.clear()
        events.info("ensemble.previous_session_ended", session=shown)
    else:
        events.warning("ensemble.previous_session_left", session=shown)


async def register_broker(
    client: EnsembleClient,
    broker: BrokerInfo,
    *,
    session_file: SessionFile,
    wall_clock: WallClock,
    events: Events,
) -> int:
    """Create `/brokers/ids/<id>` in the present session; returns the broker epoch (its czxid).

    The session is remembered in `session_file` first. A znode with our own endpoints that belongs
    to another session is our previous life's, whose file was lost: it is waited for until that
    session ends. With other endpoints it is another broker's: BrokerIdTaken.
    """
    path = paths.broker(broker.id)
    waited_until: float | None = None
    while True:
        await client.wait_connected()
        session = client.session
        try:
            session_file.save(session)
        except OSError as error:  # after a kill, the next start waits for the session's end
            events.warning("ensemble.session_not_remembered", reason=str(error))
        data = encodings.encode_broker(broker, timestamp_ms=wall_clock.now_ms())
        try:
            _, stat = await client.create2(path, data, CreateMode.EPHEMERAL)
            events.info("broker.registered", broker=broker.id, broker_epoch=stat.czxid)
            return stat.czxid
        except _INTERRUPTED:
            continue
        except NodeExists:
            pass
        try:
            found, stat = await client.get_data(path)
        except (NoNode, *_INTERRUPTED):
            continue
        if stat.ephemeral_owner == client.session.id:
            return stat.czxid
        other = encodings.decode_broker(broker.id, found, epoch=stat.czxid)
        now = trio.current_time()
        if waited_until is None:
            waited_until = now + 2 * client.session_timeout_ms / 1000
        if other.endpoints != broker.endpoints or now >= waited_until:
            raise BrokerIdTaken(broker.id, other)
        events.info("broker.waits_for_own_znode", broker=broker.id)
        await _wait_gone(client, path, waited_until)


async def _wait_gone(client: EnsembleClient, path: str, deadline: float) -> None:
    gone = trio.Event()

    def fired(_event: WatchEvent) -> None:
        gone.set()

    with trio.move_on_at(deadline):
        try:
            if await client.exists(path, watch=fired) is not None:
                await gone.wait()
        except _INTERRUPTED:
            return


async def update_registration(
    client: EnsembleClient, broker: BrokerInfo, *, wall_clock: WallClock
) -> None:
    """Write changed endpoints into this broker's own znode."""
    data = encodings.encode_broker(broker, timestamp_ms=wall_clock.now_ms())
    await client.set_data(paths.broker(broker.id), data)


__all__ = [
    "BrokerIdTaken",
    "allocate_broker_id",
    "end_previous_session",
    "prepare_cluster",
    "register_broker",
    "update_registration",
]
