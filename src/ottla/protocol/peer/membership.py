"""Who is in the ensemble, as an entry of the log: the payload of a change of members.

    payload = 0xC5 | msgpack array [format, voters, observers, outgoing, details]

Ids ascend. `outgoing` are the voters of the configuration that is left; only a joint configuration
(Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", section 6) has any.
"""

from typing import NamedTuple

import msgpack

from ottla.protocol.peer.errors import ProtocolError

FORMAT = 1
MARK = b"\xc5"
"""First byte of such a payload; a transaction begins with its format, 1, and a no-op is empty."""


class Membership(NamedTuple):
    """A configuration of the ensemble. `details` belong to who applies it (addresses, text)."""

    voters: tuple[int, ...]
    observers: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    details: bytes = b""

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def everyone(self) -> frozenset[int]:
        return frozenset((*self.voters, *self.observers, *self.outgoing))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Every decision needs a majority of each of these groups."""
        return (self.voters, self.outgoing) if self.outgoing else (self.voters,)

    def encode(self) -> bytes:
        """The payload of its entry."""
        packed: bytes = msgpack.packb((FORMAT, *self))
        return MARK + packed

    def follows(self, earlier: "Membership") -> bool:
        """Whether every majority of this one meets every majority of the one before it.

        Either nobody's vote changes, or a joint configuration lies between the two.
        """
        if earlier.is_joint:
            return self.voters == earlier.voters and not self.is_joint
        return self.outgoing == earlier.voters if self.is_joint else self.voters == earlier.voters


def decode(payload: bytes) -> Membership:
    """Read the payload of an entry that begins with `MARK`. ProtocolError."""
    try:
        row = msgpack.unpackb(payload[1:], use_list=False, raw=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a membership is not msgpack: {error}") from None
    match row:
        case (version, tuple(voters), tuple(observers), tuple(outgoing), bytes(details)) if (
            version == FORMAT
        ):
            ids = (*voters, *observers, *outgoing)
            if not voters or any(type(one) is not int or one < 0 for one in ids):
                raise ProtocolError("a membership without voters, or with ids that are none")
            if set(voters) & set(observers):
                raise ProtocolError("a membership in which one member has two roles")
            return Membership(voters, observers, outgoing, details)
    raise ProtocolError("a membership of another form")


__all__ = ["FORMAT", "MARK", "Membership", "decode"]
