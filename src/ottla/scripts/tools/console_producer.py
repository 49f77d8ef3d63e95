"""scripts/console-producer.sh: a record from each line of the input.

Properties: `parse.key` with `key.separator` (a tab), `parse.headers` with `headers.delimiter` (a
tab), `headers.separator` (a comma) and `headers.key.separator` (a colon), `null.marker`,
`ignore.error`. A line is `headers <delimiter> key <separator> value`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, Producer

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
)

PROG = "console-producer.sh"
PROPERTIES = frozenset(
    {"parse.key", "key.separator", "parse.headers", "headers.delimiter", "headers.separator",
     "headers.key.separator", "null.marker", "ignore.error"}
)  # fmt: skip


def _parser() -> Parser:
    made = parser(PROG, "Writes a record for each line of the input.",
                  config_flag="--producer.config")  # fmt: skip
    made.add_argument("--topic", required=True)
    made.add_argument("--property", action="append", metavar="K=V", help="how lines are read")
    made.add_argument("--producer-property", action="append", metavar="K=V", help="for the client")
    made.add_argument("--compression-codec", nargs="?", const="gzip",
                      choices=["none", "gzip", "snappy", "lz4", "zstd"])  # fmt: skip
    made.add_argument("--request-required-acks", default="-1", choices=["0", "1", "-1", "all"])
    made.add_argument("--sync", action="store_true", help="wait for each record by itself")
    made.add_argument("--batch-size", type=int, default=16_384, metavar="BYTES")
    made.add_argument("--timeout", type=int, default=5, metavar="MS", help="wait for more so long")
    made.add_argument("--request-timeout-ms", type=int, default=30_000)
    return made


Headers = list[tuple[str, str | bytes | None]]


class Line(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Headers


class Reader:
    """Cuts lines as the properties say."""

    def __init__(self, properties: dict[str, str]) -> None:
        if unknown := sorted(properties.keys() - PROPERTIES):
            raise Failure(f"--property {unknown[0]}: there are {', '.join(sorted(PROPERTIES))}")
        self._has_key = _truth(properties, "parse.key")
        self._has_headers = _truth(properties, "parse.headers")
        self._forgives = _truth(properties, "ignore.error")
        self._key_end = properties.get("key.separator", "\t").encode()
        self._headers_end = properties.get("headers.delimiter", "\t").encode()
        self._between = properties.get("headers.separator", ",").encode()
        self._header_end = properties.get("headers.key.separator", ":").encode()
        marker = properties.get("null.marker")
        self._null = None if marker is None else marker.encode()

    def read(self, line: bytes, number: int) -> Line:
        """Failure when a part is missing, unless told to take what is there."""
        headers: Headers = []
        key: bytes | None = None
        rest = line
        if self._has_headers:
            cut = self._cut(rest, self._headers_end, "headers", number)
            if cut is not None:
                text, rest = cut
                if text != self._null:
                    headers = [self._header(each, number) for each in text.split(self._between)]
        if self._has_key:
            cut = self._cut(rest, self._key_end, "key", number)
            if cut is not None:
                key, rest = cut[0] if cut[0] != self._null else None, cut[1]
        return Line(key, None if rest == self._null else rest, headers)

    def _cut(self, line: bytes, mark: bytes, what: str, number: int) -> tuple[bytes, bytes] | None:
        before, found, after = line.partition(mark)
        if found:
            return before, after
        if self._forgives:
            return None
        raise Failure(f"no {what} found on line number {number}: {line.decode(errors='replace')!r}")

    def _header(self, text: bytes, number: int) -> tuple[str, bytes | None]:
        key, found, value = text.partition(self._header_end)
        if not found and not self._forgives:
            shown = text.decode(errors="replace")
            raise Failure(f"no header key separator found in {shown!r} on line number {number}")
        return key.decode(), None if not found or value == self._null else value


def _truth(properties: dict[str, str], name: str) -> bool:
    return properties.get(name, "false").strip().lower() == "true"


def main(words: Sequence[str]) -> int:
    arguments = _parser().parse_args(words)
    reader = Reader(pairs(arguments.property, "--property"))
    heard = Heard()
    producer = connect(lambda: Producer(_settings(arguments, heard)))
    reach(producer, arguments.bootstrap_server, heard)
    failed: list[str] = []

    def on_delivery(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error.str())
            print(f"{PROG}: a record was not written: {error.str()}", file=sys.stderr)

    try:
        for number, line in enumerate(_lines(), 1):
            record = reader.read(line, number)
            while True:
                try:
                    producer.produce(
                        arguments.topic,
                        record.value,
                        record.key,
                        headers=record.headers,
                        on_delivery=on_delivery,
                    )
                    break
                except BufferError:
                    producer.poll(1)
            producer.poll(0)
            if arguments.sync:
                producer.flush()
    finally:
        left = producer.flush(arguments.request_timeout_ms / 1000 + 5)
    if left:
        raise Failure(f"{left} records were not acknowledged in time")
    return 1 if failed else 0


def _settings(arguments: argparse.Namespace, heard: Heard) -> dict[str, object]:
    own: dict[str, object] = {
        "error_cb": heard,
        "acks": arguments.request_required_acks,
        "linger.ms": 0 if arguments.sync else arguments.timeout,
        "batch.size": arguments.batch_size,
        "delivery.timeout.ms": arguments.request_timeout_ms,
    }
    if arguments.compression_codec:
        own["compression.codec"] = arguments.compression_codec
    own |= pairs(arguments.producer_property, "--producer-property")
    return client_config(arguments, **own)


def _lines() -> Iterator[bytes]:
    """Lines of the input without their ends; a prompt when a person types them."""
    asks = sys.stdin.isatty()
    while True:
        if asks:
            print(">", end="", flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            return
        yield line.rstrip(b"\n").removesuffix(b"\r")


if __name__ == "__main__":
    run(PROG, main)
