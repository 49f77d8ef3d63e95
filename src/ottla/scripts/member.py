"""One coordinator member, for both entries: alone in a process, or inside a broker's."""

import trio

from ottla.coordinator.main import run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.store import StoreInUse
from ottla.coordinator.store.txn_log import CorruptStore
from ottla.coordinator.tree.snapshot import CorruptSnapshot
from ottla.runtime.interfaces import Runtime
from ottla.runtime.supervise import CannotStart
from ottla.runtime.tls import TlsUnusable


async def run_member(
    settings: CoordinatorSettings,
    runtime: Runtime,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make the directories, then be a member until `stop`. CannotStart for what a user can mend."""
    runtime.disk.make_dirs(settings.data_dir)
    if settings.data_log_dir is not None:
        runtime.disk.make_dirs(settings.data_log_dir)
    try:
        await run_coordinator(settings, runtime, stop=stop, task_status=task_status)
    except (StoreInUse, CorruptStore, CorruptSnapshot, TlsUnusable) as error:
        raise CannotStart(str(error)) from error


__all__ = ["run_member"]
