"""Calls that a disk makes beside the loop."""

import threading

import pytest
import trio
import trio.testing

from ottla.runtime.memory import MemoryDisk
from ottla.runtime.real_disk import RealDisk


async def test_the_loop_runs_while_a_call_blocks() -> None:
    let_go = threading.Event()
    called: list[int] = []

    def call() -> int:
        called.append(threading.get_ident())
        assert let_go.wait(10)
        return 7

    found: list[int] = []

    async def ask() -> None:
        found.append(await RealDisk().beside(call))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with trio.fail_after(10):
            while not called:  # noqa: ASYNC110  # a thread makes it true
                await trio.sleep(0.001)
        let_go.set()
    assert found == [7]
    assert called != [threading.get_ident()]


@pytest.mark.parametrize("disk", [RealDisk(), MemoryDisk()])
async def test_what_the_call_raises_comes_back(disk: RealDisk | MemoryDisk) -> None:
    with pytest.raises(ZeroDivisionError):
        await disk.beside(lambda: 1 // 0)


async def test_a_call_after_a_crash_is_not_made() -> None:
    disk, made = MemoryDisk(sync_delay_s=0.01), []
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(OSError, match="crashed"):
                await disk.beside(lambda: made.append(1))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        disk.kill()
    assert not made
