"""Writes whose answer got lost with the connection."""

from dataclasses import replace

from ottla.broker.controller.ledger import Ledger
from ottla.broker.controller.state import ControllerState, StateWrite
from ottla.broker.ensemble import encodings
from ottla.broker.ensemble.errors import ConnectionLoss
from ottla.broker.ensemble.values import PartitionState
from ottla.broker.ids import TopicPartition
from ottla.protocol.zookeeper.messages import Stat

TP = TopicPartition("t", 0)
BEFORE = PartitionState(leader=3, leader_epoch=4, isr=(3,), controller_epoch=1, partition_epoch=6)
AFTER = replace(BEFORE, isr=(2, 3))


class Answer:
    def __init__(self, found=None) -> None:
        self._found = found

    async def get(self):
        if self._found is None:
            raise ConnectionLoss("the connection is gone")
        return self._found


class Ensemble:
    """It took the write, and went away before it answered, for longer than one attempt."""

    def __init__(self) -> None:
        self.attempts_in_vain = 2
        self.is_behind = True

    def start_multi(self, _operations) -> Answer:
        return Answer()

    async def sync(self) -> None:
        if self.attempts_in_vain:
            self.attempts_in_vain -= 1
            raise ConnectionLoss("not there yet")
        self.is_behind = False

    async def wait_connected(self) -> None:
        return

    def start_get_data(self, _path) -> Answer:
        state = BEFORE if self.is_behind else AFTER
        data = encodings.encode_partition_state(state)
        return Answer((data, Stat(version=6 if self.is_behind else 7)))


async def test_a_write_that_happened_unheard_is_found_however_long_the_ensemble_is_away():
    """A leader's next wish is judged by it: seed 30171 of the simulation."""
    cluster = ControllerState(3, 1, 0)
    cluster.put_partition(TP, BEFORE)
    ensemble = Ensemble()
    applied, lost = await Ledger(ensemble, cluster).write_states([StateWrite(TP, AFTER, ())])
    assert not ensemble.attempts_in_vain
    assert [(write.tp, version) for write, version in applied] == [(TP, 7)]
    assert lost == []
