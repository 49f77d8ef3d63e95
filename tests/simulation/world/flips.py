"""Where a bit may read wrong without breaking a promise that is not ours."""

import random
from dataclasses import dataclass

import msgpack

from ottla.broker.ids import TopicPartition
from ottla.coordinator.store.records import leading_records
from ottla.protocol.kafka.records import iter_headers
from ottla.runtime.memory_disk import Flip
from tests.simulation.world.nodes import Node

STORE = "/data/version-2"
# Offset and leader epoch of a batch: its checksum does not cover them, so no client can see that
# they are wrong.
_UNCOVERED = frozenset((*range(8), *range(12, 16)))


@dataclass(eq=False)
class Place:
    """A bit of a file; `flip` and `undo` may alternate.

    `around`: a part of the file that holds it, and where that begins.
    """

    node: Node
    path: str
    offset: int
    bit: int
    around: tuple[int, bytes]
    _flip: Flip | None = None

    def flip(self) -> None:
        """Only as long as the file is there and has the same around that place."""
        disk = self.node.disk
        if not disk.exists(self.path):
            return
        start, part = self.around
        if disk.read(self.path)[start : start + len(part)] == part:
            self._flip = disk.flip_bit(self.path, self.offset, self.bit)

    def undo(self) -> None:
        if self._flip is not None:
            self._flip.undo()
            self._flip = None


def in_partition_log(node: Node, tp: TopicPartition, rng: random.Random) -> Place | None:
    """Somewhere in a batch of what `node` holds of `tp`."""
    directories = [f"{path}/{tp}" for path in node.log_dirs if node.disk.exists(f"{path}/{tp}")]
    if not directories:
        return None
    directory = directories[0]
    names = [name for name in node.disk.list_dir(directory) if name.endswith(".log")]
    path = f"{directory}/{rng.choice(names)}" if names else ""
    data = node.disk.read(path) if names else b""
    batches = list(iter_headers(data))
    if not batches:
        return None
    # The newest batches are what others read.
    start, header = rng.choice(batches[-3:] if rng.random() < 0.5 else batches)
    within = rng.choice([at for at in range(header.size) if at not in _UNCOVERED])
    around = start, data[start : start + header.size]
    return Place(node, path, start + within, rng.randrange(8), around)


def in_store(node: Node, rng: random.Random) -> Place | None:
    """Somewhere in a member's snapshots, or in its txn log where nobody can take it for a tear.

    The last synced write of a txn log can not be told from one that a power cut tore.
    """
    if not node.disk.exists(STORE):
        return None
    names = node.disk.list_dir(STORE)
    logs = sorted((each for each in names if each.startswith("log.")), key=_zxid)
    snapshots = [each for each in names if each.startswith("snapshot.")]
    snapshots = [each for each in snapshots if not each.endswith(".tmp")]
    chosen = rng.choice(snapshots if snapshots and rng.random() < 0.4 else logs or [""])
    if not chosen:
        return None
    path = f"{STORE}/{chosen}"
    data = node.disk.read(path)
    size = len(data)
    if logs and chosen == logs[-1]:
        rows = [msgpack.unpackb(body) for _, body in leading_records(data)]
        size = max((row[1] for row in rows if row[0] == 1), default=0)
    return Place(node, path, rng.randrange(size), rng.randrange(8), (0, data)) if size else None


def _zxid(name: str) -> int:
    return int(name.rpartition(".")[2], 16)
