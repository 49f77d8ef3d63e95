"""A key that claims to act is read by something; a key that is read has a row."""

import re
from pathlib import Path

from ottla.config import inert_keys
from ottla.config.broker import BROKER_KEYS
from ottla.config.coordinator import COORDINATOR_KEYS
from ottla.config.keys_log import TOPIC

SOURCE = Path(__file__).parents[2] / "src" / "ottla"
_READ = re.compile(r'\.(?:int|str|bool|float|list|optional_int|optional_str)\(\s*"([^"]+)"')


_COMPOSED = re.compile(r'\.(?:int|str|bool|list|optional_str)\(f"\{\w+\}(\.[A-Za-z.]+)"')


def readers() -> str:
    """The text of everything but the rows themselves."""
    return "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
        if not path.name.startswith(("keys", "inert_keys"))
    )


def test_keys_that_claim_to_act_are_read() -> None:
    text = readers()
    topic_readers = {
        fallback.name
        for row in TOPIC.values()
        if row.key.acts and f'"{row.name}"' in text
        for fallback in row.fallbacks
    }
    composed = tuple(set(_COMPOSED.findall(text)))  # f"{prefix}.segment.bytes"
    rows = {**BROKER_KEYS, **COORDINATOR_KEYS, **{name: row.key for name, row in TOPIC.items()}}
    idle = [
        name
        for name, row in rows.items()
        if row.acts
        and f'"{name}"' not in text
        and name not in topic_readers
        and not name.endswith(composed)
        and not row.doc.startswith("Shown to tools")
    ]
    assert not idle, "mark them acts=False, or make them act"


def test_keys_that_are_read_have_rows() -> None:
    known = {**BROKER_KEYS, **COORDINATOR_KEYS, **TOPIC}
    unknown = {name for name in _READ.findall(readers()) if "." in name} - known.keys()
    assert not unknown


def test_no_key_both_acts_and_is_called_inert() -> None:
    assert not inert_keys.BROKER & BROKER_KEYS.keys()
