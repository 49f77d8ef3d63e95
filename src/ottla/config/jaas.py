"""Users from a JAAS file, as ZooKeeper takes them: the `Server` entry's DigestLoginModule.

Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_alice="secret";
};
"""

import re

_COMMENTS = re.compile(r"/\*.*?\*/|(?m:^[ \t]*(?://|\#)[^\n]*)", re.DOTALL)
_ENTRY = re.compile(r"\bServer\s*\{(.*?)\}\s*;", re.DOTALL)
_MODULE = re.compile(r"([\w.$]+)\s+(?:required|requisite|sufficient|optional)\b([^;]*);")
_OPTION = re.compile(r"""user_([^\s=]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))""")
_DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule"


def digest_users(text: str) -> dict[str, str]:
    """Name -> password. ValueError says what the file lacks."""
    entry = _ENTRY.search(_COMMENTS.sub("", text))
    if entry is None:
        raise ValueError("has no entry `Server { ... };`")
    modules = _MODULE.findall(entry[1])
    others = [name for name, _ in modules if name != _DIGEST]
    if others:
        raise ValueError(f"{others[0]} is not there; {_DIGEST} is")
    users: dict[str, str] = {}
    for _, options in modules:
        for name, double, single, bare in _OPTION.findall(options):
            users[name] = re.sub(r"\\(.)", r"\1", double) or single or bare
    if not users:
        raise ValueError(f'has no user_NAME="password" for {_DIGEST}')
    return users


__all__ = ["digest_users"]
