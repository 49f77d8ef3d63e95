"""The configuration of a coordinator member: `zoo.cfg` keys, `server.N` lines, the `myid` file.

`server.N=host:peerport[:electionport][:role][;[clientaddress:]clientport]` names member N. Members
elect over the same port that they replicate over; an election port is read, shown in
/zookeeper/config and not opened. Where `dynamicConfigFile` is set, the lines are in that file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ottla.config import inert_keys
from ottla.config.jaas import digest_users
from ottla.config.keys import Key
from ottla.config.keys_coordinator import ALL
from ottla.config.listeners import parse_host_port
from ottla.config.problems import ConfigError, Place, Problem
from ottla.config.properties import Entry, parse_overrides, read
from ottla.config.resolve import Findings, Values, resolve
from ottla.config.secret_file import read_secret

COORDINATOR_KEYS: Mapping[str, Key] = ALL

_MEMBER = re.compile(r"server\.(?P<id>.+)")
_ID_MAX = 255


@dataclass(frozen=True, slots=True)
class Member:
    """One line of the ensemble."""

    id: int
    host: str
    port: int
    client_port: int | None = None
    is_observer: bool = False
    election_port: int | None = None
    client_host: str = ""


class CoordinatorConfig(Values):
    """A checked configuration of one member; immutable.

    `members` has every member by id; it is empty for an ensemble of one, whose `my_id` is 1.
    `sasl_users` are the names and passwords of the JAAS file, if there is one, `peer_secret` the
    content of `quorum.auth.secretFile`. `source` is the file that it was read from, if it was.
    """

    def __init__(
        self,
        found: Findings,
        members: Mapping[int, Member],
        my_id: int,
        warnings: tuple[Problem, ...],
        sasl_users: Mapping[str, str],
        *,
        peer_secret: bytes | None,
        source: str | None,
    ) -> None:
        super().__init__({name: row.default for name, row in ALL.items()} | found.values)
        self.members = members
        self.my_id = my_id
        self.warnings = warnings
        self.sasl_users = sasl_users
        self.peer_secret = peer_secret
        self.source = source
        self._client_port_set = "clientPort" in found.values

    @classmethod
    def from_properties(
        cls, properties: Mapping[str, str], *, my_id: int | None = None, source: str = "settings"
    ) -> "CoordinatorConfig":
        """From a mapping; `my_id` stands in for the file. ConfigError with every problem."""
        place = Place(source)
        entries = [Entry(key, value, place) for key, value in properties.items()]
        return cls._from_entries(entries, [], place, my_id, None)

    @classmethod
    def load(
        cls, path: str, overrides: Sequence[str] = (), *, my_id: int | None = None
    ) -> "CoordinatorConfig":
        """From a file, `key=value` texts, and `dataDir/myid`. ConfigError with every problem."""
        entries, problems = read(path)
        more, others = parse_overrides(tuple(overrides))
        return cls._from_entries([*entries, *more], [*problems, *others], Place(path), my_id, path)

    @classmethod
    def _from_entries(
        cls,
        entries: list[Entry],
        problems: list[Problem],
        place: Place,
        my_id: int | None,
        source: str | None,
    ) -> "CoordinatorConfig":
        lines = [entry for entry in entries if _MEMBER.fullmatch(entry.key)]
        rest = [entry for entry in entries if not _MEMBER.fullmatch(entry.key)]
        found = resolve(rest, ALL, _is_inert)
        found.problems[:0] = problems
        lines = _dynamic_lines(found, place) or lines
        members = _read_members(lines, found)
        _check(found, members, place)
        own = _own_id(found, members, my_id, place)
        users = _sasl_users(found, place)
        secret = _peer_secret(found, place)
        if found.problems:
            raise ConfigError(
                sorted(found.problems, key=lambda one: (one.place.source, one.place.line))
            )
        return cls(
            found,
            members,
            own,
            tuple(found.warnings),
            users,
            peer_secret=secret,
            source=source,
        )

    @property
    def client_port(self) -> int:
        own = self.members.get(self.my_id)
        if not self._client_port_set and own is not None and own.client_port is not None:
            return own.client_port
        return self.int("clientPort")

    @property
    def required_schemes(self) -> frozenset[str]:
        """One of these a client must show first; empty: none."""
        return _required_schemes(self)

    @property
    def data_dir(self) -> str:
        return self.str("dataDir")


def _dynamic_lines(found: Findings, place: Place) -> list[Entry]:
    """The server lines of `dynamicConfigFile`, which may hold nothing else but their version."""
    path = found.values.get("dynamicConfigFile")
    if not isinstance(path, str):
        return []
    try:
        entries, problems = read(path)
    except ConfigError as error:
        found.problem("dynamicConfigFile", f"{path}: {error.problems[0].text}", place)
        return []
    found.problems.extend(problems)
    for entry in entries:
        if entry.key != "version" and not _MEMBER.fullmatch(entry.key):
            text = "is no server line, and a dynamic configuration has nothing else"
            found.problems.append(Problem(entry.place, entry.key, entry.value, text))
    return [entry for entry in entries if _MEMBER.fullmatch(entry.key)]


def _read_members(lines: list[Entry], found: Findings) -> dict[int, Member]:
    members: dict[int, Member] = {}
    for line in lines:
        try:
            member = _read_member(line)
        except ValueError as error:
            found.problems.append(Problem(line.place, line.key, line.value, str(error)))
            continue
        same = members.get(member.id)
        twin = next(
            (m for m in members.values() if (m.host, m.port) == (member.host, member.port)), None
        )
        if same is not None and line.place.source != "--override":
            found.problems.append(
                Problem(line.place, line.key, line.value, f"there are two members {member.id}")
            )
        elif twin is not None and twin.id != member.id:
            text = f"has the address of server.{twin.id}"
            found.problems.append(Problem(line.place, line.key, line.value, text))
        else:
            members[member.id] = member
    return members


def _read_member(line: Entry) -> Member:
    match = _MEMBER.fullmatch(line.key)
    assert match is not None
    digits = match["id"]
    if not (digits.isascii() and digits.isdigit()) or not 0 <= int(digits) <= _ID_MAX:
        raise ValueError(f"the id of a member is a number from 0 to {_ID_MAX}")
    text, semicolon, client = line.value.partition(";")
    if "|" in text:
        raise ValueError("several addresses for one member are not read yet")
    parts = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)(?::(\d+))?(?::([A-Za-z]+))?", text.strip())
    if parts is None or not parts[1]:
        raise ValueError("expected host:peerport[:electionport][;clientport]")
    role = (parts[4] or "participant").lower()
    if role not in {"participant", "observer"}:
        raise ValueError(f"the role {parts[4]} is neither participant nor observer")
    host, port = parse_host_port(f"{parts[1]}:{parts[2]}")
    client_port, client_host = None, ""
    if semicolon:
        bare = client.strip()
        client_host, client_port = parse_host_port(bare if ":" in bare else f":{bare}")
    election_port = None if parts[3] is None else int(parts[3])
    is_observer = role == "observer"
    return Member(int(digits), host, port, client_port, is_observer, election_port, client_host)


def _check(found: Findings, members: Mapping[int, Member], place: Place) -> None:
    if "dataDir" not in found.values:
        found.problem("dataDir", "is not set: the directory that keeps the member's data", place)
    effective = Values({name: row.default for name, row in ALL.items()} | found.values)
    shortest, longest = effective.int("minSessionTimeout"), effective.int("maxSessionTimeout")
    tick = effective.int("tickTime")
    shortest = shortest if shortest > 0 else 2 * tick
    longest = longest if longest > 0 else 20 * tick
    if shortest > longest:
        key = "minSessionTimeout" if "minSessionTimeout" in found.values else "maxSessionTimeout"
        found.problem(key, f"leaves no timeout between {shortest} and {longest} ms", place)
    _check_tls(found, effective, place)
    _check_schemes(found, effective, place)
    voters = sum(not member.is_observer for member in members.values())
    if members and not voters:
        found.problem("server.N", "has observers only: nobody has a vote", place)
    elif members and voters % 2 == 0:
        text = f"{voters} members bear no more failures than {voters - 1}; an odd number is better"
        found.warning("server.N", text, place)


def _required_schemes(values: Values) -> frozenset[str]:
    if values.bool("sessionRequireClientSASLAuth"):
        return frozenset({"sasl"})
    if values.bool("enforce.auth.enabled"):
        return frozenset(values.list("enforce.auth.schemes"))
    return frozenset()


def _check_schemes(found: Findings, effective: Values, place: Place) -> None:
    """A scheme that nobody can show would keep everybody out."""
    wanted = _required_schemes(effective)
    key = "enforce.auth.schemes"
    if effective.bool("sessionRequireClientSASLAuth"):
        key = "sessionRequireClientSASLAuth"
    elif effective.bool("enforce.auth.enabled") and not wanted:
        found.problem(key, "is empty, which enforce.auth.enabled does not allow", place)
    available = {"digest", "ip"}
    if "java.security.auth.login.config" in found.values:
        available.add("sasl")
    if effective.int("secureClientPort") >= 0 and effective.str("ssl.clientAuth") != "none":
        available.add("x509")
    missing = {
        "sasl": "sasl needs users (java.security.auth.login.config)",
        "x509": "x509 needs a secureClientPort that asks for certificates",
    }
    for scheme in sorted(wanted - available):
        found.problem(key, missing.get(scheme, f"the scheme {scheme} is not there"), place)


def _check_tls(found: Findings, effective: Values, place: Place) -> None:
    """What a port that speaks TLS needs."""
    if effective.int("secureClientPort") >= 0:
        if "clientPort" not in found.values:
            text = "without a clientPort is not there; set both, and clientPortAddress to keep it"
            found.problem("secureClientPort", f"{text} local", place)
        is_asked = effective.str("ssl.clientAuth") != "none"
        _require_stores(found, "ssl", is_asked, "secureClientPort", place)
    if effective.bool("sslQuorum"):
        _require_stores(found, "ssl.quorum", True, "sslQuorum", place)


def _require_stores(
    found: Findings, prefix: str, needs_trust: bool, wanted_by: str, place: Place
) -> None:
    keys = [f"{prefix}.keyStore.location"]
    if needs_trust:
        keys.append(f"{prefix}.trustStore.location")
    for key in keys:
        if key not in found.values:
            found.problem(key, f"is not set, which {wanted_by} needs", place)
    if found.values.get(f"{prefix}.enabledProtocols") == ():
        found.problem(f"{prefix}.enabledProtocols", "is empty", place)


def _own_id(found: Findings, members: Mapping[int, Member], given: int | None, place: Place) -> int:
    """This member's id; 1 when it is alone. Adds what is wrong with it."""
    if given is not None:
        own, where = given, place
    elif len(members) < 2:
        return next(iter(members), 1)
    else:
        data_dir = found.values.get("dataDir")
        if not isinstance(data_dir, str):
            return 1  # told already
        path = Path(data_dir) / "myid"
        where = Place(str(path))
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            hint = f"cannot be read ({reason}); it has this member's N of server.N in one line"
            found.problems.append(Problem(where, "myid", None, hint))
            return 1
        if not text.isascii() or not text.isdigit():
            found.problems.append(Problem(where, "myid", text[:20], "expected a number"))
            return 1
        own = int(text)
    if members and own not in members:
        listed = ", ".join(f"server.{id_}" for id_ in sorted(members))
        found.problems.append(Problem(where, "myid", str(own), f"is none of {listed}"))
    return own


def _sasl_users(found: Findings, place: Place) -> dict[str, str]:
    path = found.values.get("java.security.auth.login.config")
    if not isinstance(path, str):
        return {}
    try:
        return digest_users(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError as error:
        problem = str(error)
    found.problem("java.security.auth.login.config", problem, place)
    return {}


def _peer_secret(found: Findings, place: Place) -> bytes | None:
    path = found.values.get("quorum.auth.secretFile")
    if not isinstance(path, str):
        return None
    try:
        return read_secret(path)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except ValueError as error:
        problem = str(error)
    found.problem("quorum.auth.secretFile", problem, place)
    return None


def _is_inert(name: str) -> bool:
    return name in inert_keys.COORDINATOR or name.startswith(inert_keys.COORDINATOR_PREFIXES)


__all__ = ["COORDINATOR_KEYS", "CoordinatorConfig", "Member"]
