"""Which founding of the ensemble a member's data come from.

Empty members found a new ensemble, if need be without one that is silent (docs/decisions/007). If
that one had data, there are two histories with the same epochs, and consensus would let either
erase the other. So members tell each other where theirs begins, and those of different foundings
do not speak.

A founding is known by the secret that its first session brings: random, replicated, and there
before any client could write. The file `version-2/founding` holds a digest of it, since what a log
says is not known to be committed before there is a leader. Where that file is missing, as with data
from before there was one, or damaged, it is written as soon as the secret is known.

    founding = 16 hex digits | " " | CRC-32 of these as 8 hex digits | newline
"""

import hashlib
import zlib

from ottla.runtime.interfaces import Events, Runtime

FILE = "founding"


class Beginning:
    """Owned by the node's circle. `name` is empty while it is not known."""

    __slots__ = ("_disk", "_events", "_path", "_secret", "name")

    def __init__(self, runtime: Runtime, directory: str, *, is_empty: bool) -> None:
        """`directory` is where the store is, `is_empty` whether it holds nothing: no founding."""
        self._disk = runtime.disk
        self._events: Events = runtime.events
        self._path = f"{directory}/{FILE}"
        self._secret = b""
        self.name = ""
        if not is_empty and self._disk.exists(self._path):
            self.name = _name_in(self._disk.read(self._path))

    def learn(self, secret: bytes) -> None:
        """The secret of the state that is committed, empty while there was no session."""
        if secret is self._secret:
            return
        self._secret = secret
        name = hashlib.blake2b(secret, person=b"ottla founding", digest_size=8).hexdigest()
        if name == self.name or not secret:
            return
        if self.name:
            self._events.error("ensemble.founding_replaced", before=self.name, now=name)
        self.name = name
        try:
            self._disk.replace(self._path, _content(name))
        except OSError as error:
            self._events.warning(
                "ensemble.founding_not_written", file=self._path, reason=str(error)
            )

    def problem_with(self, other: str) -> str:
        """Why a member of that founding is no member of this ensemble; empty: it may be."""
        if not other or not self.name or other == self.name:
            return ""
        return (
            f"its data are of another founding of the ensemble ({other}, here {self.name}): one of"
            " the two has to go"
        )


def _content(name: str) -> bytes:
    return f"{name} {zlib.crc32(name.encode()):08x}\n".encode()


def _name_in(content: bytes) -> str:
    name = content.decode("ascii", "replace").partition(" ")[0]
    return name if content == _content(name) else ""


__all__ = ["FILE", "Beginning"]
