"""Writes docs/config.md from the rows: `python -m ottla.config.docs [FILE]`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from ottla.config import inert_keys, keys_cluster, keys_coordinator, keys_groups, keys_log
from ottla.config.keys import Key, TopicKey, Update
from ottla.config.values import DOUBLE_MAX, INT32_MAX, INT64_MAX

_HEAD = """\
# Configuration

Generated from the rows in `src/ottla/config` by `python -m ottla.config.docs docs/config.md`.

A broker reads a properties file with Apache Kafka's keys, a coordinator member one with Apache
ZooKeeper's. Every problem of a file is reported at once, with its line, and the daemon ends with
exit code 78; `--check-config` only checks, `--override key=value` replaces a line. A key marked
*not yet* is checked, but nothing reads it.
"""
_NUMBERS = {
    INT32_MAX: "2^31-1",
    INT64_MAX: "2^63-1",
    DOUBLE_MAX: "no bound",
}


def render() -> str:
    """The whole document."""
    return "\n".join(_sections()) + "\n"


def _sections() -> Iterable[str]:
    yield _HEAD
    for title, rows in (
        ("Broker: identity", keys_cluster.IDENTITY),
        ("Broker: listeners", keys_cluster.LISTENERS),
        ("Broker: ensemble", keys_cluster.ENSEMBLE),
        ("Broker: topics and controller", keys_cluster.CONTROLLER),
        ("Broker: replication", keys_cluster.REPLICATION),
        ("Broker: requests", keys_cluster.QUEUES),
        ("Broker: partition logs", keys_log.LOG),
        ("Broker: compaction", keys_log.CLEANER),
        ("Broker: consumer groups", keys_groups.GROUPS),
        ("Broker: transactions and producers", keys_groups.TRANSACTIONS),
    ):
        yield f"## {title}\n"
        yield from _table(rows.values())
    yield "## Topic\n"
    yield from _topic_table(keys_log.TOPIC.values())
    for title, rows in (
        ("Coordinator: timing", keys_coordinator.TIMING),
        ("Coordinator: data", keys_coordinator.STORE),
        ("Coordinator: clients", keys_coordinator.CLIENTS),
        ("Coordinator: security", keys_coordinator.SECURITY),
        ("Coordinator: administration", keys_coordinator.ADMIN),
    ):
        yield f"## {title}\n"
        yield from _table(rows.values())
    yield (
        "## Coordinator: members\n\n"
        "`server.N=host:peerport[:electionport][:observer][;clientport]`, one line for each member,"
        " the same lines on all. An observer has every change and no vote.\n`dataDir/myid` has this"
        " member's N. Without such lines the member is an ensemble of its own.\n"
    )
    yield "## Known keys that do nothing here yet\n"
    yield "Setting one is a warning by name.\n"
    for name, keys in (("Broker", inert_keys.BROKER), ("Coordinator", inert_keys.COORDINATOR)):
        listed = ", ".join(f"`{key}`" for key in sorted(keys))
        yield f"{name}: {listed}.\n"


def _table(rows: Iterable[Key]) -> Iterable[str]:
    yield "| key | default | value | takes effect | |"
    yield "|---|---|---|---|---|"
    for row in rows:
        effect = "at a restart" if row.update is Update.RESTART else f"live, {row.update.value}"
        yield f"| `{row.name}` | {_default(row)} | {_expected(row)} | {effect} | {_doc(row)} |"
    yield ""


def _topic_table(rows: Iterable[TopicKey]) -> Iterable[str]:
    yield "| key | default | value | broker keys, the first one set counts | |"
    yield "|---|---|---|---|---|"
    for row in rows:
        names = ", ".join(f"`{fallback.name}`" for fallback in row.fallbacks)
        key = row.key
        yield f"| `{row.name}` | {_default(key)} | {_expected(key)} | {names} | {_doc(key)} |"
    yield ""


def _default(row: Key) -> str:
    text = row.type.format(row.default)
    if not text:
        return ""
    known = _NUMBERS.get(row.default) if isinstance(row.default, int | float) else None
    return known or f"`{text}`"


def _expected(row: Key) -> str:
    return row.expected.replace("|", "\\|")


def _doc(row: Key) -> str:
    return row.doc + ("" if row.acts else " *Not yet.*")


def main(arguments: list[str]) -> None:
    """Write to the named file, or to the standard output."""
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main(sys.argv[1:])
