"""What an error of the disk says: there is no room, nothing much, or do not trust it any more."""

import errno

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

# Of the process or of a race with a close, not of the disk.
_PASSING = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBADF, errno.EINTR, errno.EAGAIN}
)


def is_full(error: OSError) -> bool:
    """The file system has no room; it gets some when something is deleted."""
    return error.errno in _FULL


def is_passing(error: OSError) -> bool:
    """It may be tried again, and says nothing about what is on the disk."""
    return error.errno in _FULL or error.errno in _PASSING


__all__ = ["is_full", "is_passing"]
