"""docs/config.md is what the rows say."""

from pathlib import Path

from ottla.config.docs import render

DOCUMENT = Path(__file__).parents[2] / "docs" / "config.md"


def test_document_is_generated_from_the_rows() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == render(), "run: python -m ottla.config.docs docs/config.md"
