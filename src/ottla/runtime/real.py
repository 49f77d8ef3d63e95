"""The runtime of a daemon that is a process of its own."""

import random
import time

from ottla.runtime.interfaces import Events, Runtime
from ottla.runtime.real_disk import RealDisk
from ottla.runtime.real_network import RealNetwork


class SystemWallClock:
    """The machine's clock; jumps when somebody sets it."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def real_runtime(events: Events) -> Runtime:
    """A runtime over this machine. `rng` is seeded by the system, for timeouts and jitter."""
    return Runtime(
        network=RealNetwork(events),
        disk=RealDisk(),
        wall_clock=SystemWallClock(),
        rng=random.Random(),
        events=events,
    )


__all__ = ["RealDisk", "RealNetwork", "SystemWallClock", "real_runtime"]
