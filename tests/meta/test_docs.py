"""What the documents say about the code is so: generated tables, links, names, places."""

import re
from pathlib import Path

import pytest

from ottla.broker.api.registry import find_apis
from ottla.config.broker import BROKER_KEYS
from ottla.config.coordinator import COORDINATOR_KEYS
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.scripts import api_docs, event_docs

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ottla"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("README.md")],
)
ARCHITECTURE_LINES_MAX = 400
PACKAGE_LINES = range(10, 61)
GAPS = {
    "**Transactions.**": ApiKey.END_TXN,
    "SASL": ApiKey.SASL_HANDSHAKE,
    "**ACLs": ApiKey.CREATE_ACLS,
    "quotas": ApiKey.ALTER_CLIENT_QUOTAS,
    "delegation tokens": ApiKey.CREATE_DELEGATION_TOKEN,
    "AlterConfigs": ApiKey.ALTER_CONFIGS,
    "IncrementalAlterConfigs": ApiKey.INCREMENTAL_ALTER_CONFIGS,
    "KIP-848": ApiKey.CONSUMER_GROUP_HEARTBEAT,
}
"""What the README says is not there, and the API that would serve it."""
GAPS_OF_KEYS = {
    "**Compaction.**": BROKER_KEYS["log.cleaner.enable"],
    "TTL nodes": COORDINATOR_KEYS["extendedTypesEnabled"],
    "read-only mode": COORDINATOR_KEYS["readonlymode.enabled"],
    "HTTP admin port": COORDINATOR_KEYS["admin.enableServer"],
}
"""The same by the key that would switch it on."""


def text_of(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def code_in(text: str) -> set[str]:
    """Everything in backticks, and the lines of code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {*re.findall(r"`([^`\n]+)`", rest), *"\n".join(blocks).splitlines()}


def test_table_of_apis_is_generated_from_the_registry() -> None:
    assert text_of("docs", "apis.md") == api_docs.render(), (
        "run: python -m ottla.scripts.api_docs docs/apis.md"
    )


def test_every_api_key_is_either_served_or_said_not_to_be() -> None:
    table, _, unserved = api_docs.render().partition("## Not served")
    served = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    refused = {int(number) for number in re.findall(r"\((\d+)\)", unserved)}
    assert served.isdisjoint(refused)
    assert served | refused == {int(key) for key in ApiKey}


def test_table_of_events_is_generated_from_the_sources() -> None:
    assert text_of("docs", "events.md") == event_docs.render(), (
        "run: python -m ottla.scripts.event_docs docs/events.md"
    )


@pytest.mark.parametrize(
    ("source", "event"),
    [
        ("self._events.info('isr.made', who=1)", ("isr.made", "info", ("who",))),
        (
            "def tell(self, n, name):\n  events.error(name, n=n)\nself.tell(1, 'a.made')",
            ("a.made", "error", ("n",)),
        ),
        ("self._note('group.made', who=1)", ("group.made", "info", ("group", "generation", "who"))),
        (
            "def f(self):\n  note = self._note('group.failed')\n  replace(note, is_warning=True)",
            ("group.failed", "warning", ("group", "generation")),
        ),
    ],
)
def test_events_are_found_in_every_form_of_writing(
    tmp_path: Path, source: str, event: tuple[str, str, tuple[str, ...]]
) -> None:
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    name, level, fields = event
    found = event_docs.collect(tmp_path)
    assert list(found) == [name]
    assert found[name].levels == {level}
    assert tuple(found[name].fields) == fields


def test_other_methods_of_the_same_names_are_no_events(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("found.warning('a.key', 'text')\n", encoding="utf-8")
    assert event_docs.collect(tmp_path) == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_in_code_exist(path: Path) -> None:
    """`scripts/x.sh`, `docs/x.md`, `tests/x`, `src/ottla/x`: as seen from the root."""
    named = re.compile(r"(?<![\w/.<-])(?:scripts|docs|tests|config|src/ottla)/[\w./-]*[\w/]")
    for piece in code_in(path.read_text(encoding="utf-8")):
        for found in named.findall(piece):
            assert (ROOT / found).exists(), found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_in_code_exist(path: Path) -> None:
    """`ottla.a.b` is a module, or a name in one."""
    for piece in code_in(path.read_text(encoding="utf-8")):
        for found in re.findall(r"\bottla(?:\.[a-z_]\w*)+", piece):
            parts = found.split(".")[1:]
            places = [SOURCE.joinpath(*parts), SOURCE.joinpath(*parts[:-1])]
            assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), (
                found
            )


@pytest.mark.parametrize("said", GAPS)
def test_what_is_said_to_be_missing_is_missing(said: str) -> None:
    is_missing = find_apis().get(GAPS[said]) is None
    gaps = text_of("README.md").partition("## What is not there yet")[2].partition("\n## ")[0]
    assert (said in gaps) == is_missing
    if not is_missing:
        assert said.strip("*") not in text_of("ARCHITECTURE.md").partition("## Known gaps")[2]


@pytest.mark.parametrize("said", GAPS_OF_KEYS)
def test_what_is_said_to_do_nothing_does_nothing(said: str) -> None:
    gaps = text_of("README.md").partition("## What is not there yet")[2].partition("\n## ")[0]
    assert (said in " ".join(gaps.split())) != GAPS_OF_KEYS[said].acts


def test_every_script_is_in_the_readme() -> None:
    readme = text_of("README.md")
    scripts = {path.name for path in (ROOT / "scripts").glob("*.sh")} - {"environment.sh"}
    assert {name for name in scripts if f"scripts/{name}" not in readme} == set()


def test_every_package_says_what_it_is() -> None:
    packages = {
        path.parent
        for pattern in ("*/*.py", "broker/*/*.py")
        for path in SOURCE.glob(pattern)
        if path.name != "__init__.py"
    }
    for package in sorted(packages):
        lines = (package / "README.md").read_text(encoding="utf-8").splitlines()
        assert len(lines) in PACKAGE_LINES, package
        assert lines[0].startswith("# "), package


def test_architecture_can_be_read_in_one_sitting() -> None:
    assert len(text_of("ARCHITECTURE.md").splitlines()) <= ARCHITECTURE_LINES_MAX


def test_events_in_documents_are_written_somewhere() -> None:
    """Names in the form of an event, of an area that is no module and begins no key."""
    known = event_docs.collect()
    areas = {name.partition(".")[0] for name in known}
    areas -= {"connections", "group", "log"}
    areas -= {area for area in areas if is_place(area)}
    assert {"isr", "loop", "request"} <= areas
    for path in DOCUMENTS:
        for piece in code_in(path.read_text(encoding="utf-8")):
            if re.fullmatch(r"[a-z_0-9]+\.[a-z_]+", piece) and piece.partition(".")[0] in areas:
                assert piece in known or piece.endswith((".py", ".sh")), path


def is_place(name: str) -> bool:
    """Whether a module or a package has this name."""
    return any(True for end in ("", ".py") for _ in SOURCE.rglob(name + end))
