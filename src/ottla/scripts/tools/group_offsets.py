"""Offsets of consumer groups: what is committed, where partitions end, and moving the one."""

import argparse
import csv
import datetime
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from ottla.scripts.tools.common import REQUEST_S, Cluster, Failure, Parser
from ottla.scripts.tools.rdkafka import OffsetSpec

Place = tuple[str, int]

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


def add_flags(made: Parser) -> None:
    """The flags of --reset-offsets."""
    made.add_argument("--topic", action="append", metavar="T[:P,P]",
                      help="with --reset-offsets: whose offsets; may be repeated")  # fmt: skip
    made.add_argument("--all-topics", action="store_true", help="all that the group has offsets of")
    doing = made.add_mutually_exclusive_group()
    doing.add_argument("--execute", action="store_true", help="do it")
    doing.add_argument("--dry-run", action="store_true", help="show what would be done (default)")
    made.add_argument("--export", action="store_true", help="print it as lines of CSV")
    target = made.add_mutually_exclusive_group()
    target.add_argument("--to-earliest", action="store_true")
    target.add_argument("--to-latest", action="store_true")
    target.add_argument("--to-current", action="store_true")
    target.add_argument("--to-offset", type=int, metavar="N")
    target.add_argument("--shift-by", type=int, metavar="N", help="forward, or back when negative")
    target.add_argument("--to-datetime", metavar="YYYY-MM-DDTHH:mm:SS.sss")
    target.add_argument("--by-duration", metavar="PnDTnHnMnS", help="so far back from now")
    target.add_argument("--from-file", metavar="CSV", help="lines of topic,partition,offset")


def committed(cluster: Cluster, group: str) -> dict[Place, int]:
    """The offsets of a group, in all topics."""
    asked = ConsumerGroupTopicPartitions(group)
    answers = cluster.admin.list_consumer_group_offsets([asked], request_timeout=REQUEST_S)
    found = answers[group].result(REQUEST_S + 5).topic_partitions
    return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}


def starts(cluster: Cluster, places: Iterable[Place]) -> dict[Place, int]:
    return _listed(cluster, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def ends(cluster: Cluster, places: Iterable[Place]) -> dict[Place, int]:
    """Without partitions that are not there any more."""
    return _listed(cluster, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def _listed(cluster: Cluster, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
    wanted = {place: TopicPartition(*place) for place in places}
    if not wanted:
        return {}
    answers = cluster.admin.list_offsets(
        dict.fromkeys(wanted.values(), spec), request_timeout=REQUEST_S
    )
    found = {}
    for place, tp in wanted.items():
        try:
            found[place] = answers[tp].result(REQUEST_S + 5).offset
        except KafkaException:
            continue
    return found


def reset(cluster: Cluster, group: str, described: Any, arguments: argparse.Namespace) -> None:  # noqa: ANN401
    """Move a group's offsets, or show where they would be. Failure while it has members."""
    if described.members:
        raise Failure(
            f"offsets of group '{group}' can only be reset while it has no members; it has"
            f" {len(described.members)}"
        )
    have = committed(cluster, group)
    new = _target(cluster, have, arguments)
    if arguments.execute and new:
        moved = ConsumerGroupTopicPartitions(
            group, [TopicPartition(*place, offset) for place, offset in new.items()]
        )
        answers = cluster.admin.alter_consumer_group_offsets([moved], request_timeout=REQUEST_S)
        for tp in answers[group].result(REQUEST_S + 5).topic_partitions:
            if tp.error is not None:
                raise Failure(f"{tp.topic}-{tp.partition}: {tp.error.str()}")
    elif not arguments.dry_run and not arguments.export:
        print("WARN: nothing is changed without --execute.", file=sys.stderr)
    if arguments.export:
        for (topic, partition), offset in new.items():
            print(f"{topic},{partition},{offset}")
        return
    print(f"\n{'GROUP':<30} {'TOPIC':<30} {'PARTITION':<10} NEW-OFFSET")
    for (topic, partition), offset in new.items():
        print(f"{group:<30} {topic:<30} {partition:<10} {offset}")


def _target(
    cluster: Cluster, have: dict[Place, int], arguments: argparse.Namespace
) -> dict[Place, int]:
    """Where each partition goes; kept between the partition's start and end."""
    if arguments.from_file:
        wanted = _from_file(arguments.from_file)
        return _within(cluster, wanted)
    places = _places(cluster, have, arguments)
    if arguments.to_earliest:
        return starts(cluster, places)
    if arguments.to_latest:
        return ends(cluster, places)
    if arguments.to_current:
        return {
            **ends(cluster, places),
            **{place: have[place] for place in places if place in have},
        }
    if arguments.to_offset is not None:
        return _within(cluster, dict.fromkeys(places, arguments.to_offset))
    if arguments.shift_by is not None:
        if missing := [place for place in places if place not in have]:
            topic, partition = missing[0]
            raise Failure(f"{topic}-{partition} has no offset that could be shifted")
        return _within(cluster, {place: have[place] + arguments.shift_by for place in places})
    at_ms = _time_ms(arguments)
    if at_ms is None:
        raise Failure(
            "--reset-offsets needs one of --to-earliest, --to-latest, --to-current, --to-offset,"
            " --shift-by, --to-datetime, --by-duration, --from-file"
        )
    found = _listed(cluster, places, OffsetSpec.for_timestamp(at_ms))
    last = ends(cluster, places)
    return {place: last[place] if offset < 0 else offset for place, offset in found.items()}


def _within(cluster: Cluster, wanted: dict[Place, int]) -> dict[Place, int]:
    first, end = starts(cluster, wanted), ends(cluster, wanted)
    if missing := [place for place in wanted if place not in first or place not in end]:
        raise Failure(f"there is no partition {missing[0][0]}-{missing[0][1]}")
    return {place: min(max(at, first[place]), end[place]) for place, at in wanted.items()}


def _places(
    cluster: Cluster, have: dict[Place, int], arguments: argparse.Namespace
) -> Sequence[Place]:
    if arguments.all_topics:
        return sorted(have)
    if not arguments.topic:
        raise Failure("--reset-offsets needs --topic, --all-topics or --from-file")
    found: list[Place] = []
    for text in arguments.topic:
        topic, colon, which = text.partition(":")
        there = cluster.partitions(topic)
        try:
            wanted = [int(each) for each in which.split(",")] if colon else there
        except ValueError:
            raise Failure(f"--topic takes NAME or NAME:0,1, not {text!r}") from None
        if missing := [each for each in wanted if each not in there]:
            raise Failure(f"there is no partition {topic}-{missing[0]}")
        found += [(topic, each) for each in wanted]
    return sorted(set(found))


def _from_file(path: str) -> dict[Place, int]:
    found = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                if row:
                    topic, partition, offset = row
                    found[topic, int(partition)] = int(offset)
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: lines are topic,partition,offset: {error}") from error
    return found


def _time_ms(arguments: argparse.Namespace) -> int | None:
    if arguments.to_datetime is not None:
        try:
            at = datetime.datetime.fromisoformat(arguments.to_datetime)
        except ValueError as error:
            raise Failure(f"--to-datetime: {error}") from error
        if at.tzinfo is None:
            at = at.replace(tzinfo=datetime.UTC)
        return int(at.timestamp() * 1000)
    if arguments.by_duration is not None:
        match = _DURATION.fullmatch(arguments.by_duration)
        if match is None or not any(match.groups()):
            raise Failure(f"--by-duration is like P1DT2H3M4S, not {arguments.by_duration!r}")
        back = datetime.timedelta(
            **{key: int(text or 0) for key, text in match.groupdict().items()}
        )
        return time.time_ns() // 1_000_000 - int(back.total_seconds() * 1000)
    return None


__all__ = ["add_flags", "committed", "ends", "reset", "starts"]
