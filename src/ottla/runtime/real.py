"""The runtime of a daemon that is a process of its own."""

import random
import time

from ottla.runtime.interfaces import Events, Runtime
from ottla.runtime.real_disk import RealDisk
from ottla.runtime.real_network import RealNetwork
from ottla.runtime.worker_processes import WorkerProcesses


class SystemWallClock:
    """The machine's clock; jumps when somebody sets it."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def real_runtime(events: Events) -> Runtime:
    """A runtime over this machine.

    `rng` draws from the system: secrets come from it too, which what it gave before must not
    foretell.
    """
    return Runtime(
        network=RealNetwork(events),
        disk=RealDisk(),
        wall_clock=SystemWallClock(),
        rng=random.SystemRandom(),
        events=events,
        workers=WorkerProcesses(),
    )


__all__ = ["RealDisk", "RealNetwork", "SystemWallClock", "real_runtime"]
