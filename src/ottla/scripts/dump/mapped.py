"""Whole files as memory, without reading them."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ottla.runtime.interfaces import BytesLike


@contextmanager
def mapped(path: Path) -> Iterator[BytesLike]:
    """The bytes of `path`. OSError."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # nothing to map
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            view = memoryview(memory)
            try:
                yield view
            finally:
                view.release()


__all__ = ["mapped"]
