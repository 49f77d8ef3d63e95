"""All APIs of this broker, found in the modules of this package, and what ApiVersions says of them.

An API is served, and advertised, when a module here holds an `API` (or `APIS`, a tuple of them); no
list elsewhere names it.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

import ottla.broker.api
from ottla.broker.api.api import Api
from ottla.protocol.kafka.api_keys import ApiKey


class Registry:
    """The APIs by key. Never changes once made."""

    def __init__(self, apis: Iterable[Api]) -> None:
        self._apis: dict[ApiKey, Api] = {}
        for api in sorted(apis, key=lambda api: api.key):
            assert api.key not in self._apis, f"two modules serve {api.key.name}"
            self._apis[api.key] = api

    def get(self, key: int) -> Api | None:
        return self._apis.get(key)  # type: ignore[call-overload, no-any-return]

    def __iter__(self) -> Iterator[Api]:
        return iter(self._apis.values())

    def __len__(self) -> int:
        return len(self._apis)

    def advertised(self) -> list[tuple[ApiKey, int, int]]:
        """Key, first and last version of every API, in the order of keys."""
        return [
            (
                api.key,
                api.versions[0] if api.advertised_from is None else api.advertised_from,
                api.versions[1],
            )
            for api in self._apis.values()
        ]


def find_apis() -> Registry:
    """Import every module of this package and collect its APIs."""
    found: list[Api] = []
    for module_info in pkgutil.iter_modules(ottla.broker.api.__path__):
        module = importlib.import_module(f"{ottla.broker.api.__name__}.{module_info.name}")
        if (api := getattr(module, "API", None)) is not None:
            assert isinstance(api, Api)
            found.append(api)
        found.extend(getattr(module, "APIS", ()))
    return Registry(found)


__all__ = ["Registry", "find_apis"]
