"""The process of a worker; see `worker_processes` for what it says and hears.

It gives way to everything else on the machine, and ends at once when its input does: a thread of
its own listens, so that not even a long step is finished for a daemon that is gone.
"""

import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import IO

from ottla.runtime.real_disk import RealDisk

_LENGTH = struct.Struct(">i")
_NICE = 10


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the daemon, which ends us by itself
    os.nice(_NICE)
    commands: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, commands), daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print breaks no frame
    disk = RealDisk()
    results: Iterator[object] = iter(())
    while True:
        command = pickle.loads(commands.get())
        if command is not None:
            work, request = command
            results = work(disk, request)
            continue
        answer = pickle.dumps(_step(results))
        view = memoryview(_LENGTH.pack(len(answer)) + answer)
        while view:
            view = view[answers.write(view) or 0 :]


def _listen(pipe: IO[bytes], commands: "SimpleQueue[bytes]") -> None:
    while len(prefix := pipe.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(prefix)
        commands.put(pipe.read(length))
    os._exit(0)


def _step(results: Iterator[object]) -> tuple[object, BaseException | None]:
    try:
        return next(results, None), None
    except BaseException as error:  # noqa: BLE001  # the daemon raises it again
        error.add_note(f"in worker process {os.getpid()}")
        return None, error


__all__ = ["main"]
