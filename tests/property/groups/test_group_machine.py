"""Random joins, syncs, leaves, failures and moves: what must hold for a group whatever happens."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ottla.broker.groups.settings import GroupSettings
from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import JoinReply, SyncReply
from ottla.protocol.kafka.errors import ErrorCode
from tests.support.group_script import GroupScript

NAMES = st.sampled_from(["a", "b", "c", "d"])
DYNAMIC = st.sampled_from(["a", "b"])
PROTOCOLS = st.sampled_from(["range", "range,sticky", "sticky,range"])


class GroupMachineTest(RuleBasedStateMachine):
    """Members a and b are dynamic, c and d static; any of them may restart, vanish or lag."""

    @initialize(delay=st.sampled_from([0, 3000]), size=st.sampled_from([2, 100]))
    def start(self, delay: int, size: int) -> None:
        self.script = GroupScript(GroupSettings(initial_rebalance_delay_ms=delay, size_max=size))
        self.heard = 0
        self.generation = self.generation_loaded = 0
        self.assigned: dict[tuple[int, str], bytes] = {}
        self.leaders: dict[tuple[int, int], str] = {}
        self.life = 0

    def options(self, name: str) -> str:
        return f"instance={name}" if name in "cd" else ""

    @rule(name=NAMES, protocols=PROTOCOLS, version=st.sampled_from([3, 8, 9]), fresh=st.booleans())
    def join(self, name: str, protocols: str, version: int, *, fresh: bool) -> None:
        new = "new" if fresh else ""
        self.script.run(f"join {name} {new} protocols={protocols} v={version} {self.options(name)}")

    @rule(name=NAMES, salt=st.integers(0, 99))
    def sync(self, name: str, salt: int) -> None:
        group = self.script.group
        shares = " ".join(f"@{other}={other}{salt}" for other in self.script.ids)
        if self.script.ids.get(name) == group.members.leader:
            self.script.run(f"sync {name} {shares} {self.options(name)}")
        else:
            self.script.run(f"sync {name} {self.options(name)}")

    @rule(name=NAMES)
    def heartbeat(self, name: str) -> None:
        self.script.run(f"heartbeat {name} {self.options(name)}")

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.script.run(f"leave {name} {self.options(name)}")

    @rule(seconds=st.sampled_from([1, 5, 20, 100]))
    def advance(self, seconds: int) -> None:
        self.script.run(f"advance {seconds}")

    @precondition(lambda self: self.script.held is None)
    @rule()
    def hold(self) -> None:
        self.script.run("hold")

    @precondition(lambda self: self.script.held is not None)
    @rule()
    def release(self) -> None:
        self.script.run("release")

    @precondition(lambda self: bool(self.script.held))
    @rule(later=st.sampled_from(["", "later"]))
    def fail(self, later: str) -> None:
        self.script.run(f"fail COORDINATOR_NOT_AVAILABLE {later}")

    @rule(names=st.lists(NAMES, min_size=1, max_size=4, unique=True), protocols=PROTOCOLS)
    def rebalance(self, names: list[str], protocols: str) -> None:
        """The way it goes when nothing goes wrong; else too few runs come to a stable group."""
        for _ in range(2):
            for name in names:
                self.script.run(f"join {name} protocols={protocols} {self.options(name)}")
        self.script.run("advance 7")
        for name in names:
            self.sync(name, 7)

    @precondition(lambda self: self.script.group.generation > self.generation_loaded)
    @rule()
    def move(self) -> None:
        """The partition moves. Held writes are lost with the broker that wanted them."""
        self.script.held = None if self.script.held is None else []
        self.script.run("reload")
        self.life += 1
        self.generation = self.generation_loaded = self.script.group.generation

    @invariant()
    def generations_grow(self) -> None:
        assert self.script.group.generation >= self.generation
        self.generation = self.script.group.generation

    @invariant()
    def a_generation_has_one_assignment_and_one_leader(self) -> None:
        answers = self.script.answers
        for _, _, reply in answers[self.heard :]:
            if reply.error is not ErrorCode.NONE or not isinstance(reply, JoinReply):
                continue
            if reply.members:  # it was told to be the leader of this generation
                leader = reply.member_id.rsplit("-", 5)[0]
                key = (self.life, reply.generation)
                assert self.leaders.setdefault(key, leader) == leader
        self.heard = len(answers)
        record = self.script.group.last_record
        if record is not None:
            for member in record.members:
                who = member.instance_id or member.member_id
                share = self.assigned.setdefault((record.generation, who), member.assignment)
                assert share == member.assignment

    @invariant()
    def nobody_is_assigned_what_is_not_committed(self) -> None:
        group = self.script.group
        if group.state is not GroupState.STABLE:
            return
        record = group.last_record
        assert record is not None
        assert record.generation == group.generation
        shares = {m.instance_id or m.member_id: m.assignment for m in record.members}
        for member in group.members.by_id.values():
            assert shares[member.instance_id or member.member_id] == member.assignment

    @invariant()
    def a_replay_gives_what_is_committed(self) -> None:
        live, replayed = self.script.group, self.script.replayed()
        assert replayed.last_record == live.last_record
        if live.state is GroupState.STABLE and not live.writes:
            assert replayed.generation == live.generation
            assert replayed.protocol == live.protocol
            assert {k: m.assignment for k, m in replayed.members.by_id.items()} == {
                k: m.assignment for k, m in live.members.by_id.items()
            }

    def teardown(self) -> None:
        """Whatever is parked is answered in the end, though no client ever says a word again."""
        script = getattr(self, "script", None)
        if script is None:
            return
        script.run("release")
        script.run("advance 500")
        assert not script.parked
        assert script.group.state in (GroupState.EMPTY, GroupState.STABLE)
        assert script.group.state is GroupState.EMPTY
        assert all(isinstance(reply, JoinReply | SyncReply) for _, _, reply in script.answers)


TestGroupMachine = GroupMachineTest.TestCase
TestGroupMachine.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
