"""Answers that a group gives later, as the connection wants them."""

from collections.abc import Callable
from typing import Generic, TypeVar

from ottla.broker.groups.reply import Reply

T = TypeVar("T")
R = TypeVar("R")


class ParkedReply(Generic[T, R]):
    """A `Parked` that turns a group's reply into a response."""

    __slots__ = ("_build", "_reply")

    def __init__(self, reply: Reply[T], build: Callable[[T], R]) -> None:
        self._reply = reply
        self._build = build

    def is_ready(self) -> bool:
        return self._reply.is_ready()

    async def wait(self) -> R:
        return self._build(await self._reply.get())


def answer(reply: Reply[T], build: Callable[[T], R]) -> R | ParkedReply[T, R]:
    """The response if it can be made now, else the promise of it."""
    if reply.is_ready():
        return build(reply.get_nowait())
    return ParkedReply(reply, build)


__all__ = ["ParkedReply", "answer"]
