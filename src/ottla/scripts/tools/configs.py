"""scripts/configs.sh: the configuration of topics and brokers is shown and changed while they run.

Quotas and users (`--entity-type users|clients|ips`) are not there yet.
"""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException

from ottla.scripts.tools import cluster_defaults
from ottla.scripts.tools.common import (
    REQUEST_S,
    Cluster,
    Failure,
    Parser,
    parser,
    read_properties,
    run,
    said,
)
from ottla.scripts.tools.rdkafka import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

PROG = "configs.sh"
KINDS = {"topics": ResourceType.TOPIC, "brokers": ResourceType.BROKER}
OWN = {
    "topics": ConfigSource.DYNAMIC_TOPIC_CONFIG.value,
    "brokers": ConfigSource.DYNAMIC_BROKER_CONFIG.value,
}
_SETTING = re.compile(r"\s*([^=,\s]+)\s*=\s*(\[[^\]]*\]|[^,]*)(?:,|$)")


def _parser() -> Parser:
    made = parser(PROG, "Shows and changes the configuration of topics and brokers.")
    action = made.add_mutually_exclusive_group(required=True)
    action.add_argument("--alter", action="store_true", help="change an entity's configuration")
    action.add_argument("--describe", action="store_true", help="show it")
    made.add_argument("--entity-type", metavar="topics|brokers")
    made.add_argument("--entity-name", help="a topic's name or a broker's id")
    made.add_argument("--entity-default", action="store_true", help="all brokers together")
    made.add_argument("--topic", help="short for --entity-type topics --entity-name")
    made.add_argument("--broker", help="short for --entity-type brokers --entity-name")
    made.add_argument("--broker-defaults", action="store_true",
                      help="short for --entity-type brokers --entity-default")  # fmt: skip
    made.add_argument("--add-config", metavar="K=V,K=[V,V]", help="keys to set")
    made.add_argument("--add-config-file", metavar="FILE", help="the same from a properties file")
    made.add_argument("--delete-config", metavar="K,K", help="keys that go back to their defaults")
    made.add_argument("--all", action="store_true", help="show what is not set, too")
    return made


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    kind, name = _entity(arguments)
    try:
        if arguments.alter:
            _alter(arguments, kind, name)
        else:
            _describe(arguments, kind, name)
    except KafkaException as error:
        raise Failure(f"error while executing config command: {said(error)}") from error
    return 0


def _entity(arguments: argparse.Namespace) -> tuple[str, str | None]:
    """Type and name; "" is the default of all brokers, None every entity."""
    kind: str | None = arguments.entity_type
    name: str | None = "" if arguments.entity_default else arguments.entity_name
    if arguments.topic is not None:
        kind, name = "topics", arguments.topic
    elif arguments.broker is not None:
        kind, name = "brokers", arguments.broker
    elif arguments.broker_defaults:
        kind, name = "brokers", ""
    if kind is None:
        raise Failure("--entity-type is needed: topics or brokers")
    if kind not in KINDS:
        raise Failure(f"entities of type {kind} are not there yet; topics and brokers are")
    if name == "" and kind == "topics":
        raise Failure("topics have no default entity; the defaults are keys of the brokers")
    if kind == "brokers" and name and not name.isdecimal():
        raise Failure(f"a broker's name is its id, a number, and not {name!r}")
    return kind, name


def _alter(arguments: argparse.Namespace, kind: str, name: str | None) -> None:
    if name is None:
        raise Failure("--alter needs --entity-name, or --entity-default for all brokers")
    wanted = settings(arguments.add_config or "")
    if arguments.add_config_file:
        if wanted:
            raise Failure("--add-config and --add-config-file exclude each other")
        wanted = read_properties(arguments.add_config_file)
    gone = [key.strip() for key in (arguments.delete_config or "").split(",") if key.strip()]
    if not wanted and not gone:
        raise Failure("--alter needs --add-config, --add-config-file or --delete-config")
    if both := sorted(wanted.keys() & set(gone)):
        raise Failure(f"set and deleted at the same time: {', '.join(both)}")
    if name == "":
        there = {each.name for each in cluster_defaults.describe(arguments.bootstrap_server)}
        _require_set(gone, there)
        cluster_defaults.alter(arguments.bootstrap_server, wanted, gone)
        print("Completed updating default config for brokers in the cluster.")
        return
    cluster = Cluster(arguments)
    _require_entity(cluster, kind, name)
    if gone:
        found = _entries(cluster, kind, name)
        _require_set(gone, {key for key, one in found.items() if one.source == OWN[kind]})
    operations = [
        *(
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in wanted.items()
        ),
        *(ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE) for key in gone),
    ]
    resource = ConfigResource(KINDS[kind], name, incremental_configs=operations)
    answers = cluster.admin.incremental_alter_configs([resource], request_timeout=REQUEST_S)
    answers[resource].result(REQUEST_S + 5)
    print(f"Completed updating config for {kind[:-1]} {name}.")


def settings(text: str) -> dict[str, str]:
    """`k=v,k=[v,v]`, brackets around a value with commas. Failure."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _SETTING.match(text, at)
        if match is None:
            raise Failure(f"--add-config takes key=value with commas, not {text[at:]!r}")
        key, value = match.groups()
        found[key] = value[1:-1] if value.startswith("[") and value.endswith("]") else value.strip()
        at = match.end()
    return found


def _require_set(gone: list[str], there: set[str]) -> None:
    if unset := [key for key in gone if key not in there]:
        raise Failure(f"not set, so not to be deleted: {', '.join(unset)}")


def _require_entity(cluster: Cluster, kind: str, name: str) -> None:
    if kind == "topics":
        cluster.partitions(name)
    elif int(name) not in cluster.broker_ids:
        raise Failure(f"there is no broker {name}; there are {cluster.broker_ids}")


def _entries(cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    resource = ConfigResource(KINDS[kind], name)
    answers = cluster.admin.describe_configs([resource], request_timeout=REQUEST_S)
    found: dict[str, Any] = answers[resource].result(REQUEST_S + 5)
    return found


def _describe(arguments: argparse.Namespace, kind: str, name: str | None) -> None:
    if name == "":
        _describe_defaults(arguments.bootstrap_server)
        return
    cluster = Cluster(arguments)
    if name is not None:
        _require_entity(cluster, kind, name)
        names = [name]
    else:
        names = cluster.topics() if kind == "topics" else list(map(str, cluster.broker_ids))
    for each in names:
        print(f"{'All' if arguments.all else 'Dynamic'} configs for {kind[:-1]} {each} are:")
        for key, entry in sorted(_entries(cluster, kind, each).items()):
            if arguments.all or entry.source == OWN[kind]:
                _line(key, entry.value, entry.is_sensitive, _synonyms(entry))
    if name is None and kind == "brokers":
        _describe_defaults(arguments.bootstrap_server)


def _synonyms(entry: Any) -> list[str]:  # noqa: ANN401 - confluent-kafka's ConfigEntry
    """Of several with one name the client keeps the last; the entry itself is the first."""
    found = [(entry.source, entry.name, entry.value)]
    found += [(one.source, one.name, one.value) for one in entry.synonyms.values()]
    if not entry.synonyms:
        return []
    return [
        f"{ConfigSource(source).name}:{name}={_shown(value)}"
        for at, (source, name, value) in enumerate(found)
        if (source, name, value) not in found[:at]
    ]


def _describe_defaults(bootstrap: str) -> None:
    print("Default configs for brokers in the cluster are:")
    for one in sorted(cluster_defaults.describe(bootstrap), key=lambda one: one.name):
        synonyms = [
            f"DYNAMIC_DEFAULT_BROKER_CONFIG:{each.name}={_shown(each.value)}"
            for each in one.synonyms
        ]
        _line(one.name, one.value, one.is_sensitive, synonyms)


def _shown(value: str | None) -> str:
    return "null" if value is None else value


def _line(key: str, value: str | None, sensitive: bool, synonyms: list[str]) -> None:
    print(
        f"  {key}={_shown(value)} sensitive={str(bool(sensitive)).lower()}"
        f" synonyms={{{', '.join(synonyms)}}}"
    )


if __name__ == "__main__":
    run(PROG, main)
