"""What a daemon may ask of the world: a network, a disk, a wall clock, an event log.

Daemons are built from these protocols only, so that one process can hold a whole simulated cluster:
`ottla.runtime.real` implements them over the operating system, `tests/simulation` over a seed.
Monotonic time is `trio.current_time()`, which a `MockClock` replaces.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

BytesLike = bytes | bytearray | memoryview

Request = TypeVar("Request")
Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


class ConnectionLost(OSError):
    """The peer or the network ended a stream; nothing more can be sent or received on it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or literal IP address and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class File(Protocol):
    """One open file. All calls but `sync` touch the page cache only and do not block for long."""

    def append(self, data: BytesLike) -> None:
        """Write all of `data` at the end. OSError: the file is cut back to what it held before."""
        ...

    def write_at(self, offset: int, data: BytesLike) -> None: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        ...

    def will_need(self, offset: int, length: int) -> None:
        """These bytes are read soon: bring them into memory meanwhile. Does not wait."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def reserve(self, size: int) -> None:
        """Have room for `size` bytes in all, as zeros that `size()` does not count.

        A sync of appends within it has less to write. A crash leaves the zeros, `truncate` removes
        them. Without room, or on a file system that cannot, nothing happens.
        """
        ...

    def sync_now(self) -> None:
        """Block until everything written is on stable storage; for start-up and clean stops."""
        ...

    async def sync(self) -> None:
        """Wait, off the loop, until everything written before the call is on stable storage."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A file system. Paths are absolute or relative strings with `/` separators."""

    def open(self, path: str, *, create: bool = True) -> File:
        """Open for reading and writing. FileNotFoundError when absent and not `create`."""
        ...

    def exists(self, path: str) -> bool: ...

    def list_dir(self, path: str) -> list[str]:
        """Sorted names of files and directories. FileNotFoundError when it is absent."""
        ...

    def is_dir(self, path: str) -> bool: ...

    def make_dirs(self, path: str) -> None: ...

    def read(self, path: str) -> bytes: ...

    def replace(self, path: str, data: bytes) -> None:
        """Set a file's content atomically and durably: temporary file, sync, rename, sync dir."""
        ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def remove_tree(self, path: str) -> None: ...

    def sync_dir(self, path: str) -> None: ...

    async def beside(self, call: Callable[[], Result]) -> Result:
        """Wait for a call that blocks, made off the loop where that can be; what it raises.

        To its end, cancelled or not. It touches nothing that the loop may change meanwhile.
        """
        ...

    def space(self, path: str) -> tuple[int, int] | None:
        """(total, usable) bytes of the file system that `path` is in; None: without a limit."""
        ...

    def lock(self, path: str) -> "DirectoryLock":
        """Take an exclusive lock file. BlockingIOError when another process holds it."""
        ...


class DirectoryLock(Protocol):
    def release(self) -> None: ...


class Stream(Protocol):
    """A connected TCP byte stream, owned by whoever opened it. Not safe for two readers."""

    @property
    def local(self) -> Address: ...

    @property
    def peer(self) -> Address: ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes, put them in `buffer`; 0 at the peer's clean end. ConnectionLost."""
        ...

    async def receive_while(
        self,
        buffer: Callable[[], memoryview],
        take: Callable[[int], bool | None],
        settle: Callable[[], bool] | None = None,
    ) -> bool:
        """As `receive_into`, again and again, for as long as `take` is content.

        `buffer` says where bytes go, `take` is told how many came; neither may wait. What `take`
        raises comes out of here. False at the peer's clean end, else True. ConnectionLost.

        A `take` that gives None is content and has put something off: `settle` is called for it,
        before `buffer` is asked again and before any task runs, but perhaps after other streams
        had their turn. It answers, or raises, as `take` does.
        """
        ...

    def send_nowait(self, data: BytesLike) -> int:
        """Hand over what can go without waiting; how many bytes went (0: full). ConnectionLost."""
        ...

    def send_file_nowait(self, file: File, offset: int, count: int) -> int:
        """As `send_nowait`, from a file's bytes, without a copy where the system can.

        OSError with the file's name when the file cannot be read.
        """
        ...

    async def wait_writable(self) -> None:
        """Wait until `send_nowait` would take a byte. ConnectionLost."""
        ...

    async def send_all(self, data: BytesLike) -> None:
        """Send everything, waiting as needed. ConnectionLost."""
        ...

    def close(self) -> None:
        """Close at once, idempotent; a task waiting on this stream gets ConnectionLost."""
        ...


class Listener(Protocol):
    @property
    def address(self) -> Address:
        """The bound address; the real port where port 0 was asked for."""
        ...

    async def accept(self) -> Stream: ...

    def close(self) -> None: ...


class Network(Protocol):
    def host_name(self) -> str:
        """A name under which other machines reach this one, as far as it can tell."""
        ...

    async def connect(self, address: Address) -> Stream:
        """Connect; OSError when refused or unresolvable. The caller bounds the time."""
        ...

    async def listen(
        self,
        address: Address,
        *,
        backlog: int = 1024,
        send_buffer_bytes: int | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> Listener:
        """Bind and listen. An empty host is every interface. OSError (EADDRINUSE, ...).

        send_buffer_bytes, receive_buffer_bytes: of accepted connections; None leaves them to the
        system, and a network without the system's buffers takes no notice.
        """
        ...


class WallClock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z; may jump."""
        ...


class Events(Protocol):
    """The event log. `event` is a constant `area.past_verb`; fields are ids and figures."""

    def debug(self, event: str, **fields: object) -> None: ...
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...
    def bind(self, **fields: object) -> "Events": ...


class Steps(Protocol[Result_co]):
    """A piece of work that goes on when its next result is asked for, and not before."""

    async def next(self) -> Result_co | None:
        """The next result; None at the end. What the work raised; WorkerLost."""
        ...


class Worker(Protocol):
    """Somebody beside the loop who works on files, one piece of work at a time."""

    def start(
        self, work: Callable[["Disk", Request], Iterator[Result]], request: Request
    ) -> Steps[Result]:
        """Begin a piece of work, and drop the one before.

        `work` is a function of some module, not a closure; request and results can be pickled.
        """
        ...

    def rest(self) -> None:
        """There is nothing to do for now: give back what waiting costs."""
        ...


class WorkerLost(OSError):
    """The worker's process ended in the middle of its work."""


class Workers(Protocol):
    def hire(self) -> AbstractAsyncContextManager[Worker]: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything outside a daemon's own state.

    `workers` None: what is for workers is done by the task that has it to do, step by step, on the
    loop (`runtime.inline_workers`). So a simulation needs no threads or processes, and depends on
    its seed only; the price is that a step takes no time there, and nothing happens during one.
    """

    network: Network
    disk: Disk
    wall_clock: WallClock
    rng: random.Random
    events: Events
    workers: Workers | None = None


__all__ = [
    "Address",
    "BytesLike",
    "ConnectionLost",
    "DirectoryLock",
    "Disk",
    "Events",
    "File",
    "Listener",
    "Network",
    "Runtime",
    "Steps",
    "Stream",
    "WallClock",
    "Worker",
    "WorkerLost",
    "Workers",
]
