"""Drives one Group by short commands and says in words what it did; for tables and transcripts.

Members go by the names that the script gives them. Writes commit at once unless `hold` was said.
"""

import random
from collections.abc import Callable

from ottla.broker.groups.group import Group
from ottla.broker.groups.settings import GroupSettings
from ottla.broker.groups.values import (
    Answer,
    Effect,
    GroupWrite,
    Join,
    JoinReply,
    MemberIdentity,
    Moment,
    Persist,
    Sync,
    SyncReply,
)
from ottla.protocol.kafka.errors import ErrorCode

START_MS = 1_700_000_000_000


class GroupScript:
    """One group with a clock of its own; `run` takes a line and gives the lines that answer it."""

    def __init__(self, settings: GroupSettings | None = None, seed: int = 7) -> None:
        self.settings = settings or GroupSettings()
        self.rng = random.Random(seed)
        self.seconds = 0.0
        self.group = Group("g", self.settings, self.rng, self.now)
        self.ids: dict[str, str] = {}  # script name -> member id, from the newest reply
        self.names: dict[str, str] = {}  # member id -> script name, also of ids that are over
        self.held: list[GroupWrite] | None = None
        self.log: list[GroupWrite] = []  # what was committed
        self.parked: set[tuple[str, str, int]] = set()
        self.answers: list[tuple[str, str, JoinReply | SyncReply]] = []
        self._serial = 0
        self._lines: list[str] = []

    @property
    def now(self) -> Moment:
        return Moment(self.seconds, START_MS + int(self.seconds * 1000))

    def run(self, line: str) -> list[str]:
        command, *words = line.split()
        self._lines = []
        step: Callable[[list[str]], None] = getattr(self, f"_{command}")
        step(words)
        self.group.check()
        self._lines.append(f"= {self.group.state.value} g{self.group.generation}")
        return self._lines

    def say(self, *lines: str) -> list[str]:
        """Run several lines; what the last one answered."""
        out: list[str] = []
        for line in lines:
            out = self.run(line)
        return out

    # --- Commands ---

    def _join(self, words: list[str]) -> None:
        """NAME [new] [instance=I] [protocols=a,b] [meta=m] [session=s] [rebalance=s] [v=N]"""
        name, options = words[0], _options(words[1:])
        version = int(options.get("v", "9"))
        command = Join(
            member_id="" if "new" in words else options.get("id", self.ids.get(name, "")),
            instance_id=options.get("instance"),
            protocol_type=options.get("type", "consumer"),
            protocols=tuple(
                (protocol, options.get("meta", "m").encode())
                for protocol in options.get("protocols", "range").split(",")
                if protocol
            ),
            session_ms=int(options.get("session", "10")) * 1000,
            rebalance_ms=int(options.get("rebalance", "60")) * 1000,
            client_id=name,
            client_host="/10.0.0.1",
            reason=options.get("reason", "test"),
            needs_known_id=version >= 4 and "instance" not in options,
            may_skip_assignment=version >= 9,
        )
        self._perform(self.group.join(command, self._ticket(name, "join"), self.now))

    def _sync(self, words: list[str]) -> None:
        """NAME [generation=N] [type=T] [protocol=P] [instance=I] [@NAME=assignment ...]"""
        name, options = words[0], _options(words[1:])
        assignments = {
            self.ids.get(key[1:], key[1:]): value.encode()
            for key, value in options.items()
            if key.startswith("@")
        }
        command = Sync(
            member_id=options.get("id", self.ids.get(name, "")),
            instance_id=options.get("instance"),
            generation=int(options.get("generation", self.group.generation)),
            protocol_type=options.get("type"),
            protocol=options.get("protocol"),
            assignments=assignments,
        )
        self._perform(self.group.sync(command, self._ticket(name, "sync"), self.now))

    def _heartbeat(self, words: list[str]) -> None:
        name, options = words[0], _options(words[1:])
        error = self.group.heartbeat(
            options.get("id", self.ids.get(name, "")),
            options.get("instance"),
            int(options.get("generation", self.group.generation)),
            self.now,
        )
        self._lines.append(f"{name} <- {error.name}")

    def _commit(self, words: list[str]) -> None:
        """NAME [generation=N]: whether it may commit offsets. `-` is nobody."""
        name, options = words[0], _options(words[1:])
        error = self.group.decide_commit(
            "" if name == "-" else options.get("id", self.ids.get(name, "")),
            options.get("instance"),
            int(options.get("generation", self.group.generation)),
            self.now,
        )
        self._lines.append(f"{name} <- {error.name}")

    def _leave(self, words: list[str]) -> None:
        name, options = words[0], _options(words[1:])
        member_id = "" if name == "-" else options.get("id", self.ids.get(name, ""))
        who = MemberIdentity(member_id, options.get("instance"), "test")
        error, effects = self.group.leave(who, self.now)
        self._lines.append(f"{name} <- {error.name}")
        self._perform(effects)

    def _advance(self, words: list[str]) -> None:
        """SECONDS [NAME ...]: time passes; the named members heartbeat every second."""
        end = self.seconds + float(words[0])
        while self.seconds < end:
            self.seconds = min(self.seconds + 1.0, end)
            for name in words[1:]:
                self.group.heartbeat(self.ids[name], None, self.group.generation, self.now)
            while self.group.next_deadline() <= self.seconds:
                before = self.group.next_deadline()
                self._perform(self.group.tick(self.now))
                assert self.group.next_deadline() > before

    def _hold(self, _words: list[str]) -> None:
        """Writes stay on their way until `release` or `fail`."""
        self.held = []

    def _release(self, _words: list[str]) -> None:
        held, self.held = self.held or [], None
        for write in held:
            self._commit_write(write)

    def _fail(self, words: list[str]) -> None:
        """ERROR [later]: the oldest held write fails; with `later`, it is committed after all."""
        assert self.held
        write = self.held.pop(0)
        self._perform(self.group.failed(write, ErrorCode[words[0]], self.now))
        if "later" in words:
            self._commit_write(write)

    def _close(self, _words: list[str]) -> None:
        self._perform(self.group.close(ErrorCode.NOT_COORDINATOR))

    def _reload(self, _words: list[str]) -> None:
        """The partition moves to another broker, which replays the log."""
        self._perform(self.group.close(ErrorCode.NOT_COORDINATOR))
        self.group = self.replayed()

    def _state(self, _words: list[str]) -> None:
        group = self.group
        for member in group.members.by_id.values():
            leads = "*" if group.members.leader == member.member_id else ""
            self._lines.append(
                f"  {self._name(member.member_id)}{leads} assignment={member.assignment!r}"
            )

    # --- Effects ---

    def replayed(self) -> Group:
        """A group made from what was committed, as a new owner of the partition makes it."""
        group = Group("g", self.settings, self.rng, self.now)
        for write in self.log:
            group.apply(write.record)
        effects = group.activate(self.now)
        for effect in effects:
            assert not isinstance(effect, Answer)
        return group

    def _ticket(self, name: str, what: str) -> tuple[str, str, int]:
        self._serial += 1
        ticket = (name, what, self._serial)
        self.parked.add(ticket)
        return ticket

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                ticket = effect.ticket
                assert isinstance(ticket, tuple)
                self.parked.remove(ticket)  # each exactly once
                self._hear(ticket[0], effect.reply)
            elif isinstance(effect, Persist):
                kind, record = effect.write.kind.value, effect.write.record
                what = " ".join(
                    f"{self._name(m.member_id)}={m.assignment.decode()}" for m in record.members
                )
                self._lines.append(f"persist {kind} g{record.generation} [{what}]")
                if self.held is None:
                    self._commit_write(effect.write)
                else:
                    self.held.append(effect.write)
            else:
                fields = {
                    k: v for k, v in effect.fields.items() if k not in ("group", "generation")
                }
                text = " ".join(f"{k}={self._plain(v)}" for k, v in fields.items())
                self._lines.append(f"note {effect.event} {text}".rstrip())

    def _commit_write(self, write: GroupWrite) -> None:
        self.log.append(write)
        self._perform(self.group.committed(write, self.now))

    def _hear(self, name: str, reply: JoinReply | SyncReply) -> None:
        self.answers.append((name, self._name(getattr(reply, "member_id", "")), reply))
        if isinstance(reply, SyncReply):
            if reply.error is ErrorCode.NONE:
                self._lines.append(f"{name} <- assigned {reply.assignment.decode()!r}")
            else:
                self._lines.append(f"{name} <- {reply.error.name}")
            return
        if reply.member_id and reply.error in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
            self.ids[name] = reply.member_id
            self.names[reply.member_id] = name
        if reply.error is not ErrorCode.NONE:
            self._lines.append(f"{name} <- {reply.error.name}")
            return
        members = ",".join(self._name(m.member_id) for m in reply.members)
        skip = " skip" if reply.skip_assignment else ""
        self._lines.append(
            f"{name} <- joined g{reply.generation} {reply.protocol_type}/{reply.protocol} "
            f"leader={self._name(reply.leader)} members=[{members}]{skip}"
        )

    def _name(self, member_id: str) -> str:
        if member_id in self.names:
            return self.names[member_id]
        return member_id.rsplit("-", 5)[0] or "-"

    def _plain(self, value: object) -> str:
        text = str(value)
        for member_id, name in self.names.items():
            text = text.replace(member_id, name)
        words = [w.rsplit("-", 5)[0] if w.count("-") >= 5 else w for w in text.split()]
        return repr(" ".join(words)) if " " in text else words[0] if words else "''"


def _options(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)
