"""A tree with its decider, applied at once: one member without a log, for tests."""

import random

from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.reads import Asker, answer
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Applied
from ottla.coordinator.tree.watches import Watches
from ottla.protocol.zookeeper.data import OPEN_ACL, Id
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    CreateRequest,
    CreateSessionRequest,
    DeleteRequest,
    MultiRequest,
    MultiResponse,
    SetDataRequest,
    Stat,
)
from ottla.protocol.zookeeper.opcodes import OpCode

MEMBER = 1
NOW_MS = 1_700_000_000_000
ANYBODY = (Id("ip", "127.0.0.1"),)


class SoloTree:
    def __init__(
        self, *, extended_types: bool = False, enforce_quota: bool = False, checked: bool = True
    ) -> None:
        self.checked = checked
        self.tree = Tree()
        self.watches = Watches()
        self.now_ms = NOW_MS
        self.decider = Decider(
            self.tree,
            member_id=MEMBER,
            rng=random.Random(1),
            extended_types=extended_types,
            enforce_quota=enforce_quota,
        )
        self.session = self.open_session()

    def decide(self, opcode, body=b"", *, session=None, auth=ANYBODY, member=MEMBER):
        return self.decider.decide(
            session_id=self.session if session is None else session,
            opcode=opcode,
            body=body,
            origin=None if member is None else (member, 7),
            now_ms=self.now_ms,
            auth=auth,
        )

    def apply(self, payload: bytes) -> Applied:
        applied = self.tree.apply(self.tree.last_zxid + 1, payload)
        self.decider.applied(self.tree.last_zxid)
        if self.checked:
            self.tree.check()
            self.decider.check()
        return applied

    def submit(self, opcode, request=None, **who) -> Applied:
        return self.apply(self.decide(opcode, request.encode() if request else b"", **who))

    def open_session(self, member=MEMBER, timeout_ms=10_000) -> int:
        request = CreateSessionRequest(timeout_ms)
        return self.submit(OpCode.CREATE_SESSION, request, session=0, member=member).session_id

    def create(self, path, data=b"", *, flags=0, acl=OPEN_ACL, **who) -> Applied:
        return self.submit(OpCode.CREATE, CreateRequest(path, data, acl, flags), **who)

    def set(self, path, data=b"", version=-1, **who) -> Applied:
        return self.submit(OpCode.SET_DATA, SetDataRequest(path, data, version), **who)

    def delete(self, path, version=-1, **who) -> Applied:
        return self.submit(OpCode.DELETE, DeleteRequest(path, version), **who)

    def multi(self, *operations, **who) -> list:
        applied = self.submit(OpCode.MULTI, MultiRequest(operations), **who)
        return list(MultiResponse.decode(Reader(applied.reply)).results)

    def read(self, opcode, request, response=None, *, session=None, auth=ANYBODY):
        asker = Asker(self.session if session is None else session, auth)
        raw = answer(self.tree, self.watches, asker, opcode, Reader(request.encode()))
        return response.decode(Reader(raw)) if response else raw

    def stat(self, path) -> Stat:
        return self.tree.nodes[path].stat()
