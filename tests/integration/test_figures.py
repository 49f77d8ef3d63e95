"""The benchmark program runs: every figure has its rows, whatever this machine reaches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROWS = {"start": 1, "memory": 2, "stream": 3, "requests": 2, "replicated": 4, "consumer": 2}


def test_every_figure_is_measured_with_tiny_loads(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.benchmarks.figures",
            "--scale", "0.01", "--json", str(report),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(report.read_text(encoding="utf-8"))
    rows = content["figures"]
    after_the_loads = 2
    assert len(rows) == sum(ROWS.values()) + after_the_loads
    assert all(any(sign.isdigit() for sign in row["measured"]) for row in rows)
    assert {"cores", "CPU", "memory", "kernel", "Python", "trio", "librdkafka"} <= set(
        content["machine"]
    )
    for row in rows:
        assert f"| {row['name']} | {row['measured']} |" in done.stdout


def test_unknown_figure_is_refused_before_anything_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.figures", "--only", "speed"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "replicated" in done.stderr
