"""Apache Curator's recipes hold on an ensemble of three.

`OTTLA_CURATOR_LIBS` names a directory with the jars of org.apache.curator:curator-recipes:5.7.1 and
what it depends on. Without it, or without a JDK, the test is skipped.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compat.zookeeper_differential.servers import ottla
from tests.support.jars import CURATOR

LIBS = CURATOR.named()
RECIPES = {
    "atomic long", "cache", "double barrier", "group member", "leader latch", "mutex",
    "persistent node", "persistent watcher", "queue", "read-write lock", "semaphore",
    "shared count", "transaction",
}  # fmt: skip

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(
        LIBS is None or shutil.which("javac") is None, reason="needs a JDK and OTTLA_CURATOR_LIBS"
    ),
]


def test_recipes_hold(tmp_path: Path) -> None:
    with ottla(tmp_path / "ensemble", 3) as ports:
        connect = ",".join(f"127.0.0.1:{port}" for port in ports)
        source = Path(__file__).with_name("Recipes.java")
        done = subprocess.run(
            ["java", "-cp", f"{LIBS}/*", str(source), connect],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
    held = {line.removeprefix("ok ") for line in done.stdout.splitlines() if line.startswith("ok ")}
    assert held == RECIPES, done.stdout + done.stderr
