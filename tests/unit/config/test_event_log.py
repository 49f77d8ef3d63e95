"""logging.yaml: what it says, and what is said about a bad one."""

from pathlib import Path

import pytest

from ottla.config.broker import BrokerConfig
from ottla.config.coordinator import CoordinatorConfig
from ottla.config.event_log import EventLogConfig, read_event_log
from ottla.config.problems import ConfigError

SHIPPED = Path(__file__).parents[3] / "config"


def read(tmp_path: Path, text: str) -> EventLogConfig:
    path = tmp_path / "logging.yaml"
    path.write_text(text)
    return read_event_log(str(path))


def test_shipped_files_are_the_defaults_and_without_findings() -> None:
    assert read_event_log(str(SHIPPED / "logging.yaml")) == EventLogConfig()
    assert not BrokerConfig.load(str(SHIPPED / "server.properties")).warnings
    assert not CoordinatorConfig.load(str(SHIPPED / "coordinator.properties")).warnings


def test_levels_by_area(tmp_path: Path) -> None:
    found = read(tmp_path, "level: warning\nareas: {isr: debug}\nformat: json\ndestination: /x\n")
    assert found == EventLogConfig("warning", {"isr": "debug"}, "json", "/x")
    assert read(tmp_path, "") == EventLogConfig()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("levle: info", "is no key; did you mean level?"),
        ("level: loud", "level=loud: expected one of debug"),
        ("areas: {isr: 3}", "areas.isr=3: expected one of debug"),
        ("areas: isr", "expected levels by area"),
        ("- a", "expected keys level"),
        ("a: [", "logging.yaml:1: file"),
        ("destination: 3", "expected stdout, stderr or a path"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert expected in str(caught.value)
