"""Workers that are processes of their own, started on first need.

A worker reads commands from its standard input and answers on its standard output, both as frames
of a big endian int32 length and a pickle: parent and child are the same program, and nobody else
holds the pipes. The parent sends (work, request) to begin and None for each next result; the child
answers (result, error), one of them None, or both at the end. See `worker_main` for the other side.

A worker ends when its input does, so that none outlives its daemon, however that ended.
"""

import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from subprocess import PIPE
from typing import Generic, cast

import trio

from ottla.runtime.interfaces import Disk, Request, Result, Worker, WorkerLost, Workers

_LENGTH = struct.Struct(">i")
_RECEIVE_BYTES = 64 << 10


class ProcessSteps(Generic[Result]):
    """See `Steps`. `command` begins the work; None afterwards."""

    def __init__(self, worker: "WorkerProcess", command: bytes) -> None:
        self._worker = worker
        self._command: bytes | None = command

    async def next(self) -> Result | None:
        command, self._command = self._command, None
        if command is not None:
            await self._worker.tell(command)
        result, error = await self._worker.ask(pickle.dumps(None))
        if error is not None:
            raise error
        return cast("Result | None", result)


class WorkerProcess:
    """See `Worker`. Owner: the task that hired it."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        self._resting: list[trio.Process] = []

    def start(
        self, work: Callable[[Disk, Request], Iterator[Result]], request: Request
    ) -> ProcessSteps[Result]:
        return ProcessSteps(self, pickle.dumps((work, request)))

    def rest(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._resting.append(self._process)
            self._process = None

    async def tell(self, command: bytes) -> None:
        """Hand a command over that has no answer."""
        await self._bury()
        if self._process is None:
            # -c and not -m, so that the module is not looked for in the current directory.
            program = "from ottla.runtime.worker_main import main; main()"
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-c", program],
                stdin=PIPE,
                stdout=PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        await self._exchange(self._process, command, answers=False)

    async def ask(self, command: bytes) -> tuple[object, BaseException | None]:
        """What the worker answers to a command."""
        if self._process is None:
            raise WorkerLost("the worker was sent away in the middle of its work")
        answer = await self._exchange(self._process, command, answers=True)
        return cast("tuple[object, BaseException | None]", pickle.loads(answer))

    async def _exchange(self, process: trio.Process, command: bytes, *, answers: bool) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            await process.stdin.send_all(_LENGTH.pack(len(command)) + command)
            if not answers:
                return b""
            (length,) = _LENGTH.unpack(await self._receive(process.stdout, _LENGTH.size))
            return await self._receive(process.stdout, length)
        except (trio.BrokenResourceError, EOFError):
            self.rest()
            raise WorkerLost("the worker's process ended") from None
        except BaseException:
            self.rest()  # half an exchange would be taken for the next one
            raise

    @staticmethod
    async def _receive(stream: trio.abc.ReceiveStream, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = await stream.receive_some(min(length - len(data), _RECEIVE_BYTES))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    async def dismiss(self) -> None:
        """End the process, and wait until it is gone."""
        self.rest()
        with trio.CancelScope(shield=True):
            await self._bury()

    async def _bury(self) -> None:
        while self._resting:
            process = self._resting[-1]
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
            self._resting.pop()


class WorkerProcesses:
    """See `Workers`: each worker that is hired is one process."""

    @asynccontextmanager
    async def hire(self) -> AsyncIterator[Worker]:
        worker = WorkerProcess()
        try:
            yield worker
        finally:
            await worker.dismiss()


def _conforms(workers: WorkerProcesses) -> Workers:
    return workers


__all__ = ["WorkerProcess", "WorkerProcesses"]
