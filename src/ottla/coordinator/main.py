"""The coordinator daemon: one member of the ensemble with its client port.

Task tree: `run_coordinator` > {node, client port, admin port}. `stop` ends it in order: leadership
handed over, clients' connections closed, log synced. Cancellation ends it like a crash would.
"""

from dataclasses import dataclass

import trio

from ottla.coordinator.admin_port.port import AdminPort
from ottla.coordinator.client_port.port import ClientPort
from ottla.coordinator.node import Node
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.store import Store
from ottla.runtime.interfaces import Address, Runtime

INITIALIZE = "initialize"
"""Name of the file that ZooKeeper's `zkServer-initialize.sh` makes for the same purpose."""


@dataclass(frozen=True, slots=True)
class CoordinatorHandle:
    """A running member: where clients connect, and the node for figures."""

    client_address: Address
    node: Node


async def run_coordinator(
    settings: CoordinatorSettings,
    runtime: Runtime,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[CoordinatorHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a member until `stop` is set.

    Started means: the client port listens. The ensemble may have no leader yet; clients wait.
    Raises CorruptStore, CorruptSnapshot, StoreInUse, OSError (a port is taken, the disk failed).
    """
    events = runtime.events
    store = Store.open(
        runtime.disk,
        settings.data_dir,
        settings.data_log_dir or settings.data_dir,
        force_sync=settings.force_sync,
        events=events,
    )
    try:
        node = Node(settings, runtime, store, is_founder=_take_word(runtime, settings.data_dir))
        events.info(
            "coordinator.opened",
            member=settings.my_id,
            epoch=store.recovered.hard.epoch,
            snapshot_index=store.recovered.base.index,
            log_entries=len(store.recovered.entries),
        )
        store.release_recovered()
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            port = ClientPort(node, settings, runtime)
            address = await nursery.start(port.serve)
            if settings.admin_address is not None:
                admin = AdminPort(port.facts, settings.admin_address, runtime)
                await nursery.start(admin.serve)
            events.info("coordinator.started", member=settings.my_id, clients=str(address))
            task_status.started(CoordinatorHandle(address, node))
            await stop.wait()
            await node.hand_over()
            nursery.cancel_scope.cancel()
        store.finish()
        events.info("coordinator.stopped", member=settings.my_id)
    finally:
        store.close()


def _take_word(runtime: Runtime, data_dir: str) -> bool:
    """Whether somebody vouches, by a file, that an empty store has lost nothing; for one start."""
    path = f"{data_dir}/{INITIALIZE}"
    if not runtime.disk.exists(path):
        return False
    runtime.disk.remove(path)
    return True


__all__ = ["CoordinatorHandle", "run_coordinator"]
