"""The check of one log that was not closed cleanly, by a worker where it is worth one."""

import trio

from ottla.broker.storage.notes import replay
from ottla.broker.storage.recovery import (
    WORTH_A_WORKER_BYTES,
    Recovered,
    RecoveryOrder,
    bytes_to_check,
    recover,
)
from ottla.runtime.interfaces import Disk, Events, Worker


async def check_beside(
    disk: Disk,
    order: RecoveryOrder,
    worker: Worker,
    events: Events,
    *,
    worker_bytes: int = WORTH_A_WORKER_BYTES,
) -> bool:
    """Have a worker check a large log; False where whoever opens the log has to.

    `events` names the partition. OSError, CorruptLog.
    """
    size = bytes_to_check(disk, order.directory, order.recovery_point)
    if size < worker_bytes:
        return False
    started = trio.current_time()
    try:
        recovered = await worker.start(recover, order).next()
    except OSError as error:  # of the worker, not of the disk: the loop can do it as well
        events.warning("log.recovery_moved", reason=str(error))
        return False
    assert isinstance(recovered, Recovered), "a recovery is one step"
    replay(recovered.notes, events)
    if recovered.error is not None:
        raise recovered.error
    took = round(trio.current_time() - started, 3)
    events.info("log.checked", bytes=size, bytes_cut=recovered.bytes_cut, seconds=took)
    return True


__all__ = ["check_beside"]
