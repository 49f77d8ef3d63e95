"""The shell scripts: present, executable, strict, and quick when everything is there."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
EXPECTED = {
    "server-start.sh",
    "server-stop.sh",
    "coordinator-start.sh",
    "coordinator-stop.sh",
    "cluster-start.sh",
    "cluster-stop.sh",
    "test.sh",
}


def test_scripts_are_there_executable_and_strict() -> None:
    there = {path.name for path in SCRIPTS.glob("*.sh")}
    assert there >= EXPECTED
    for path in sorted(SCRIPTS.glob("*.sh")):
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
        text = path.read_text(encoding="utf-8")
        if path.name == "environment.sh":
            continue  # sourced
        assert text.startswith("#!/usr/bin/env bash\n"), path.name
        assert "set -euo pipefail" in text, path.name
        assert path.stat().st_mode & stat.S_IXUSR, path.name


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=SCRIPTS.parent,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_python_that_is_too_old_is_one_clear_line(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = run(
        "set -euo pipefail; source scripts/environment.sh; ottla_environment",
        OTTLA_VENV=str(tmp_path / "venv"),
        OTTLA_PYTHON=str(old),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Python 3.11 or newer is needed; this machine has 3.9.2."
        " Install it, or name one with OTTLA_PYTHON=/path/to/python."
    ]


def test_missing_venv_module_is_one_clear_line(tmp_path: Path) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    bare.chmod(0o755)
    done = run(
        "set -euo pipefail; source scripts/environment.sh; ottla_environment",
        OTTLA_VENV=str(tmp_path / "venv"),
        OTTLA_PYTHON=str(bare),
    )
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr


def test_environment_that_is_there_is_not_touched(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 99\n")
    python.chmod(0o755)
    stamp = run("sha256sum pyproject.toml | cut -d' ' -f1").stdout
    (venv / ".installed-base").write_text(stamp)
    script = (
        'set -euo pipefail; source scripts/environment.sh; ottla_environment; echo "$OTTLA_BIN"'
    )
    done = run(script, OTTLA_VENV=str(venv))
    assert (done.returncode, done.stdout) == (0, f"{venv}/bin\n"), done.stderr


@pytest.mark.parametrize("name", sorted(EXPECTED - {"test.sh"}))
@pytest.mark.slow
def test_help_names_the_script(name: str) -> None:
    if not (SCRIPTS.parent / ".venv" / "bin" / "python").exists():
        pytest.skip("the scripts' own environment is not there")
    done = run(f"scripts/{name} --help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}" in done.stdout
