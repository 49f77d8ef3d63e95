"""kazoo's own test suite, as its source distribution has it, against three Ottla coordinators.

`expected_failures.txt` names the tests that fail, each with its reason. The list only gets shorter:
a test on it that passes is an error, too. By hand, with what the members log:
`OTTLA_LOGS=/tmp/logs pytest tests/compat/kazoo_suite`.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.processes import free_ports

pytestmark = [pytest.mark.compat, pytest.mark.slow]

HERE = Path(__file__).parent
KAZOO = "kazoo==2.11.0"
# Its harness makes certificates with calls that later versions of pyOpenSSL have no more.
NEEDS = ("pyopenssl<24.3", "pure_sasl")
SUITE_TESTS = 493
INSTALL_TIMEOUT_S = 300
SUITE_TIMEOUT_S = 1200


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def kazoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """kazoo's sources, and a directory with what its tests import."""
    place = tmp_path_factory.mktemp("kazoo")
    fetched = pip("download", "--no-binary", "kazoo", "--no-deps", "--dest", str(place), KAZOO)
    if fetched.returncode:
        pytest.skip(f"no package index: {fetched.stderr[-300:]}")
    (archive,) = place.glob("kazoo-*.tar.gz")
    with tarfile.open(archive) as packed:
        # As PEP 706 has it for Pythons with and without filters.
        packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        packed.extractall(place)
    (sources,) = (path for path in place.iterdir() if path.is_dir())
    packages = place / "packages"
    # Not into the environment of Ottla's own tests, whose versions are chosen there.
    installed = pip("install", "--target", str(packages), f"{archive}[test]", *NEEDS)
    if installed.returncode:
        pytest.skip(f"cannot install what kazoo's tests need: {installed.stderr[-300:]}")
    return sources, packages


def run_suite(sources: Path, packages: Path, report: Path) -> subprocess.CompletedProcess[str]:
    paths = (HERE, packages)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Ottla's plugins hold objects that some tests of kazoo count.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "OTTLA_PYTHON": sys.executable,
        "ZOOKEEPER_VERSION": "3.9.5",
        # Five ports for each of three members, ten apart.
        "ZOOKEEPER_PORT_OFFSET": str(free_ports(25)),
    }
    plugins = ("-p", "ottla_servers", "-p", "pytest_timeout", "-p", "no:cacheprovider")
    options = (
        "-W",
        "ignore",
        "-o",
        "log_cli=false",
        "--timeout",
        "120",
        f"--junit-xml={report}",
        "-q",
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, "kazoo/tests"],
        cwd=sources,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_S,
        check=False,
    )


def expected_failures() -> dict[str, str]:
    """Test -> why it fails."""
    found = {}
    for line in (HERE / "expected_failures.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, reason = line.split(maxsplit=1)
            found[name] = reason
    return found


def outcomes(report: Path) -> dict[str, str]:
    """Test -> passed, skipped or failed."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            found[name] = "failed"
        else:
            found[name] = "skipped" if "skipped" in kinds else "passed"
    return found


def test_no_test_of_kazoo_fails_that_is_not_expected_to(
    kazoo: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    done = run_suite(*kazoo, report)
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    found = outcomes(report)
    assert len(found) == SUITE_TESTS
    failed = {name for name, outcome in found.items() if outcome == "failed"}
    assert failed == expected_failures().keys(), done.stdout[-20_000:]
