"""scripts/topics.sh: topics are listed, described, made, given more partitions, deleted."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from ottla.scripts.tools.common import (
    INTERNAL,
    REQUEST_S,
    Cluster,
    Failure,
    Parser,
    pairs,
    parser,
    run,
    said,
)
from ottla.scripts.tools.rdkafka import (
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

PROG = "topics.sh"


def _parser() -> Parser:
    made = parser(PROG, "Makes, lists, describes, changes and deletes topics.")
    action = made.add_mutually_exclusive_group(required=True)
    action.add_argument("--create", action="store_true", help="make a topic")
    action.add_argument("--list", action="store_true", help="names of all topics")
    action.add_argument("--describe", action="store_true", help="partitions, replicas, settings")
    action.add_argument("--alter", action="store_true", help="give a topic more partitions")
    action.add_argument("--delete", action="store_true", help="delete topics")
    made.add_argument("--topic", help="a name; but for --create also a regular expression")
    made.add_argument("--partitions", type=int, help="how many, for --create and --alter")
    made.add_argument("--replication-factor", type=int, help="replicas of each partition")
    made.add_argument("--replica-assignment", metavar="1:2,2:3",
                      help="brokers of each partition, in place of numbers")  # fmt: skip
    made.add_argument("--config", action="append", metavar="K=V", help="a setting, for --create")
    made.add_argument("--if-exists", action="store_true", help="no error without the topic")
    made.add_argument("--if-not-exists", action="store_true", help="no error with the topic")
    made.add_argument("--exclude-internal", action="store_true", help="no internal topics")
    made.add_argument("--under-replicated-partitions", action="store_true")
    made.add_argument("--unavailable-partitions", action="store_true")
    made.add_argument("--topics-with-overrides", action="store_true")
    return made


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    if (arguments.create or arguments.alter or arguments.delete) and not arguments.topic:
        raise Failure("--topic is needed")
    if arguments.alter and arguments.config:
        raise Failure("settings are changed with configs.sh --alter --entity-type topics")
    try:
        if arguments.create:
            _create(arguments)
        elif arguments.list:
            for name in _chosen(Cluster(arguments), arguments):
                print(name)
        elif arguments.describe:
            _describe(arguments)
        elif arguments.alter:
            _alter(arguments)
        else:
            _delete(arguments)
    except KafkaException as error:
        raise Failure(f"error while executing topic command: {said(error)}") from error
    return 0


def _chosen(cluster: Cluster, arguments: argparse.Namespace, *, must: bool = False) -> list[str]:
    """Existing topics that --topic asks for. `must`: Failure when it is none, unless told."""
    names = cluster.topics()
    if arguments.exclude_internal:
        names = [name for name in names if name not in INTERNAL]
    if arguments.topic is None:
        return names
    try:
        wanted = re.compile(arguments.topic.strip().replace(",", "|").strip("\"'"))
    except re.error as error:
        raise Failure(f"{arguments.topic!r} is no regular expression: {error}") from error
    found = [name for name in names if wanted.fullmatch(name)]
    if not found and must and not arguments.if_exists:
        raise Failure(f"topic '{arguments.topic}' does not exist as expected")
    return found


def _create(arguments: argparse.Namespace) -> None:
    name = arguments.topic
    if "." in name or "_" in name:
        print(
            "WARNING: topics whose names differ by '.' against '_' alone have the same metrics;"
            " it is best to use only one of the two.",
            file=sys.stderr,
        )
    placed: dict[str, Any] = {}
    if arguments.replica_assignment:
        if arguments.partitions is not None or arguments.replication_factor is not None:
            raise Failure("--replica-assignment takes the place of both numbers")
        placed = {
            "num_partitions": arguments.replica_assignment.count(",") + 1,
            "replica_assignment": _assignment(arguments.replica_assignment),
        }
    else:
        placed = {
            "num_partitions": -1 if arguments.partitions is None else arguments.partitions,
            "replication_factor": arguments.replication_factor or -1,
        }
        if arguments.partitions is not None and arguments.partitions < 1:
            raise Failure("--partitions is a number above 0")
    topic = NewTopic(name, config=pairs(arguments.config, "--config"), **placed)
    cluster = Cluster(arguments)
    if arguments.if_not_exists and name in cluster.topics():
        return
    cluster.admin.create_topics([topic], request_timeout=REQUEST_S)[name].result(REQUEST_S + 5)
    print(f"Created topic {name}.")


def _assignment(text: str) -> list[list[int]]:
    try:
        return [[int(broker) for broker in part.split(":")] for part in text.split(",")]
    except ValueError:
        raise Failure(
            f"--replica-assignment takes broker ids as in 1:2,2:3, not {text!r}"
        ) from None


def _alter(arguments: argparse.Namespace) -> None:
    if arguments.partitions is None:
        raise Failure("--alter needs --partitions")
    cluster = Cluster(arguments)
    wishes = [
        NewPartitions(name, arguments.partitions) for name in _chosen(cluster, arguments, must=True)
    ]
    if wishes:
        for future in cluster.admin.create_partitions(wishes, request_timeout=REQUEST_S).values():
            future.result(REQUEST_S + 5)


def _delete(arguments: argparse.Namespace) -> None:
    cluster = Cluster(arguments)
    names = _chosen(cluster, arguments, must=True)
    if names:
        for future in cluster.admin.delete_topics(names, request_timeout=REQUEST_S).values():
            future.result(REQUEST_S + 5)


def _describe(arguments: argparse.Namespace) -> None:
    cluster = Cluster(arguments)
    names = _chosen(cluster, arguments, must=True)
    if not names:
        return
    filtered = arguments.under_replicated_partitions or arguments.unavailable_partitions
    settings = _settings(cluster.admin, names)
    described = cluster.admin.describe_topics(TopicCollection(names), request_timeout=REQUEST_S)
    for name in names:
        topic = described[name].result(REQUEST_S + 5)
        own = {key: entry.value for key, entry in settings[name].items() if _is_own(entry)}
        if arguments.topics_with_overrides and not own:
            continue
        if not filtered:
            shown = ",".join(
                f"{key}={entry.value}"
                for key, entry in settings[name].items()
                if entry.source != ConfigSource.DEFAULT_CONFIG.value
            )
            # librdkafka writes ids in plain base64, Kafka in the one for addresses.
            topic_id = str(topic.topic_id).translate(str.maketrans("+/", "-_"))
            factor = len(topic.partitions[0].replicas) if topic.partitions else 0
            print(
                f"Topic: {name}\tTopicId: {topic_id}\tPartitionCount: {len(topic.partitions)}"
                f"\tReplicationFactor: {factor}\tConfigs: {shown}"
            )
        if not arguments.topics_with_overrides:
            _describe_partitions(name, topic, arguments)


def _settings(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=REQUEST_S)
    return {resource.name: future.result(REQUEST_S + 5) for resource, future in answers.items()}


def _is_own(entry: Any) -> bool:  # noqa: ANN401 - confluent-kafka's ConfigEntry has no types
    return bool(entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value)


def _describe_partitions(name: str, topic: Any, arguments: argparse.Namespace) -> None:  # noqa: ANN401
    for one in topic.partitions:
        leader = None if one.leader is None or one.leader.id < 0 else one.leader.id
        if arguments.under_replicated_partitions and len(one.isr) >= len(one.replicas):
            continue
        if arguments.unavailable_partitions and leader is not None:
            continue
        replicas = ",".join(str(node.id) for node in one.replicas)
        isr = ",".join(str(node.id) for node in one.isr)
        print(
            f"\tTopic: {name}\tPartition: {one.id}\tLeader: {'none' if leader is None else leader}"
            f"\tReplicas: {replicas}\tIsr: {isr}\tElr: N/A\tLastKnownElr: N/A"
        )


if __name__ == "__main__":
    run(PROG, main)
