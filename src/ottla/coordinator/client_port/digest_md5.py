"""The server's side of SASL DIGEST-MD5 (RFC 2831), as ZooKeeper's clients speak it. No I/O.

Two steps: a challenge, then the client's response and the proof that the server knows the password
too (`rspauth`). Quality of protection is `auth` only: nothing is wrapped afterwards.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

REALM = "zk-sasl-md5"
_FIELD = re.compile(r'\s*([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^,"]*))\s*(?:,|$)')
_NEEDED = frozenset({"username", "nonce", "cnonce", "nc", "digest-uri", "response"})


class AuthenticationFailed(Exception):
    """The client did not prove who it says it is. The text is for our own event log only."""


class DigestMd5Server:
    """One exchange. `users` maps names to passwords; `nonce` must not be guessable."""

    __slots__ = ("_is_challenged", "_nonce", "_users", "user")

    def __init__(self, users: Mapping[str, str], nonce: str) -> None:
        self._users = users
        self._nonce = nonce
        self._is_challenged = False
        self.user: str | None = None
        """Who it is, once that is proved."""

    def step(self, token: bytes) -> bytes:
        """The answer to a client's token. Raises AuthenticationFailed."""
        if not self._is_challenged:
            if token:
                raise AuthenticationFailed("a response before the challenge")
            self._is_challenged = True
            challenge = (
                f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess,qop="auth"'
            )
            return challenge.encode()
        if self.user is not None:
            raise AuthenticationFailed("the exchange is over")
        return self._verify(_fields(token))

    def _verify(self, given: Mapping[str, str]) -> bytes:
        missing = _NEEDED - given.keys()
        if missing:
            raise AuthenticationFailed(f"no {', '.join(sorted(missing))}")
        if given["nonce"] != self._nonce or given["nc"] != "00000001":
            raise AuthenticationFailed("an answer to another challenge")
        if given.get("qop", "auth") != "auth":
            raise AuthenticationFailed(f"qop {given['qop']}")
        user = given["username"]
        if given.get("authzid", user) != user:
            raise AuthenticationFailed(f"{user} wants to be {given['authzid']}")
        password = self._users.get(user)
        # With an empty password for an unknown user the work is the same.
        key = _key(given, password or "")
        expected = _response(key, "AUTHENTICATE:", given)
        is_right = hmac.compare_digest(expected, given["response"].encode())
        if password is None or not is_right:
            raise AuthenticationFailed(f"wrong user or password: {user}")
        self.user = user
        return b"rspauth=" + _response(key, ":", given)


def _fields(token: bytes) -> dict[str, str]:
    """The directives of a response (RFC 2831, 2.1.2). A name that comes twice is refused."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        raise AuthenticationFailed("a response that is not UTF-8") from None
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None or match[1] in found:
            raise AuthenticationFailed("a response that is no list of directives")
        quoted = match[2]
        found[match[1]] = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
    return found


def _key(given: Mapping[str, str], password: str) -> bytes:
    """HEX(H(A1)) of md5-sess (2.1.2.1)."""
    parts = (given["username"], given.get("realm", ""), password)
    secret = _md5(b":".join(map(_encoded, parts)))
    a1 = secret + f":{given['nonce']}:{given['cnonce']}".encode()
    if "authzid" in given:
        a1 += f":{given['authzid']}".encode()
    return _md5(a1).hex().encode()


def _response(key: bytes, method: str, given: Mapping[str, str]) -> bytes:
    a2 = _md5(f"{method}{given['digest-uri']}".encode()).hex()
    middle = f":{given['nonce']}:{given['nc']}:{given['cnonce']}:{given.get('qop', 'auth')}:{a2}"
    return _md5(key + middle.encode()).hex().encode()


def _encoded(text: str) -> bytes:
    # What fits into ISO 8859-1 is hashed as that, for the sake of HTTP's password files (2.1.2.1).
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        return text.encode()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


__all__ = ["REALM", "AuthenticationFailed", "DigestMd5Server"]
