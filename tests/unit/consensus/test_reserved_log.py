"""The txn log's file is longer than its records; a crash leaves zeros that are no damage."""

from pathlib import Path

import pytest
import trio

from ottla.coordinator.consensus.values import HardState, Persist
from ottla.coordinator.store.store import Store
from ottla.coordinator.store.txn_log import RESERVED_BYTES, CorruptStore
from ottla.coordinator.tree import txns
from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from ottla.scripts.dump.ensemble import dump_txn_log

# A refused request; its last byte is no zero.
PAYLOAD = txns.HEADER.pack(txns.FORMAT, OpCode.DELETE, ZkError.NONODE, -1, 0, 7, 1001)


def opened(home, events):
    return Store.open(RealDisk(), str(home), str(home), force_sync=True, events=events)


def entry(index):
    return Entry(index, 1, (1 << 32) + index, PAYLOAD)


async def write(store, sequence, index):
    hard = HardState(1, 1) if sequence == 1 else None
    store.write(Persist(sequence, None, hard, [Block([entry(index)])]))
    await store.sync()


def segments(home):
    return sorted((Path(home) / "version-2").glob("log.*"))


async def crashed(home, events):
    """A store that ended without `finish`, as after kill -9."""
    store = opened(home, events)
    await write(store, 1, 1)
    await write(store, 2, 2)
    store.close()
    (path,) = segments(home)
    return path


async def test_what_was_reserved_is_cut_off_without_a_word(tmp_path):
    events = RecordingEvents()
    path = await crashed(tmp_path, events)
    assert path.stat().st_size > RESERVED_BYTES
    store = opened(tmp_path, events)
    assert [each.index for each in store.recovered.entries] == [1, 2]
    assert path.stat().st_size < 1000
    assert not events.named("coordinator_store.tail_repaired")
    store.close()


async def test_a_torn_write_within_what_was_reserved_is_told_of(tmp_path):
    events = RecordingEvents()
    path = await crashed(tmp_path, events)
    end = len(path.read_bytes().rstrip(b"\0"))
    with path.open("r+b") as file:
        file.seek(end)
        file.write(b"OTL1\0\0\1\0half a record")
    opened(tmp_path, events).close()
    assert events.named("coordinator_store.tail_repaired")


async def test_zeros_over_what_was_synced_are_damage(tmp_path):
    events = RecordingEvents()
    store = opened(tmp_path, events)
    for sequence in (1, 2, 3):
        await write(store, sequence, sequence)
    store.close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    second = data.index(b"OTL1", data.index(b"OTL1", 1) + 1)
    third = data.index(b"OTL1", second + 1)
    path.write_bytes(data[:second] + bytes(third - second) + data[third:])
    with pytest.raises(CorruptStore):
        opened(tmp_path, events)


async def test_a_clean_end_leaves_records_alone(tmp_path):
    events = RecordingEvents()
    store = opened(tmp_path, events)
    await write(store, 1, 1)
    store.finish()
    store.close()
    (path,) = segments(tmp_path)
    assert path.stat().st_size < 1000


async def test_the_dump_tool_takes_reserved_zeros_for_no_damage(tmp_path, capsys):
    path = await crashed(tmp_path, RecordingEvents())
    assert await trio.to_thread.run_sync(lambda: dump_txn_log(path, contents=False)) == []
    assert "index: 2" in capsys.readouterr().out
