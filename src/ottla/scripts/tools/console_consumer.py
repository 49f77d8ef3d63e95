"""scripts/console-consumer.sh: prints records as they come.

Properties of the output: `print.timestamp`, `print.partition`, `print.offset`, `print.headers`,
`print.key`, `print.value` (on), `key.separator` (a tab), `line.separator`, `headers.separator` (a
comma), `null.literal`. Bytes are printed as they are.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from ottla.scripts.tools.common import (
    Failure,
    Heard,
    Parser,
    client_config,
    connect,
    pairs,
    parser,
    reach,
    run,
    said,
)

PROG = "console-consumer.sh"
_STAMPS = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
PROPERTIES = frozenset(
    {"print.timestamp", "print.partition", "print.offset", "print.headers", "print.key",
     "print.value", "key.separator", "line.separator", "headers.separator", "null.literal"}
)  # fmt: skip


def _parser() -> Parser:
    made = parser(PROG, "Prints records of a topic.", config_flag="--consumer.config")
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--topic")
    which.add_argument("--include", metavar="REGEX", help="all topics of such names")
    made.add_argument("--from-beginning", action="store_true",
                      help="from the first record, where the group has no offset yet")  # fmt: skip
    made.add_argument("--group", help="a consumer group, which remembers where it was")
    made.add_argument("--partition", type=int, help="this partition only, without a group")
    made.add_argument("--offset", default="latest", metavar="OFFSET",
                      help="with --partition: a number, earliest or latest")  # fmt: skip
    made.add_argument("--max-messages", type=int, metavar="N", help="end after so many")
    made.add_argument("--timeout-ms", type=int, metavar="MS", help="end when none came so long")
    made.add_argument("--isolation-level", default="read_uncommitted",
                      choices=["read_committed", "read_uncommitted"])  # fmt: skip
    made.add_argument("--property", action="append", metavar="K=V", help="what is printed")
    made.add_argument("--consumer-property", action="append", metavar="K=V", help="for the client")
    return made


class Printer:
    """What a record looks like."""

    def __init__(self, properties: dict[str, str]) -> None:
        if unknown := sorted(properties.keys() - PROPERTIES):
            raise Failure(f"--property {unknown[0]}: there are {', '.join(sorted(PROPERTIES))}")
        null = properties.get("null.literal", "null").encode()
        headers_end = properties.get("headers.separator", ",").encode()
        self._between = properties.get("key.separator", "\t").encode()
        self._end = properties.get("line.separator", "\n").encode()

        def bytes_of(data: Any) -> bytes:  # noqa: ANN401 - bytes or None; stubs say str too
            return null if data is None else bytes(data)

        def headers_of(message: Message) -> bytes:
            headers: Any = message.headers()
            if not headers:
                return b"NO_HEADERS"
            return headers_end.join(key.encode() + b":" + bytes_of(v) for key, v in headers)

        parts: list[tuple[str, str, Callable[[Message], bytes]]] = [
            ("print.timestamp", "false", _stamp),
            (
                "print.partition",
                "false",
                lambda message: b"Partition:%d" % (message.partition() or 0),
            ),
            ("print.offset", "false", lambda message: b"Offset:%d" % (message.offset() or 0)),
            ("print.headers", "false", headers_of),
            ("print.key", "false", lambda message: bytes_of(message.key())),
            ("print.value", "true", lambda message: bytes_of(message.value())),
        ]
        self._parts = [
            part
            for name, default, part in parts
            if properties.get(name, default).strip().lower() == "true"
        ]

    def line(self, message: Message) -> bytes:
        return self._between.join(part(message) for part in self._parts) + self._end


def _stamp(message: Message) -> bytes:
    kind, at_ms = message.timestamp()
    name = _STAMPS.get(kind)
    return b"NO_TIMESTAMP" if name is None else f"{name}:{at_ms}".encode()


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    printer = Printer(pairs(arguments.property, "--property"))
    heard = Heard()
    consumer = connect(lambda: Consumer(_settings(arguments, heard)))
    count = 0
    try:
        reach(consumer, arguments.bootstrap_server, heard)
        _begin(consumer, arguments)
        count = _print_all(consumer, printer, arguments)
    except KafkaException as error:
        raise Failure(said(error)) from error
    finally:
        consumer.close()
        print(f"Processed a total of {count} messages", file=sys.stderr)
    return 0


def _settings(arguments: argparse.Namespace, heard: Heard) -> dict[str, object]:
    more = pairs(arguments.consumer_property, "--consumer-property")
    group = arguments.group or more.pop("group.id", None)
    if arguments.partition is not None and group:
        raise Failure("--partition and --group exclude each other")
    own: dict[str, object] = {
        "group.id": group or f"console-consumer-{secrets.randbelow(100_000)}",
        "enable.auto.commit": bool(group),
        "auto.offset.reset": "earliest" if arguments.from_beginning else "latest",
        "allow.auto.create.topics": True,
        "isolation.level": arguments.isolation_level,
        "error_cb": heard,
    }
    return client_config(arguments, **(own | more))


def _begin(consumer: Consumer, arguments: argparse.Namespace) -> None:
    if arguments.partition is None:
        topic = arguments.topic if arguments.include is None else f"^({arguments.include})$"
        consumer.subscribe([topic])
        return
    if arguments.include is not None:
        raise Failure("--partition needs --topic")
    named = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
    try:
        offset = named.get(arguments.offset)
        offset = int(arguments.offset) if offset is None else offset
    except ValueError:
        raise Failure(
            f"--offset is a number, earliest or latest, not {arguments.offset!r}"
        ) from None
    if arguments.from_beginning:
        offset = OFFSET_BEGINNING
    consumer.assign([TopicPartition(arguments.topic, arguments.partition, offset)])


def _print_all(consumer: Consumer, printer: Printer, arguments: argparse.Namespace) -> int:
    """Print until enough were printed or none came in time; how many."""
    output = sys.stdout.buffer
    count = 0
    waited_s = None if arguments.timeout_ms is None else arguments.timeout_ms / 1000
    last = time.monotonic()
    while arguments.max_messages is None or count < arguments.max_messages:
        message = consumer.poll(0.1 if waited_s is None else min(0.1, waited_s))
        now = time.monotonic()
        if message is None:
            output.flush()
            if waited_s is not None and now - last >= waited_s:
                break
            continue
        error = message.error()
        if error is None:
            output.write(printer.line(message))
            count += 1
            last = now
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            # It may be made yet, as by the first producer; said once for each time that is asked.
            print(f"WARN: {error.str()}", file=sys.stderr)
        elif error.name() != "_PARTITION_EOF":
            raise Failure(error.str())
    output.flush()
    return count


if __name__ == "__main__":
    run(PROG, main)
