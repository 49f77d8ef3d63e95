"""Events of work that is done beside the loop, kept until the loop can log them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ottla.runtime.interfaces import Events

Note = tuple[str, str, dict[str, object]]
"""(level, event, fields)"""


@dataclass(slots=True)
class Notes:
    """`Events` of one log, in the order in which they came. Whoever replays them binds its own."""

    noted: list[Note] = field(default_factory=list)

    def debug(self, event: str, **fields: object) -> None:
        self.noted.append(("debug", event, fields))

    def info(self, event: str, **fields: object) -> None:
        self.noted.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.noted.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.noted.append(("error", event, fields))

    def bind(self, **fields: object) -> Events:
        del fields
        return self


def replay(notes: Sequence[Note], events: Events) -> None:
    """Log what was noted."""
    write: dict[str, Callable[..., None]] = {
        "debug": events.debug,
        "info": events.info,
        "warning": events.warning,
        "error": events.error,
    }
    for level, event, fields in notes:
        write[level](event, **fields)


__all__ = ["Note", "Notes", "replay"]
