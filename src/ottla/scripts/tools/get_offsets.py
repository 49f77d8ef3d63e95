"""scripts/get-offsets.sh: offsets of topics' partitions by time, `topic:partition:offset`."""

import argparse
import re
from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaException, TopicPartition

from ottla.scripts.tools.common import (
    INTERNAL,
    REQUEST_S,
    Cluster,
    Failure,
    Parser,
    parser,
    run,
    said,
)
from ottla.scripts.tools.rdkafka import OffsetSpec

PROG = "get-offsets.sh"
_NAMED = {
    "latest": "latest",
    "-1": "latest",
    "earliest": "earliest",
    "-2": "earliest",
    "max-timestamp": "max_timestamp",
    "-3": "max_timestamp",
}
_PIECE = re.compile(r"(?P<topic>[^:]*)(?::(?P<first>\d+)?(?P<dash>-)?(?P<end>\d+)?)?")


def _parser() -> Parser:
    made = parser(PROG, "Prints offsets of partitions: the end, the start, or at a time.")
    made.add_argument("--topic", help="a regular expression; all topics without it")
    made.add_argument("--partitions", metavar="0,1", help="all of a topic without it")
    made.add_argument("--topic-partitions", metavar="T:0,T:1-3",
                      help="pairs of topic and partitions, the end not included")  # fmt: skip
    made.add_argument("--time", default="latest", metavar="TIME",
                      help="latest, earliest, max-timestamp (-1, -2, -3), or milliseconds"
                      " since 1970: the first offset not before them")  # fmt: skip
    made.add_argument("--exclude-internal-topics", action="store_true")
    return made


def main(words: Sequence[str]) -> int:
    # argparse takes `--time -1` for a flag of its own.
    joined = [f"--time={words[at + 1]}" if word == "--time" and at + 1 < len(words) else word
              for at, word in enumerate(words) if at == 0 or words[at - 1] != "--time"]  # fmt: skip
    arguments = _parser().parse_args(joined)
    spec = _spec(arguments.time)
    cluster = Cluster(arguments)
    wanted = [TopicPartition(topic, one) for topic, one in _wanted(cluster, arguments)]
    if not wanted:
        raise Failure("no topic-partitions match what was asked for")
    answers = cluster.admin.list_offsets(dict.fromkeys(wanted, spec), request_timeout=REQUEST_S)
    failed = False
    for tp in wanted:
        try:
            offset = answers[tp].result(REQUEST_S + 5).offset
        except KafkaException as error:
            print(f"{tp.topic}:{tp.partition}: {said(error)}")
            failed = True
        else:
            print(f"{tp.topic}:{tp.partition}:{'' if offset < 0 else offset}")
    return 1 if failed else 0


def _spec(text: str) -> OffsetSpec:
    spec: OffsetSpec
    try:
        name = _NAMED.get(text)
        spec = OffsetSpec.for_timestamp(int(text)) if name is None else getattr(OffsetSpec, name)()
    except ValueError:
        raise Failure(
            f"--time is latest, earliest, max-timestamp or a number, not {text!r}"
        ) from None
    return spec


def _wanted(cluster: Cluster, arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    if arguments.topic_partitions and (arguments.topic or arguments.partitions):
        raise Failure("--topic-partitions takes the place of --topic and --partitions")
    pieces = _pieces(arguments)
    for topic in cluster.topics():
        if arguments.exclude_internal_topics and topic in INTERNAL:
            continue
        for partition in cluster.partitions(topic):
            if any(name.fullmatch(topic) and partition in which for name, which in pieces):
                yield topic, partition


def _pieces(arguments: argparse.Namespace) -> list[tuple[re.Pattern[str], range | set[int]]]:
    everything = range(1 << 31)
    try:
        if not arguments.topic_partitions:
            names = re.compile((arguments.topic or ".*").replace(",", "|"))
            if not arguments.partitions:
                return [(names, everything)]
            return [(names, {int(one) for one in arguments.partitions.split(",")})]
        found: list[tuple[re.Pattern[str], range | set[int]]] = []
        for text in arguments.topic_partitions.split(","):
            match = _PIECE.fullmatch(text.strip())
            if match is None:
                raise ValueError(text)
            first, end = match["first"], match["end"]
            if first is None and end is None:
                which = everything
            elif match["dash"]:
                which = range(int(first or 0), int(end) if end else everything.stop)
            else:
                which = range(int(first), int(first) + 1)
            found.append((re.compile(match["topic"] or ".*"), which))
        return found
    except (ValueError, re.error) as error:
        raise Failure(f"partitions are numbers, names regular expressions: {error}") from error


if __name__ == "__main__":
    run(PROG, main)
