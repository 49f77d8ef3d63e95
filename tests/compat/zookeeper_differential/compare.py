"""Play conversations to both servers: `python -m tests.compat.zookeeper_differential.compare`."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.compat.zookeeper_differential.servers import ottla, zookeeper
from tests.compat.zookeeper_differential.steps import LETTERS, conversation
from tests.compat.zookeeper_differential.world import World
from tests.support.jars import ZOOKEEPER

Ports = tuple[Sequence[int], Sequence[int]]
"""Of ZooKeeper's members and of Ottla's."""


def difference(ports: Ports, seed: int, length: int) -> list[str]:
    """What the servers do not agree on in a conversation, with the steps before; [] if nothing."""
    worlds = [World(members, LETTERS) for members in ports]
    try:
        done: list[str] = []
        for number, step in enumerate(conversation(seed, length)):
            shown = [world.play(number, step) for world in worlds]
            done.append(f"{number}: {step}")
            if shown[0] != shown[1]:
                return [
                    *done[-40:],
                    *(f"ZooKeeper: {line}" for line in shown[0]),
                    *(f"Ottla:     {line}" for line in shown[1]),
                ]
        return []
    finally:
        for world in worlds:
            world.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--members", type=int, default=1, help="of Ottla's ensemble")
    parser.add_argument("--stop", action="store_true", help="at the first difference")
    parser.add_argument("--tail", type=int, default=8, help="lines of each difference")
    wanted = parser.parse_args()
    jars = ZOOKEEPER.named()
    if jars is None:
        print("OTTLA_ZOOKEEPER_LIBS must name the jars of ZooKeeper 3.9; java must be there")
        return 2
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        ports = (
            stack.enter_context(zookeeper(Path(directory) / "zookeeper", jars)),
            stack.enter_context(ottla(Path(directory) / "ottla", wanted.members)),
        )
        for seed in range(wanted.seed, wanted.seed + wanted.count):
            lines = difference(ports, seed, wanted.length)
            if lines:
                print(f"--- seed {seed}", *lines[-wanted.tail :], sep="\n")
                found["differ"] += 1
                if wanted.stop:
                    break
            else:
                found["same"] += 1
    print(dict(found))
    return 1 if found["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
