"""Seeds in processes of their own."""

import os
import signal
import time

import pytest

from ottla.protocol.kafka.encoding import encoder_of
from ottla.protocol.kafka.messages.produce import ProduceRequest
from tests.simulation.world import processes
from tests.simulation.world.seeds import attempt

pytestmark = pytest.mark.slow

SEEDS = range(11, 16)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch):
    """`attempts` of what is given, two at once: forked processes know what replaces `attempt`."""

    def make(does):
        monkeypatch.setattr(processes, "_REHEARSAL", (0, 0.0))
        monkeypatch.setattr(
            processes, "attempt", lambda job: (job[0], does(job[0]) if job[0] else "", 0.1)
        )
        return processes.attempts(SEEDS, 1.0, 2)

    return make


def test_each_seed_is_tried_once_in_a_process_of_its_own(attempts) -> None:
    told = list(attempts(lambda _seed: str(os.getpid())))
    assert sorted(seed for seed, _, _ in told) == list(SEEDS)
    assert len({result for _, result, _ in told} | {str(os.getpid())}) == len(SEEDS) + 1


def test_process_that_ends_early_fails_its_seed_alone(attempts) -> None:
    told = attempts(lambda seed: os._exit(3) if seed == 12 else "held")
    assert {seed: result for seed, result, _ in told} == {
        seed: "held" if seed != 12 else "its process ended with 3" for seed in SEEDS
    }


def test_an_interrupt_does_not_reach_them(attempts) -> None:
    def interrupted(_seed: int) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "goes on"

    assert {result for _, result, _ in attempts(interrupted)} == {"goes on"}


def test_the_others_end_when_nobody_listens_any_more(attempts) -> None:
    began = time.monotonic()
    told = attempts(lambda seed: "held" if seed == 11 else time.sleep(60))
    assert next(told)[0] == 11
    told.close()
    assert time.monotonic() - began < 30


def test_what_one_had_to_compile_the_next_has(attempts) -> None:
    schema = ProduceRequest.__schema__
    kept = dict(schema.encoders)
    schema.encoders.clear()

    def encode(_seed: int) -> str:
        found = 9 in schema.encoders
        encoder_of(schema, 9)
        return "found" if found else "compiled"

    told = [result for _, result, _ in attempts(encode)]
    schema.encoders.update(kept)
    assert told[0] == "compiled"
    assert told[-1] == "found"


def test_run_there_goes_as_here() -> None:
    _, here, _ = attempt((5, 0.1))
    [(_, there, _)] = processes.attempts(range(5, 6), 0.1, 1)
    assert here.digest == there.digest
