"""What all tools share: flags, clients, and one way to end with a clear line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ottla.config.problems import ConfigError
from ottla.config.properties import read

INTERNAL = frozenset({"__consumer_offsets", "__transaction_state"})
REQUEST_S = 30.0
REACH_S = 10


class Failure(Exception):
    """What went wrong, in one line for the user."""


class Parser(argparse.ArgumentParser):
    """Wrong usage ends with exit code 1, as Kafka's tools do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser(prog: str, description: str, *, config_flag: str = "--command-config") -> Parser:
    """With the flags that every tool has."""
    made = Parser(prog=prog, description=description, allow_abbrev=False)
    made.add_argument(
        "--bootstrap-server",
        required=True,
        metavar="HOST:PORT,...",
        help="brokers of the cluster to begin with",
    )
    made.add_argument(config_flag, dest="client_config", metavar="FILE",
                      help="a properties file for the client")  # fmt: skip
    return made


def client_config(arguments: argparse.Namespace, **more: object) -> dict[str, Any]:
    """The settings of a confluent-kafka client: the flags over the file."""
    settings: dict[str, Any] = {"log_level": 2}
    if arguments.client_config:
        settings |= read_properties(arguments.client_config)
    return settings | {"bootstrap.servers": arguments.bootstrap_server} | more


def read_properties(path: str) -> dict[str, str]:
    """Failure names what is wrong with the file."""
    try:
        entries, problems = read(path)
    except (ConfigError, OSError) as error:
        raise Failure(str(error)) from error
    if problems:
        raise Failure("; ".join(map(str, problems)))
    return {entry.key: entry.value for entry in entries}


def pairs(words: Sequence[str] | None, flag: str) -> dict[str, str]:
    """`key=value` words of a flag that may be repeated."""
    found = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failure(f"{flag} takes key=value, not {word!r}")
        found[key.strip()] = value
    return found


class Heard:
    """What a client says went wrong on the way to the brokers; its `error_cb`."""

    def __init__(self) -> None:
        self.last: str | None = None
        self.all_down = False

    def __call__(self, error: KafkaError) -> None:
        if error.name() == "_ALL_BROKERS_DOWN":
            self.all_down = True
        else:
            self.last = error.str()


class Client(Protocol):
    """Any of confluent-kafka's clients."""

    def list_topics(self, *, timeout: float) -> Any: ...  # noqa: ANN401 - ClusterMetadata

    def poll(self, timeout: float) -> object: ...


def reach(client: Client, bootstrap: str, heard: Heard) -> Any:  # noqa: ANN401
    """The cluster's metadata. Failure when no broker answers."""
    for _ in range(REACH_S):
        try:
            return client.list_topics(timeout=1)
        except KafkaException as error:
            client.poll(0)  # calls `heard`
            reason = heard.last or said(error)
            if heard.all_down:
                break
    raise Failure(f"no broker of {bootstrap} answered: {reason}")


class Cluster:
    """An AdminClient that has reached the cluster; every wait is bounded."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Failure when no broker answers."""
        heard = Heard()
        self.admin = connect(lambda: AdminClient(client_config(arguments, error_cb=heard)))
        self.metadata = reach(self.admin, arguments.bootstrap_server, heard)

    @property
    def broker_ids(self) -> list[int]:
        return sorted(self.metadata.brokers)

    def topics(self) -> list[str]:
        """Names, in order."""
        return sorted(self.metadata.topics)

    def partitions(self, topic: str) -> list[int]:
        """Failure for a topic that does not exist."""
        found = self.metadata.topics.get(topic)
        if found is None or found.error is not None:
            raise Failure(f"topic '{topic}' does not exist")
        return sorted(found.partitions)


ClientT = TypeVar("ClientT")


def connect(make: Callable[[], ClientT]) -> ClientT:
    """A client. Failure when librdkafka does not take its settings."""
    try:
        return make()
    except KafkaException as error:
        raise Failure(said(error)) from error


def said(error: KafkaException) -> str:
    """The broker's or the client's own words."""
    inner = error.args[0] if error.args else error
    return inner.str() if isinstance(inner, KafkaError) else str(inner)


def run(prog: str, main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a tool as a program."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except Failure as error:
        print(f"{prog}: {error}", file=sys.stderr)
        code = 1
    except KafkaException as error:
        print(f"{prog}: {said(error)}", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        # Whoever read our output has had enough; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


__all__ = [
    "INTERNAL",
    "REQUEST_S",
    "Cluster",
    "Failure",
    "Heard",
    "Parser",
    "client_config",
    "connect",
    "pairs",
    "parser",
    "reach",
    "read_properties",
    "run",
    "said",
]
