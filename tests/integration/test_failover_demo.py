"""The system test: the demo that a person can watch, on a real text, has to keep its promises."""

import re
import subprocess
from pathlib import Path

import pytest

from ottla.scripts import run_files
from ottla.scripts.failover_demo import LINES_MIN
from tests.support.processes import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BOUND_S = 240.0
KILLED = ("leader of partition 0", "controller", "ensemble leader")


def test_three_leaders_die_and_nothing_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "cluster"
    demo = subprocess.Popen(
        [str(ROOT / "scripts/failover-demo.sh"), "--data", str(data)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        told, _ = demo.communicate(timeout=BOUND_S)
    finally:
        demo.kill()
        demo.wait(10)
        left = [
            daemon
            for kind in ("broker", "coordinator")
            for daemon in run_files.find([data / "run"], kind)
        ]
        run_files.stop(left, 30)
    assert demo.returncode == 0, told
    assert left == [], "the demo left daemons behind"

    (lines,) = re.findall(
        r"^all ([\d,]+) lines are in the log exactly once and in order$", told, re.M
    )
    assert int(lines.replace(",", "")) >= LINES_MIN
    assert "the group has read each of them; the replicas are equal, byte for byte" in told
    assert "WRONG" not in told
    for what in KILLED:
        assert f"killed the {what}," in told
        (pause,) = re.findall(rf"^{what} +\w+ \d +writes paused +([\d.]+) s$", told, re.M)
        assert float(pause) < 30.0, "a dead leader is replaced after its session's timeout"
