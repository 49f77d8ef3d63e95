"""Tree and Decider against the obvious twin, with decisions outstanding and a replica beside."""

import copy
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.tree import Tree
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    CheckVersionRequest,
    CreateRequest,
    CreateResponse,
    CreateSessionRequest,
    DeleteRequest,
    ErrorResponse,
    MultiRequest,
    MultiResponse,
    SetDataRequest,
)
from ottla.protocol.zookeeper.opcodes import OpCode
from tests.property.zookeeper.twin import EXPIRED, OK, Twin

NAMES = ["a", "b"]
PATHS = st.one_of(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(
        lambda names: "/" + "/".join(names)
    ),
    st.sampled_from(["/", "/a/", "/zookeeper/config", "/a/0000000001", "/zookeeper"]),
)
VERSIONS = st.sampled_from([-1, -1, -1, -1, 0, 1])
DATA = st.binary(max_size=3)
FLAGS = st.sampled_from([0, 0, 0, 1, 2, 3])
KINDS = st.sampled_from([OpCode.CREATE, OpCode.CREATE, OpCode.DELETE, OpCode.DELETE,
                         OpCode.SET_DATA, OpCode.CHECK])  # fmt: skip
SPECIAL = {"/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"}


class TreeMachine(RuleBasedStateMachine):
    """Every request is judged by the twin at once, by the tree when `settle` applies it."""

    def __init__(self):
        super().__init__()
        self.tree = Tree()
        self.replica = Tree()
        self.decider = Decider(self.tree, member_id=1, rng=random.Random(0))
        self.twin = Twin()
        self.zxid = 0
        self.now = 1000
        self.queue = []  # (zxid, payload, what the twin said)
        self.sessions = []

    def decide(self, opcode, body, session=0, member=1):
        self.now += 1
        return self.decider.decide(
            session_id=session, opcode=opcode, body=body,
            origin=None if member is None else (member, 1), now_ms=self.now, auth=[],
        )  # fmt: skip

    def send(self, opcode, body, expected, session=0, member=1):
        payload = self.decide(opcode, body, session, member)
        self.zxid += 1
        self.queue.append((self.zxid, payload, expected(self.zxid, self.now)))

    @rule()
    def open_session(self):
        # One that is closed stays to be tried; more of them would make most requests idle.
        closed = [known for known in self.sessions if known not in self.twin.sessions]
        for session in closed[1:]:
            self.sessions.remove(session)
        if len(self.sessions) < 4:
            self.send(
                OpCode.CREATE_SESSION, CreateSessionRequest(9000).encode(), lambda *_: (OK, None)
            )
            self.settle()
            self.sessions.append(next(reversed(self.tree.sessions)))
            self.twin.sessions.add(self.sessions[-1])

    @precondition(lambda self: self.sessions)
    @precondition(lambda self: len(self.twin.sessions) > 1)
    @rule(data=st.data(), by_leader=st.booleans())
    def close_session(self, data, by_leader):
        session = data.draw(st.sampled_from(self.sessions))

        def expected(zxid, _now):
            if session not in self.twin.sessions:
                return EXPIRED, None
            self.twin.close(session, zxid)
            return OK, None

        self.send(OpCode.CLOSE_SESSION, b"", expected, session, None if by_leader else 1)

    def draw_operation(self, data):
        """Mostly about nodes that are there, so that much of it happens."""
        opcode = data.draw(KINDS)
        there = [path for path in self.twin.nodes if path not in SPECIAL]
        if there and opcode != OpCode.CREATE and data.draw(st.integers(0, 4)):
            path = data.draw(st.sampled_from(there))
        else:
            path = data.draw(PATHS)
        if opcode == OpCode.CREATE:
            return opcode, CreateRequest(path, data.draw(DATA), OPEN_ACL, data.draw(FLAGS))
        version = data.draw(VERSIONS)
        if opcode == OpCode.SET_DATA:
            return opcode, SetDataRequest(path, data.draw(DATA), version)
        kind = DeleteRequest if opcode == OpCode.DELETE else CheckVersionRequest
        return opcode, kind(path, version)

    def judge(self, session, opcode, request, zxid, now):
        twin = self.twin
        if opcode == OpCode.CREATE:
            return twin.create(session, request, zxid=zxid, now=now)
        if opcode == OpCode.DELETE:
            return twin.delete(request.path, request.version, zxid), None
        if opcode == OpCode.SET_DATA:
            return twin.set(request.path, request.data, request.version, zxid, now), None
        return twin.check(request.path, request.version), None

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), count=st.integers(1, 8))
    def burst(self, data, count):
        for _ in range(count):
            opcode, request = self.draw_operation(data)
            session = data.draw(st.sampled_from(self.sessions))
            self.send(
                opcode, request.encode(), self.expect_single(session, opcode, request), session
            )

    def expect_single(self, session, opcode, request):
        def expected(zxid, now):
            if session not in self.twin.sessions:
                return EXPIRED, None
            return self.judge(session, opcode, request, zxid, now)

        return expected

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), count=st.integers(0, 5))
    def multi(self, data, count):
        operations = [self.draw_operation(data) for _ in range(count)]
        session = data.draw(st.sampled_from(self.sessions))

        def expected(zxid, now):
            if session not in self.twin.sessions:
                return EXPIRED, None
            before = copy.deepcopy(self.twin.nodes)
            results = []
            for opcode, request in operations:
                results.append((opcode, *self.judge(session, opcode, request, zxid, now)))
                if results[-1][1] != OK:
                    self.twin.nodes = before
                    codes = [OK] * (len(results) - 1) + [results[-1][1]]
                    codes += [ZkError.RUNTIMEINCONSISTENCY] * (len(operations) - len(results))
                    return OK, [(-1, ErrorResponse(code)) for code in codes]
            return OK, results

        self.send(OpCode.MULTI, MultiRequest(operations).encode(), expected, session)

    @rule()
    def settle(self):
        """Apply all that is outstanding, here and on a replica that decides nothing."""
        for zxid, payload, (error, result) in self.queue:
            applied = self.tree.apply(zxid, payload)
            self.decider.applied(zxid)
            assert self.replica.apply(zxid, payload) == applied
            assert applied.error == error
            if isinstance(result, str):
                assert CreateResponse.decode(Reader(applied.reply)).path == result
            elif result is not None:
                self.compare_results(MultiResponse.decode(Reader(applied.reply)).results, result)
        self.queue.clear()

    @staticmethod
    def compare_results(ours, theirs):
        assert [entry[0] for entry in ours] == [entry[0] for entry in theirs]
        for (opcode, response), expected in zip(ours, theirs, strict=True):
            if opcode == OpCode.CREATE:
                assert response.path == expected[2]
            elif opcode == -1:
                assert response == expected[1]

    @rule()
    def restart_as_new_leader(self):
        """A tree from a snapshot and a fresh decider go on where the old ones were."""
        self.settle()
        self.tree = Tree.load(list(self.tree.dump()))
        self.decider = Decider(self.tree, member_id=1, rng=random.Random(5))

    @initialize()
    def first_session(self):
        self.open_session()

    @invariant()
    def indexes_agree(self):
        self.tree.check()
        self.decider.check()

    @invariant()
    def same_as_the_twin(self):
        if self.queue:
            return
        assert list(self.tree.nodes) == list(self.replica.nodes)
        assert self.tree.nodes.keys() == self.twin.nodes.keys()
        assert set(self.tree.sessions) == self.twin.sessions
        for path, node in self.tree.nodes.items():
            stat = node.stat()
            assert stat == self.replica.nodes[path].stat()
            assert (*stat[:6], *stat[7:]) == self.twin.stat(path)
            assert node.data == self.twin.nodes[path]["data"]
            assert sorted(node.children or ()) == sorted(self.twin.children(path))


TreeMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestTreeMachine = pytest.mark.slow(TreeMachine.TestCase)
