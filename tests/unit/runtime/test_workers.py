"""Workers beside the loop: results step by step, errors, and no process that outlives its task."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ottla.broker.storage.segment import CorruptLog
from ottla.runtime.inline_workers import InlineWorkers
from ottla.runtime.interfaces import Disk, WorkerLost, Workers
from ottla.runtime.memory import MemoryDisk
from ottla.runtime.real_disk import RealDisk
from ottla.runtime.worker_processes import WorkerProcesses


def doubled(disk: Disk, request: tuple[str, int]) -> Iterator[int]:
    """Writes down each step that it takes."""
    path, count = request
    file = disk.open(path)
    for n in range(count):
        file.append(b"x")
        yield 2 * n
    if count == 3:
        raise CorruptLog("three")


def endless(_disk: Disk, _request: None) -> Iterator[int]:
    yield os.getpid()
    while True:
        pass


def kinds() -> list[object]:
    return [
        pytest.param(WorkerProcesses, marks=pytest.mark.slow, id="processes"),
        pytest.param(None, id="inline"),
    ]


@pytest.mark.parametrize("make", kinds())
async def test_each_result_is_made_when_it_is_asked_for(
    make: type[WorkerProcesses] | None, tmp_path: Path
) -> None:
    path = "/steps" if make is None else str(tmp_path / "steps")
    disk: Disk = MemoryDisk() if make is None else RealDisk()
    workers: Workers = InlineWorkers(disk) if make is None else make()
    async with workers.hire() as worker:
        steps = worker.start(doubled, (path, 2))
        assert not disk.exists(path)
        assert await steps.next() == 0
        assert disk.read(path) == b"x"
        assert [await steps.next(), await steps.next(), await steps.next()] == [2, None, None]
        dropped = worker.start(doubled, (path, 9))
        assert await dropped.next() == 0
        steps = worker.start(doubled, (path, 3))
        assert [await steps.next() for _ in range(3)] == [0, 2, 4]
        with pytest.raises(CorruptLog, match="three"):
            await steps.next()
        worker.rest()
        steps = worker.start(doubled, (path, 1))
        assert await steps.next() == 0


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] != "Z"  # ended, though nobody has asked how


@pytest.mark.slow
async def test_process_is_nice_and_ends_with_who_hired_it() -> None:
    async with WorkerProcesses().hire() as worker:
        steps = worker.start(endless, None)
        pid = await steps.next()
        assert pid is not None
        assert pid != os.getpid()
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        with trio.move_on_after(0.1) as scope:
            await steps.next()
        assert scope.cancelled_caught
    assert not is_running(pid)


@pytest.mark.slow
async def test_killed_process_is_an_error_and_the_next_work_gets_another() -> None:
    async with WorkerProcesses().hire() as worker:
        steps = worker.start(endless, None)
        pid = await steps.next()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await steps.next()
        again = await worker.start(endless, None).next()
        assert again not in {None, pid}


@pytest.mark.slow
async def test_process_ends_with_a_daemon_that_was_killed() -> None:
    """Even in the middle of a step: nobody may go on writing into a log directory."""
    program = (
        "import trio\n"
        "from ottla.runtime.worker_processes import WorkerProcesses\n"
        "from tests.unit.runtime.test_workers import endless\n"
        "async def main():\n"
        "    async with WorkerProcesses().hire() as worker:\n"
        "        steps = worker.start(endless, None)\n"
        "        print(await steps.next(), flush=True)\n"
        "        await steps.next()\n"
        "trio.run(main)\n"
    )
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with trio.fail_after(20):
        assert process.stdout is not None
        pid = int(await process.stdout.receive_some())
        assert is_running(pid)
        process.kill()
        await process.wait()
        await process.stdout.aclose()
        while is_running(pid):  # noqa: ASYNC110  # nobody tells us
            await trio.sleep(0.01)
