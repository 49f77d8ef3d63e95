"""The environment's way to pip on a Debian that has python3 without python3-venv."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "install-pip.py"


@pytest.mark.slow
def test_environment_without_ensurepip_gets_pip(tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    assert subprocess.run([python, "-m", "pip"], capture_output=True, check=False).returncode == 1
    subprocess.run([python, SCRIPT], check=True, timeout=120)
    subprocess.run([python, "-m", "pip", "--version"], check=True, stdout=subprocess.DEVNULL)


def test_index_that_does_not_answer_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9/simple/pip/" in done.stderr
    assert "Traceback" not in done.stderr
