"""Counters of the client port, for `srvr`, `stat`, `cons` and `mntr`."""


class Latency:
    """From the arrival of a request to its answer, milliseconds."""

    __slots__ = ("count", "highest_ms", "last_ms", "lowest_ms", "total_ms")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self.total_ms = 0.0
        self.lowest_ms = 0.0
        self.highest_ms = 0.0
        self.last_ms = 0.0

    def add(self, elapsed_ms: float, count: int = 1) -> None:
        """`count` answers that each took so long."""
        if elapsed_ms < self.lowest_ms or not self.count:
            self.lowest_ms = elapsed_ms
        if elapsed_ms > self.highest_ms:  # noqa: PLR1730  `max` is a call more for every answer
            self.highest_ms = elapsed_ms
        self.last_ms = elapsed_ms
        self.total_ms += elapsed_ms * count
        self.count += count

    @property
    def average_ms(self) -> float:
        return self.total_ms / self.count if self.count else 0.0


class Counters:
    """Of one connection, or of all there were since the start or the last `srst`."""

    __slots__ = ("auth_failed", "connected", "latency", "received", "rejected", "sent")

    def __init__(self) -> None:
        self.received = 0  # requests
        self.sent = 0  # replies and events
        self.latency = Latency()
        self.connected = 0  # connections accepted; these three of the whole port only
        self.rejected = 0  # connections over the bound of their address
        self.auth_failed = 0

    def reset(self) -> None:
        self.received = self.sent = 0
        self.latency.reset()


__all__ = ["Counters", "Latency"]
