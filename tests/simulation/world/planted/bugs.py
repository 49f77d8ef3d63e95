"""What a planted bug is, and the list of all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tests.simulation.world.plan import Plan

Patch = tuple[object, str, object]
"""Owner (class or module), attribute, what it becomes."""


@dataclass(frozen=True)
class Bug:
    """A mistake as somebody could make it. `make` gives its patches anew for every run.

    Some states are rare in the runs that seeds draw. A bug that needs one says which: `faults`
    (kind -> mean seconds) replace those of the seed, `settings` are added to the brokers' own,
    `changes` to the rest of the plan. `given` are patches that are no bug (`given_what` says
    what they do), and hold in the run without it too.
    """

    name: str
    what: str
    make: Callable[[], list[Patch]]
    minutes: float = 1.0
    faults: dict[str, float] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    changes: dict[str, object] = field(default_factory=dict)
    given: tuple[Patch, ...] = ()
    given_what: str = ""

    def plan(self, seed: int) -> Plan:
        plan = Plan.of(seed, self.minutes)
        if self.faults is not None:
            plan.faults = dict(self.faults)
        plan.broker_settings |= self.settings
        for name, value in self.changes.items():
            assert hasattr(plan, name), name
            setattr(plan, name, value)
        return plan

    @property
    def directions(self) -> str:
        """What of the plan is not the seed's, for the table."""
        parts = [f"{kind} every {mean_s:g} s" for kind, mean_s in (self.faults or {}).items()]
        parts += [f"`{key}={value}`" for key, value in self.settings.items()]
        parts += [f"{name} {value}" for name, value in self.changes.items()]
        if self.given:
            parts.append(self.given_what)
        if self.minutes != 1.0:
            parts.append(f"{self.minutes:g} min")
        return ", ".join(parts)


PLANTED: dict[str, Bug] = {}


def planted(what: str, **directions: object) -> Callable:
    """Enter a function that makes patches; `directions` are fields of `Bug`."""

    def add(make: Callable[[], list[Patch]]) -> Callable:
        name = make.__name__.removeprefix("_")
        assert name not in PLANTED
        PLANTED[name] = Bug(name, what, make, **directions)  # type: ignore[arg-type]
        return make

    return add


_INHERITED = object()


def plant(name: str) -> AbstractContextManager[None]:
    """The product with one bug more."""
    return patched(PLANTED[name].make())


@contextmanager
def patched(patches: Sequence[Patch]) -> Iterator[None]:
    """Attributes of classes and modules changed for a while."""
    before = [vars(owner).get(attribute, _INHERITED) for owner, attribute, _ in patches]
    for owner, attribute, bad in patches:
        assert hasattr(owner, attribute), (owner, attribute)
        setattr(owner, attribute, bad)
    try:
        yield
    finally:
        for (owner, attribute, _), good in zip(patches, before, strict=True):
            if good is _INHERITED:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, good)


__all__ = ["PLANTED", "Bug", "Patch", "patched", "plant", "planted"]
