"""What a process has imported late, or compiled when it was first used.

A process that is forked off later starts with it when the one it comes from has learned it.
"""

import importlib
import sys
from collections.abc import Iterable

from ottla.protocol.kafka.decoding import decoder_of
from ottla.protocol.kafka.encoding import encoder_of
from ottla.protocol.kafka.schema import Struct

Codec = tuple[type[Struct], int, bool]
"""A message or a part of one, its version, and whether it is written (or read)."""


def experience() -> set[str | Codec]:
    """The modules and codecs that this process has."""
    known: set[str | Codec] = set(sys.modules)
    for cls in Struct.__subclasses__():
        schema = cls.__schema__
        known.update((cls, version, True) for version in schema.encoders)
        known.update((cls, version, False) for version in schema.decoders)
    return known


def learn(news: Iterable[str | Codec]) -> None:
    """Have them too."""
    for each in news:
        if isinstance(each, str):
            importlib.import_module(each)
        else:
            cls, version, writes = each
            (encoder_of if writes else decoder_of)(cls.__schema__, version)


__all__ = ["experience", "learn"]
