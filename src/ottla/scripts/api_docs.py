"""Writes `docs/apis.md` from the registry of APIs: `python -m ottla.scripts.api_docs docs/apis.md`.

Lives here and not beside the handlers, since a broker imports every module of that package.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from ottla.broker.api.api import Api
from ottla.broker.api.registry import Registry, find_apis
from ottla.protocol.kafka.api_keys import ApiKey

_HEAD = """\
# Kafka APIs

Generated from the registry of handlers by `python -m ottla.scripts.api_docs docs/apis.md`.

ApiVersions answers with this table: an API is advertised when a module of `ottla.broker.api` serves
it, and not before. Both ends of a range are served. Where *advertised* differs, ApiVersions claims
another first version than is served; the module says why.

| key | API | served | advertised | module |
|---|---|---|---|---|
"""

_UNSERVED = """
## Not served

These keys of Apache Kafka 3.9's ZooKeeper mode are known to the codec, but no handler serves them
yet. A request for one closes the connection, with an event `connection.peer_refused`.

"""


def render() -> str:
    """The whole document."""
    registry = find_apis()
    rows = "".join(_row(api, advertised) for api, advertised in _with_advertised(registry))
    unserved = ", ".join(
        f"{key.name} ({key.value})" for key in sorted(ApiKey) if registry.get(key) is None
    )
    return f"{_HEAD}{rows}{_UNSERVED}{unserved}.\n"


def _with_advertised(registry: Registry) -> Iterator[tuple[Api, tuple[int, int]]]:
    told = {key: (first, last) for key, first, last in registry.advertised()}
    for api in registry:
        yield api, told[api.key]


def _row(api: Api, advertised: tuple[int, int]) -> str:
    name = api.request_type.__name__.removesuffix("Request")
    module = api.handle.__module__.removeprefix("ottla.")
    claimed = "" if advertised == api.versions else _range(advertised)
    return f"| {api.key.value} | {name} | {_range(api.versions)} | {claimed} | `{module}` |\n"


def _range(versions: tuple[int, int]) -> str:
    first, last = versions
    return str(first) if first == last else f"{first}–{last}"


def main(arguments: list[str]) -> None:
    """Write to the named file, or to the standard output."""
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main(sys.argv[1:])
