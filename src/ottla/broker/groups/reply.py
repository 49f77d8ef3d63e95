"""A result that is there at once or comes later."""

from typing import Final, Generic, TypeVar

import trio

T = TypeVar("T")

_UNSET: Final = object()


class Reply(Generic[T]):
    """Set exactly once by the group's side, awaited by at most one connection's writer."""

    __slots__ = ("_event", "_value")

    def __init__(self) -> None:
        self._value: T | object = _UNSET
        self._event: trio.Event | None = None  # only when somebody waits

    @classmethod
    def of(cls, value: T) -> "Reply[T]":
        reply = cls()
        reply.set(value)
        return reply

    def set(self, value: T) -> None:
        assert self._value is _UNSET, "a reply is given once"
        self._value = value
        if self._event is not None:
            self._event.set()

    def is_ready(self) -> bool:
        return self._value is not _UNSET

    def get_nowait(self) -> T:
        assert self._value is not _UNSET
        return self._value  # type: ignore[return-value]  # only `set` writes it

    async def get(self) -> T:
        if self._value is _UNSET:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        return self.get_nowait()


__all__ = ["Reply"]
