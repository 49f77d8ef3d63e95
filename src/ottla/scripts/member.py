"""One coordinator member, for both entries: alone in a process, or inside a broker's.

On a full disk a member steps aside: it ends as in a crash, which loses nothing that it promised,
closes its clients' connections and begins again when there is room. An ensemble goes on without it;
a broker with a member of its own serves the partitions that it has meanwhile.
"""

import errno
from dataclasses import replace

import trio

from ottla.coordinator.main import CoordinatorHandle, run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.store import StoreInUse
from ottla.coordinator.store.txn_log import CorruptStore
from ottla.coordinator.tree.snapshot import CorruptSnapshot
from ottla.runtime.interfaces import Disk, Runtime
from ottla.runtime.supervise import CannotStart, leaves
from ottla.runtime.tls import TlsUnusable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOOK_S = 1.0
_PROBE = ".space-probe"
_PROBE_BYTES = 256 << 10


class _FirstStart:
    """Passes the first start on, and keeps where clients connect from then on."""

    def __init__(self, task_status: trio.TaskStatus[CoordinatorHandle]) -> None:
        self._task_status = task_status
        self.handle: CoordinatorHandle | None = None

    def started(self, value: CoordinatorHandle | None = None) -> None:
        assert value is not None
        if self.handle is None:
            self.handle = value
            self._task_status.started(value)


async def run_member(
    settings: CoordinatorSettings,
    runtime: Runtime,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[CoordinatorHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make the directories, then be a member until `stop`. CannotStart for what a user can mend."""
    directories = [settings.data_dir]
    if settings.data_log_dir is not None:
        directories.append(settings.data_log_dir)
    for directory in directories:
        runtime.disk.make_dirs(directory)
    first = _FirstStart(task_status)
    while not stop.is_set():
        try:
            await run_coordinator(settings, runtime, stop=stop, task_status=first)
            return
        except (StoreInUse, CorruptStore, CorruptSnapshot, TlsUnusable) as error:
            raise CannotStart(str(error)) from error
        except (OSError, BaseExceptionGroup) as error:
            if first.handle is None or not _is_full(error):
                raise
            runtime.events.error("coordinator.stepped_aside", reason=str(leaves(error)[0]))
        settings = replace(settings, client_address=first.handle.client_address)
        while not stop.is_set() and not all(_has_room(runtime.disk, each) for each in directories):
            with trio.move_on_after(_LOOK_S):
                await stop.wait()


def _is_full(error: BaseException) -> bool:
    return all(isinstance(leaf, OSError) and leaf.errno in _FULL for leaf in leaves(error))


def _has_room(disk: Disk, directory: str) -> bool:
    path = f"{directory}/{_PROBE}"
    try:
        file = disk.open(path)
        try:
            file.append(bytes(_PROBE_BYTES))
        finally:
            file.close()
            disk.remove(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return False
    return True


__all__ = ["run_member"]
