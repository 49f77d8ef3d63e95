"""What cluster-start writes is what the daemons read, without a finding."""

from pathlib import Path

import pytest

from ottla.config.broker import BrokerConfig
from ottla.config.coordinator import CoordinatorConfig
from ottla.scripts.cluster_layout import Layout, LayoutError, members, prepare, saved_layout


@pytest.mark.parametrize(("brokers", "coordinators"), [(1, 1), (3, 3), (4, 5)])
def test_written_files_are_good(tmp_path: Path, brokers: int, coordinators: int) -> None:
    layout = Layout(brokers=brokers, coordinators=coordinators)
    prepare(tmp_path, layout)
    assert saved_layout(tmp_path) == layout
    for member in members(tmp_path, layout):
        if member.kind == "broker":
            broker = BrokerConfig.load(str(member.config))
            assert not broker.warnings
            assert broker.broker_id == member.id
            assert broker.log_dirs == (str(member.data),)
            assert len(broker.zookeeper_connect().servers) == coordinators
        else:
            coordinator = CoordinatorConfig.load(str(member.config))
            assert not coordinator.warnings
            assert coordinator.my_id == member.id
            assert len(coordinator.members) == (coordinators if coordinators > 1 else 0)


def test_property_files_stay_as_their_user_left_them(tmp_path: Path) -> None:
    prepare(tmp_path, Layout())
    changed = tmp_path / "config" / "broker-1.properties"
    changed.write_text("broker.id=1\n")
    prepare(tmp_path, Layout(brokers=4))
    assert changed.read_text() == "broker.id=1\n"
    assert (tmp_path / "config" / "broker-4.properties").exists()


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (Layout(coordinators=4), "use 3 or 5"),
        (Layout(coordinators=2), "use 1 or 3"),
        (Layout(coordinators=0), "use 1 or 1"),
        (Layout(brokers=0), "at least one"),
        (Layout(base_port=65_535), "between 1 and 65535"),
        (Layout(base_port=2182), "overlap"),
        (Layout(base_port=3181), "overlap"),
    ],
)
def test_layouts_that_cannot_be(layout: Layout, text: str) -> None:
    with pytest.raises(LayoutError, match=text):
        layout.check()


def test_damaged_state_is_named(tmp_path: Path) -> None:
    assert saved_layout(tmp_path) is None
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(LayoutError, match="damaged"):
        saved_layout(tmp_path)
