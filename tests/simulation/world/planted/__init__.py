"""Bugs that are planted at run time, to see that the simulation finds them.

`bugs` says what one is; `ensemble`, `replication`, `controller`, `groups`, `moves` and `topics`
hold them; `search` looks for them; `table` writes `docs/planted-bugs.md`.
"""

from tests.simulation.world.planted import (
    controller,
    ensemble,
    groups,
    moves,
    replication,
    topics,
)
from tests.simulation.world.planted.bugs import PLANTED, patched, plant
from tests.simulation.world.planted.search import SEEDS, Catch, search
from tests.simulation.world.planted.table import table

__all__ = [
    "PLANTED",
    "SEEDS",
    "Catch",
    "controller",
    "ensemble",
    "groups",
    "moves",
    "patched",
    "plant",
    "replication",
    "search",
    "table",
    "topics",
]
