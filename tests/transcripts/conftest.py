"""`pytest tests/transcripts --rewrite` records what happens now; the reviewer reads the diff."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="record transcripts anew")
