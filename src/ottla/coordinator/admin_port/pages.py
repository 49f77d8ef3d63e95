"""What is found under which path.

`/commands/<name>` and their short names are ZooKeeper 3.9's, as JSON; `/metrics` is `mntr` for
Prometheus, by the names of ZooKeeper's own provider, which have no `zk_`; `/health/live` says that
the loop turns, `/health/ready` that clients are served.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from ottla.coordinator.admin_port import commands
from ottla.coordinator.figures import Facts, Figure, monitor
from ottla.coordinator.four_letter_words import NOT_SERVING

_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Page(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: str


def page_of(path: str, facts: Facts) -> Page:
    """The answer to a GET of `path`."""
    if path in {"/commands", "/commands/"}:
        links = (f'<a href="/commands/{name}">{name}</a><br/>\n' for name in commands.NAMES)
        return Page(HTTPStatus.OK, _HTML, "".join(links))
    if path.startswith("/commands/"):
        return _command(path.removeprefix("/commands/"), facts)
    page = _PAGES.get(path)
    if page is None:
        known = ", ".join(["/commands", *_PAGES])
        return Page(HTTPStatus.NOT_FOUND, _TEXT, f"There is {known}.\n")
    return page(facts)


def _command(name: str, facts: Facts) -> Page:
    command = commands.find(name)
    if command is None:
        error = f"Unknown command: {name}"
        return _json(HTTPStatus.NOT_FOUND, {"command": name, "error": error})
    if command.needs_state and not facts.is_shown:
        error = NOT_SERVING.strip()
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"command": command.name, "error": error})
    answer = dict(command.run(facts))
    return _json(HTTPStatus.OK, {**answer, "command": command.name, "error": None})


def _json(status: HTTPStatus, answer: Mapping[str, object]) -> Page:
    return Page(status, _JSON, json.dumps(answer, indent=2) + "\n")


def _metrics(facts: Facts) -> Page:
    figures: dict[str, Figure] = monitor(facts)
    labels = f'version="{figures.pop("version")}",server_state="{figures.pop("server_state")}"'
    lines = ["# TYPE server_info gauge", f"server_info{{{labels}}} 1"]
    for name, value in figures.items():
        if isinstance(value, int | float):
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
    return Page(HTTPStatus.OK, _PROMETHEUS, "\n".join(lines) + "\n")


def _live(_facts: Facts) -> Page:
    return Page(HTTPStatus.OK, _TEXT, "live\n")


def _ready(facts: Facts) -> Page:
    if facts.member.is_serving:
        return Page(HTTPStatus.OK, _TEXT, f"ready ({facts.member.role})\n")
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"not ready ({facts.member.role})\n")


_PAGES: dict[str, Callable[[Facts], Page]] = {
    "/metrics": _metrics,
    "/health/live": _live,
    "/health/ready": _ready,
}

__all__ = ["Page", "page_of"]
