"""A start on a disk that is slow to answer: threads touch what the next logs are opened from.

From memory a log opens in a fraction of a millisecond, of which threads could take nothing away. On
a disk that has to be asked, a log is half a dozen waits, and thousands of logs are minutes. So the
first logs tell: where they take long, a few threads go ahead of those who open, and the disk gets
many questions at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial

import trio

from ottla.broker.storage import files
from ottla.runtime.interfaces import Disk

SLOW_S = 0.001
"""A log that takes longer than this to open had to wait for the disk."""

_LOOK_EVERY_S = 0.05
_THREADS = 4
_LOGS_PER_CALL = 8
_READ_BYTES = 64 << 10


async def warm_ahead(disk: Disk, paths: Sequence[str], opened: Callable[[], int]) -> None:
    """Touch the files of the logs in `paths` in that order, once opening them proves slow.

    `opened()`: how many of them are open by now. Until all are touched or opened.
    """
    began, before = trio.current_time(), opened()
    while True:
        await trio.sleep(_LOOK_EVERY_S)
        count = opened() - before
        if opened() >= len(paths):
            return
        if trio.current_time() - began > SLOW_S * max(count, 1):
            break
        began, before = trio.current_time(), opened()
    position = opened()

    async def work() -> None:
        nonlocal position
        while position < len(paths):
            start = position = max(position, opened())
            position += _LOGS_PER_CALL
            await disk.beside(partial(_touch, disk, paths[start : start + _LOGS_PER_CALL]))

    async with trio.open_nursery() as nursery:
        for _ in range(_THREADS):
            nursery.start_soon(work)


def _touch(disk: Disk, paths: Sequence[str]) -> None:
    for path in paths:
        try:
            _touch_log(disk, path)
        except OSError:
            continue  # who opens it meets the error, and knows what to make of it


def _touch_log(disk: Disk, path: str) -> None:
    names = disk.list_dir(path)
    last = max((name for name in names if name.endswith(files.LOG)), default="")
    stem = last.removesuffix(files.LOG)
    snapshot = max((name for name in names if name.endswith(files.SNAPSHOT)), default="")
    wanted = (snapshot, files.LEADER_EPOCHS, files.PARTITION_METADATA)
    for name in names:
        if not (name in wanted or name.endswith(files.LOG) or name.startswith(stem)):
            continue  # an index of a sealed segment
        file = disk.open(f"{path}/{name}", create=False)
        try:
            size = file.size()
            if name == last:
                file.read_at(max(size - _READ_BYTES, 0), _READ_BYTES)
            elif not name.endswith(files.LOG):
                file.read_at(0, _READ_BYTES)
        finally:
            file.close()


__all__ = ["SLOW_S", "warm_ahead"]
