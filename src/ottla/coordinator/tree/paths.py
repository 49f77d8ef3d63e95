"""Znode paths: what is a valid one, and whose child it is."""

import re

ROOT = "/"
PROC = "/zookeeper"
QUOTA = "/zookeeper/quota"
CONFIG = "/zookeeper/config"
SPECIAL = frozenset({ROOT, PROC, QUOTA, CONFIG})
"""Exist from the start and can not be deleted."""

# Control characters, surrogates, the private area and specials. ZooKeeper judges UTF-16 units, so
# whatever lies beyond the basic plane is a pair of surrogates to it and is refused too. The rest
# are empty, `.` and `..` names.
_INVALID = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]|//|/\\.\\.?(?:/|\\Z)")


def is_valid(path: str) -> bool:
    """Whether `path` is an absolute path that a znode may have."""
    if path == ROOT:
        return True
    return path[:1] == "/" and path[-1:] != "/" and _INVALID.search(path) is None


def parent_of(path: str) -> str:
    """The path before the last slash; of a child of the root, the root."""
    return path[: path.rindex("/")] or ROOT


def name_of(path: str) -> str:
    return path[path.rindex("/") + 1 :]


__all__ = ["CONFIG", "PROC", "QUOTA", "ROOT", "SPECIAL", "is_valid", "name_of", "parent_of"]
