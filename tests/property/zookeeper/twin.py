"""The obvious znode tree: a flat dict of plain values, no pending state, no indexes."""

import re

OK, BADARGUMENTS, NONODE, NOAUTH = 0, -8, -101, -102
BADVERSION, NOCHILDREN, EXISTS, NOTEMPTY, EXPIRED = -103, -108, -110, -111, -112


class Twin:
    """nodes: path -> dict with data, version, creates, owner, czxid, mzxid, pzxid, ctime, mtime."""

    def __init__(self):
        self.nodes = {}
        self.sessions = set()
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
            self._put(path, b"", 0, 0, 0)

    def _put(self, path, data, owner, zxid, now):
        self.nodes[path] = {
            "data": data, "version": 0, "creates": 0, "owner": owner, "czxid": zxid,
            "mzxid": zxid, "pzxid": zxid, "ctime": now, "mtime": now,
        }  # fmt: skip

    def children(self, path):
        prefix = path.rstrip("/") + "/"
        return [
            other[len(prefix) :]
            for other in self.nodes
            if other.startswith(prefix) and other != "/" and "/" not in other[len(prefix) :]
        ]

    def stat(self, path):
        node = self.nodes[path]
        count = len(self.children(path))
        return (
            node["czxid"], node["mzxid"], node["ctime"], node["mtime"], node["version"],
            2 * node["creates"] - count, node["owner"], len(node["data"]), count, node["pzxid"],
        )  # fmt: skip

    def create(self, session, request, *, zxid, now):
        path, data, _, flags = request
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.nodes:
            return NONODE, None
        if flags & 2:
            path = path + str(self.nodes[parent]["creates"]).zfill(10)
        if path != "/" and (not re.fullmatch(r"(/[a-z0-9]+)+", path)):
            return BADARGUMENTS, None
        if path in self.nodes:
            return EXISTS, None
        if self.nodes[parent]["owner"]:
            return NOCHILDREN, None
        self.nodes[parent]["creates"] += 1
        self.nodes[parent]["pzxid"] = zxid
        self._put(path, data, session if flags & 1 else 0, zxid, now)
        return OK, path

    def set(self, path, data, version, zxid, now):
        if path != "/" and not re.fullmatch(r"(/[a-z0-9]+)+", path):
            return BADARGUMENTS
        if path not in self.nodes:
            return NONODE
        if path == "/zookeeper/config":
            return NOAUTH
        node = self.nodes[path]
        if version not in (-1, node["version"]):
            return BADVERSION
        node.update(data=data, version=node["version"] + 1, mzxid=zxid, mtime=now)
        return OK

    def delete(self, path, version, zxid):
        if path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
            return BADARGUMENTS
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.nodes or path not in self.nodes:
            return NONODE
        if version not in (-1, self.nodes[path]["version"]):
            return BADVERSION
        if self.children(path):
            return NOTEMPTY
        del self.nodes[path]
        self.nodes[parent]["pzxid"] = zxid
        return OK

    def check(self, path, version):
        if path != "/" and not re.fullmatch(r"(/[a-z0-9]+)+", path):
            return BADARGUMENTS
        if path not in self.nodes:
            return NONODE
        return OK if version in (-1, self.nodes[path]["version"]) else BADVERSION

    def close(self, session, zxid):
        self.sessions.discard(session)
        for path in [path for path, node in self.nodes.items() if node["owner"] == session]:
            self.delete(path, -1, zxid)
