"""What a user sees of a daemon that is not started."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import run_script

pytestmark = pytest.mark.slow


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    path = tmp_path / "server.properties"
    path.write_text(
        f"broker.id=1\nzookeeper.connect=embedded\nlog.dirs={tmp_path}/logs\nnum.io.threads=8\n"
    )
    return path


def test_check_config_says_good_and_warns(properties: Path) -> None:
    done = run_script("server", "--check-config", str(properties))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{properties}: good\n"
    assert "num.io.threads: is a known key that does nothing here yet" in done.stderr


@pytest.mark.parametrize("more", [[], ["--check-config"], ["-daemon"]])
def test_bad_configuration_ends_with_78_and_all_problems(properties: Path, more: list[str]) -> None:
    with properties.open("a") as file:
        file.write("num.partition=1\nlog.segment.bytes=big\n")
    done = run_script("server", *more, str(properties), "--override", "broker.id=x")
    assert done.returncode == 78
    assert done.stderr.splitlines() == [
        "--override: broker.id=x: expected an integer >= -1",
        f"{properties}:5: num.partition: is no key; did you mean num.partitions?",
        f"{properties}:6: log.segment.bytes=big: expected an integer >= 14",
        "not started: 3 problems",
    ]
    assert done.stdout == ""


def test_coordinator_without_its_id_ends_with_78(tmp_path: Path) -> None:
    path = tmp_path / "c.properties"
    path.write_text(f"dataDir={tmp_path}\nserver.1=a:1\nserver.2=b:1\nserver.3=c:1\n")
    done = run_script("coordinator", str(path))
    assert done.returncode == 78
    assert f"{tmp_path}/myid: myid: cannot be read" in done.stderr


def test_bad_logging_file_ends_with_78(properties: Path) -> None:
    (properties.parent / "logging.yaml").write_text("level: loud\n")
    done = run_script("server", str(properties))
    assert done.returncode == 78
    assert "logging.yaml: level=loud" in done.stderr


def test_python_without_assertions_is_refused(properties: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "ottla.scripts.server", str(properties)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "-O" in done.stderr


def test_even_number_of_coordinators_is_refused_with_the_reason(tmp_path: Path) -> None:
    done = run_script("cluster", "start", "--data", str(tmp_path), "--coordinators", "4")
    assert done.returncode == 1
    assert "a majority of 4 is 3" in done.stderr


def test_nothing_to_stop_is_said(tmp_path: Path) -> None:
    done = run_script("stop", "broker", "--run-dir", str(tmp_path), "--broker-id", "3")
    assert (done.returncode, done.stderr) == (1, "no broker 3 runs that was started from here\n")
    done = run_script("cluster", "stop", "--data", str(tmp_path))
    assert done.returncode == 1
    assert f"there is no cluster in {tmp_path}" in done.stderr
