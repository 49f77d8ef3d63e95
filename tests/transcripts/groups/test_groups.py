"""Rebalances as conversations: every `> line` of a transcript gets exactly the lines below it."""

from pathlib import Path

import pytest

from ottla.broker.groups.settings import GroupSettings
from tests.support.group_script import GroupScript

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


def replay(text: str) -> str:
    """The transcript as it would be recorded now; `#` lines and blank lines stay."""
    script = GroupScript()
    out: list[str] = []
    for line in text.splitlines():
        if line.startswith("settings "):
            pairs = (word.split("=") for word in line.split()[1:])
            script = GroupScript(GroupSettings(**{key: int(value) for key, value in pairs}))
            out.append(line)
        elif line.startswith("> "):
            out.append(line)
            out += [f"  {answer}" for answer in script.run(line[2:])]
        elif not line.startswith("  "):
            out.append(line)
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_what_happens(path: Path, request: pytest.FixtureRequest) -> None:
    recorded = path.read_text()
    happens = replay(recorded)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(happens)
    assert happens == recorded or request.config.getoption("--rewrite", default=False)


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 6
