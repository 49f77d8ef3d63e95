"""The JSON files of `reassign-partitions.sh`: which partition on which brokers and directories."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ottla.scripts.tools.common import Failure

ANY = "any"
"""A log directory of the broker's own choice."""


class Partition(NamedTuple):
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.number}"


Plan = dict[Partition, list[tuple[int, str]]]
"""Each partition's brokers, the preferred leader first, with a log directory or ANY."""


def encode_plan(plan: Plan) -> str:
    """One line, as Kafka's tool prints and reads it."""
    partitions = [
        {
            "topic": each.topic,
            "partition": each.number,
            "replicas": [replica for replica, _ in replicas],
            "log_dirs": [directory for _, directory in replicas],
        }
        for each, replicas in sorted(plan.items())
    ]
    return json.dumps({"version": 1, "partitions": partitions}, separators=(",", ":"))


def read_plan(path: str) -> Plan:
    """Failure names what is wrong with the file."""
    plan: Plan = {}
    for each in _entries(path, "partitions"):
        try:
            partition = Partition(str(each["topic"]), int(each["partition"]))
            replicas = [int(replica) for replica in each["replicas"]]
            directories: Sequence[str] = each.get("log_dirs") or [ANY] * len(replicas)
        except (KeyError, TypeError, ValueError) as error:
            raise Failure(f"{path}: {each}: {error!r}") from error
        if len(directories) != len(replicas):
            raise Failure(
                f"{path}: {partition} has {len(replicas)} replicas and {len(directories)} log_dirs"
            )
        if not replicas:
            raise Failure(f"{path}: Partition replica assignment list for {partition} is empty")
        if len(set(replicas)) != len(replicas):
            raise Failure(f"{path}: {partition} contains duplicate replicas")
        if partition in plan:
            raise Failure(f"{path}: {partition} is there twice")
        plan[partition] = list(zip(replicas, directories, strict=True))
    if not plan:
        raise Failure(f"{path}: Partition reassignment list cannot be empty")
    return plan


def read_topics(path: str) -> list[str]:
    """Of a file `{"version":1,"topics":[{"topic":"t"},...]}`. Failure."""
    try:
        topics = [str(each["topic"]) for each in _entries(path, "topics")]
    except (KeyError, TypeError) as error:
        raise Failure(f"{path}: {error!r}") from error
    if not topics or len(set(topics)) != len(topics):
        raise Failure(f"{path} has to name topics, each once")
    return topics


def _entries(path: str, what: str) -> list[Any]:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found.get("version", 1) != 1:
            raise Failure(f"{path}: Not supported version field value {found['version']}")
        entries = found[what]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise Failure(f"{path}: {error!r}") from error
    if not isinstance(entries, list):
        raise Failure(f"{path}: {what} is no list")
    return entries


__all__ = ["ANY", "Partition", "Plan", "encode_plan", "read_plan", "read_topics"]
