"""The version ranges of the codec, by API."""

from typing import NamedTuple

from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.messages.registry import ENTRIES


class VersionRange(NamedTuple):
    """First and last version, both included."""

    first: int
    last: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and self.first <= version <= self.last


_RANGES = {api: VersionRange(entry.first, entry.last) for api, entry in ENTRIES.items()}


def valid_versions(api: ApiKey) -> VersionRange:
    """What the codec can read and write."""
    return _RANGES[api]


def advertised_versions(api: ApiKey) -> VersionRange:
    """What ApiVersions should say of an API that is served as far as the codec goes.

    Produce is said to start at 0: librdkafka gives up compression when its lowest version is above
    that (KAFKA-18659). Versions 0 to 2 carry record formats that are not served.
    """
    known = _RANGES[api]
    return VersionRange(0, known.last) if api is ApiKey.PRODUCE else known
