"""A file that holds one secret: nobody else on the machine may read it, and it is never printed."""

import os
import stat
from pathlib import Path

BYTES_MIN, BYTES_MAX = 16, 4096


def read_secret(path: str) -> bytes:
    """What the file holds, without white space at its end. OSError; ValueError says why not."""
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no file")
        others = stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
        if others:
            mode = stat.S_IMODE(status.st_mode)
            raise ValueError(
                f"may be read or changed by others (mode {mode:04o}); use 0600 or 0400"
            )
        secret = file.read(BYTES_MAX + 1).rstrip()
    if not BYTES_MIN <= len(secret) <= BYTES_MAX:
        raise ValueError(f"has {len(secret)} bytes; {BYTES_MIN} to {BYTES_MAX} are wanted")
    return secret


__all__ = ["read_secret"]
