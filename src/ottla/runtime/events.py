"""The event log of a daemon, written by structlog.

An event that is below its area's level costs one comparison. A destination that fails (a full
disk, a closed pipe) loses lines and never stops the daemon: `LineSink.lost` counts them.
"""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, TextIO

from ottla.runtime.interfaces import Events

if TYPE_CHECKING:
    from structlog.typing import Processor, WrappedLogger

_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LineSink:
    """Where finished lines go."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def write_line(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed below us
            self.lost += 1

    def close(self) -> None:
        if self._stream not in {sys.stdout, sys.stderr}:
            self._stream.close()

    # structlog calls its logger by the level's name.
    debug = info = warning = error = msg = write_line


class StructuredEvents:
    """`Events` that filter by level and area and hand the rest to structlog."""

    __slots__ = ("_areas", "_default", "_lowest", "_writer")

    def __init__(self, writer: "WrappedLogger", default: int, areas: Mapping[str, int]) -> None:
        self._writer = writer
        self._default = default
        self._areas = areas
        self._lowest = min(default, *areas.values()) if areas else default

    def debug(self, event: str, **fields: object) -> None:
        if self._lowest <= 10 and self._wanted(event, 10):
            self._writer.debug(event, **fields)

    def info(self, event: str, **fields: object) -> None:
        if self._lowest <= 20 and self._wanted(event, 20):
            self._writer.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        if self._lowest <= 30 and self._wanted(event, 30):
            self._writer.warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        self._writer.error(event, **fields)

    def bind(self, **fields: object) -> "StructuredEvents":
        return StructuredEvents(self._writer.bind(**fields), self._default, self._areas)

    def _wanted(self, event: str, level: int) -> bool:
        return level >= self._areas.get(event.partition(".")[0], self._default)


def open_sink(destination: str) -> LineSink:
    """`stdout`, `stderr`, or a file to append to. OSError when it cannot be opened."""
    if destination == "stdout":
        return LineSink(sys.stdout)
    if destination == "stderr":
        return LineSink(sys.stderr)
    return LineSink(open(destination, "a", encoding="utf-8", errors="backslashreplace"))


def open_events(
    sink: LineSink,
    *,
    level: str = "info",
    areas: Mapping[str, str] | None = None,
    form: str = "console",
) -> StructuredEvents:
    """The event log as logging.yaml describes it; `form` is `console` or `json`."""
    structlog = _import_structlog()
    steps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        steps += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        steps.append(
            structlog.dev.ConsoleRenderer(
                colors=sink.is_terminal,
                pad_event_to=28,
                exception_formatter=structlog.dev.plain_traceback,
            )
        )
    writer = structlog.wrap_logger(
        sink,
        processors=steps,
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    ).bind()
    numbers = {area: _NUMBERS[own] for area, own in (areas or {}).items()}
    return StructuredEvents(writer, _NUMBERS[level], numbers)


def _import_structlog() -> ModuleType:
    # Where rich is installed, structlog loads it for tracebacks that are not written here: half of
    # the import's time and several megabytes in every daemon.
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


def _conforms(events: StructuredEvents) -> Events:
    return events


__all__ = ["LineSink", "StructuredEvents", "open_events", "open_sink"]
