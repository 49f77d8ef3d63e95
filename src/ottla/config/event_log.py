"""Reader of `logging.yaml`: how much of the event log is written, where to, and how it looks.

level: info                 # debug, info, warning or error
areas: {connection: debug}  # another level for events that begin with `connection.`
format: console             # console: for a terminal; json: one object a line
destination: stdout         # stdout, stderr or a file
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ottla.config.problems import ConfigError, Place, Problem, closest

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("console", "json")
_KEYS = ("level", "areas", "format", "destination")


@dataclass(frozen=True, slots=True)
class EventLogConfig:
    level: str = "info"
    areas: Mapping[str, str] = field(default_factory=dict)
    format: str = "console"
    destination: str = "stdout"
    """`stdout`, `stderr`, or the path of a file that is appended to."""


def read_event_log(path: str) -> EventLogConfig:
    """Read a file. ConfigError with every problem."""
    import yaml  # tens of milliseconds, and only when there is a file

    place = Place(path)
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(place, "file", None, error.strerror or str(error))]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = Place(path, mark.line + 1) if mark is not None else place
        reason = getattr(error, "problem", None) or "not YAML"
        raise ConfigError([Problem(where, "file", None, str(reason))]) from None
    if content is None:
        return EventLogConfig()
    if not isinstance(content, dict):
        text = f"expected keys {', '.join(_KEYS)}"
        raise ConfigError([Problem(place, "file", None, text)])
    return _checked(content, place)


def _checked(content: dict[object, object], place: Place) -> EventLogConfig:
    problems: list[Problem] = []

    def choose(key: str, value: object, allowed: tuple[str, ...]) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        text = f"expected one of {', '.join(allowed)}"
        problems.append(Problem(place, key, str(value), text))
        return allowed[0]

    for key in content:
        if key not in _KEYS:
            near = closest(str(key), _KEYS)
            hint = f"; did you mean {near}?" if near else f"; there are {', '.join(_KEYS)}"
            problems.append(Problem(place, str(key), None, "is no key" + hint))
    level = choose("level", content.get("level", "info"), LEVELS)
    form = choose("format", content.get("format", "console"), FORMATS)
    destination = content.get("destination", "stdout")
    if not isinstance(destination, str) or not destination:
        problems.append(
            Problem(place, "destination", str(destination), "expected stdout, stderr or a path")
        )
    areas = content.get("areas") or {}
    levels: dict[str, str] = {}
    if isinstance(areas, dict):
        for area, own in areas.items():
            levels[str(area)] = choose(f"areas.{area}", own, LEVELS)
    else:
        problems.append(Problem(place, "areas", str(areas), "expected levels by area"))
    if problems:
        raise ConfigError(problems)
    return EventLogConfig(level, levels, form, str(destination))


__all__ = ["EventLogConfig", "read_event_log"]
