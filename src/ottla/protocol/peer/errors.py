"""The one error of the peer protocol: the sender's connection is closed, nothing else happens."""


class ProtocolError(ValueError):
    """A peer sent bytes that are not a frame of this protocol, or of a version we do not know."""


__all__ = ["ProtocolError"]
