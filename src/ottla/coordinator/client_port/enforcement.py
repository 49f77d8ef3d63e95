"""Clients that must prove who they are before they may ask for anything.

As ZooKeeper 3.9's `AuthenticationHelper`: of a connection that shows none of the wanted schemes
nothing is taken but `auth` and SASL packets. Any other request, a ping or the end of the session
too, is answered with SESSIONCLOSEDREQUIRESASLAUTH (whatever the schemes are), and the connection is
closed behind that; the session lives on until it expires. An address is known from the start, so
the scheme `ip` keeps nobody out.
"""

import struct
from collections.abc import Collection, Iterable

from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import OpCode

_OPCODE = struct.Struct(">4xi")
_PROVING = (int(OpCode.AUTH), int(OpCode.SASL))


class Enforcement:
    """What every client of a member must show; immutable. `schemes`: one of these is enough."""

    def __init__(self, schemes: Collection[str]) -> None:
        assert schemes
        self._schemes = frozenset(schemes)

    @property
    def failed_sasl(self) -> ZkError:
        """What a SASL exchange is answered with that failed."""
        is_sasl = "sasl" in self._schemes
        return ZkError.SESSIONCLOSEDREQUIRESASLAUTH if is_sasl else ZkError.AUTHFAILED

    def refuses(self, frame: memoryview, auth: Iterable[Id]) -> bool:
        """Whether a request comes too early from who is known as `auth`."""
        return (
            len(frame) >= _OPCODE.size
            and _OPCODE.unpack_from(frame)[0] not in _PROVING
            and not any(who.scheme in self._schemes for who in auth)
        )


def enforcement_of(schemes: Collection[str]) -> Enforcement | None:
    """None: clients may ask without having shown anything."""
    return Enforcement(schemes) if schemes else None


__all__ = ["Enforcement", "enforcement_of"]
