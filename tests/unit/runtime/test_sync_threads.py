"""Calls that block are made off the loop, a bounded number at a time, and never abandoned."""

import os
import threading

import pytest
import trio

from ottla.runtime import sync_threads
from ottla.runtime.sync_threads import SyncThreads


class Gate:
    """A call that blocks until it is let go, and says on which thread it ran."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.threads = []

    def __call__(self, _argument):
        self.threads.append(threading.get_ident())
        self.begun.release()
        assert self.let_go.wait(10)


async def _until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # a thread makes it true
            await trio.sleep(0.001)


async def test_the_loop_runs_while_a_call_blocks():
    gate, threads = Gate(), SyncThreads(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, gate, 7)
        await _until(lambda: gate.threads)
        assert gate.threads != [threading.get_ident()]
        gate.let_go.set()


async def test_what_the_call_raises_comes_back():
    with pytest.raises(OSError, match="Bad file descriptor"):
        await SyncThreads(1).run(os.fdatasync, 999_999)
    with pytest.raises(ValueError, match="negative"):
        await SyncThreads(1).run(os.fdatasync, -1)


async def test_a_worker_is_used_again_after_an_error():
    seen, threads = [], SyncThreads(1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await threads.run(os.fdatasync, 999_999)
    await threads.run(lambda _: seen.append(threading.get_ident()), 0)
    await threads.run(lambda _: seen.append(threading.get_ident()), 0)
    assert len(set(seen)) == 1


async def test_no_more_calls_at_once_than_the_limit():
    gate, threads = Gate(), SyncThreads(2)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(threads.run, gate, 0)
        await _until(lambda: len(gate.threads) == 2)
        await trio.sleep(0.01)
        assert len(gate.threads) == 2
        gate.let_go.set()
    assert len(gate.threads) == 5
    assert len(set(gate.threads)) == 2


async def test_a_cancelled_caller_waits_for_its_call():
    """A file must not be closed below its own sync."""
    gate, threads = Gate(), SyncThreads(1)
    ended = []

    async def caller():
        try:
            await threads.run(gate, 0)
        finally:
            ended.append(gate.let_go.is_set())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await _until(lambda: gate.threads)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
            assert not ended
            gate.let_go.set()
    assert ended == [True]


async def test_a_loop_of_calls_can_be_cancelled():
    threads = SyncThreads(1)
    with trio.move_on_after(0.02) as scope:
        while True:
            await threads.run(lambda _: None, 0)
    assert scope.cancelled_caught


async def test_an_idle_worker_ends(monkeypatch):
    monkeypatch.setattr(sync_threads, "IDLE_S", 0.01)
    used, threads = [], SyncThreads(1)
    await threads.run(lambda _: used.append(threading.current_thread()), 0)
    await _until(lambda: not used[0].is_alive())
    await threads.run(lambda _: used.append(threading.current_thread()), 0)
    assert used[0] is not used[1]
