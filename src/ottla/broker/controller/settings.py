"""What the controller needs of the broker's configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


def accept_any_config(_config: Mapping[str, str]) -> str | None:
    """A check that finds nothing wrong."""
    return None


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Defaults are Kafka's. `check_topic_config` returns what is wrong with topic overrides."""

    inter_broker_listener: str = "PLAINTEXT"
    default_partitions: int = 1  # num.partitions
    default_replication_factor: int = 1
    delete_topic_enable: bool = True
    auto_leader_rebalance_enable: bool = True
    leader_imbalance_check_interval_s: float = 300.0
    leader_imbalance_per_broker_percentage: int = 10
    unclean_leader_election_enable: bool = False
    request_timeout_s: float = 30.0  # controller.socket.timeout.ms
    max_frame_bytes: int = 100 * 1024 * 1024
    check_topic_config: Callable[[Mapping[str, str]], str | None] = accept_any_config
