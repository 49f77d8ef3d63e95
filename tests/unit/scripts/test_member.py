"""What a user can mend about a member's data is one line, not a stack trace."""

from functools import partial

import pytest
import trio

from ottla.coordinator.node import NotServing
from ottla.coordinator.settings import CoordinatorSettings
from ottla.runtime.interfaces import Address
from ottla.runtime.memory import MemoryDisk, RecordingEvents, memory_runtime
from ottla.runtime.supervise import CannotStart, leaves
from ottla.scripts.member import run_member

SETTINGS = CoordinatorSettings("/data", client_address=Address("", 0))


async def run_and_stop(disk):
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(begin, disk, stop)
        await trio.sleep(1)  # it leads: its epoch is on disk
        stop.set()


async def begin(disk, stop, task_status):
    runtime = memory_runtime(disk=disk, events=RecordingEvents())
    await run_member(SETTINGS, runtime, stop=stop, task_status=task_status)


async def refusal(disk):
    with pytest.raises(BaseExceptionGroup) as caught:
        await run_and_stop(disk)
    (leaf,) = leaves(caught.value)
    assert isinstance(leaf, CannotStart)
    assert "\n" not in str(leaf)
    return str(leaf)


async def test_damage_in_the_txn_log_is_one_line_with_its_place(autojump_clock):
    disk = MemoryDisk()
    for _ in range(3):
        await run_and_stop(disk)
    name = min(name for name in disk.list_dir("/data/version-2") if name.startswith("log."))
    path = f"/data/version-2/{name}"
    data = bytearray(disk.read(path))
    data[len(data) // 3] ^= 0xFF
    disk.replace(path, bytes(data))
    assert path in await refusal(disk)


async def test_data_in_use_is_one_line(autojump_clock):
    disk = MemoryDisk()
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(begin, disk, stop)
        assert "/data" in await refusal(disk)
        stop.set()


async def test_a_member_steps_aside_on_a_full_disk_and_comes_back_with_room(autojump_clock):
    disk = MemoryDisk()
    events = RecordingEvents()
    stop = trio.Event()
    runtime = memory_runtime(disk=disk, events=events)

    async with trio.open_nursery() as nursery:
        handle = await nursery.start(partial(run_member, SETTINGS, runtime, stop=stop))
        await trio.sleep(1)
        session = await handle.node.create_session(10_000)
        disk.capacity_bytes = disk.used_bytes
        with trio.fail_after(30):
            with pytest.raises(NotServing):
                await handle.node.create_session(10_000)
            await events.wait_for("coordinator.stepped_aside")
        await trio.sleep(10)
        assert len(events.named("coordinator.started")) == 1
        disk.capacity_bytes = None
        with trio.fail_after(30):
            again = await events.wait_for("coordinator.started", count=2)
        assert again.fields["clients"] == str(handle.client_address)
        assert events.named("coordinator.opened")[1].fields["log_entries"] >= 2
        assert session
        stop.set()
