"""ZooKeeper's own shell prints the same over Ottla as over Apache ZooKeeper 3.9.

Needs Java and, in OTTLA_ZOOKEEPER_LIBS, the jars of org.apache.zookeeper:zookeeper:3.9.3, what it
depends on, and commons-cli:commons-cli:1.5.0. Zxids, session ids and times are left out of the
comparison; the rest is equal to the last character.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.compat.zookeeper_differential.servers import ottla, zookeeper
from tests.support.jars import ZOOKEEPER

JARS = ZOOKEEPER.named()

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(
        JARS is None or not list(JARS.glob("commons-cli-*.jar")),
        reason="needs Java, and OTTLA_ZOOKEEPER_LIBS with the jars of ZooKeeper and commons-cli",
    ),
]

CONVERSATION = """\
create /a hello
create -s /a/s- one
create -e /a/eph x
create -c /container
create -t 10000 /ttl v
create /a again
ls -s /a
ls -R /
get -s /a
set -s /a world
set -v 7 /a nope
stat /a
setAcl /a world:anyone:cdrwa
getAcl -s /a
addauth digest u:p
create /secret s auth::cdrwa
getAcl /secret
getAllChildrenNumber /
getEphemerals /
addWatch -m PERSISTENT_RECURSIVE /w
create /w
create /w/x
set /w/x y
delete /w/x
removewatches /w
whoami
sync /
setquota -n 5 /a
listquota /a
delquota /a
get /nowhere
delete /a
deleteall /a
create /a/b/c
delete /zookeeper
reconfig -remove 9
close
quit
"""
_VARIES = re.compile(
    r"(?m)^(?:Connecting to .*|[cm]time = .*)$|(?<=[cmp]Zxid = )0x\w+|(?<=zxid: )\d+|0x\w{9,}"
)


def said(port: int) -> tuple[list[str], list[str]]:
    """What the shell prints on standard output, and on standard error."""
    done = subprocess.run(
        [
            *("java", "-cp", f"{JARS}/*", "org.apache.zookeeper.ZooKeeperMain"),
            *("-server", f"127.0.0.1:{port}"),
        ],
        check=False,
        input=CONVERSATION,
        capture_output=True,
        text=True,
        timeout=60,
    )
    output, errors = (_VARIES.sub("*", text).splitlines() for text in (done.stdout, done.stderr))
    return output, errors


def test_shell_prints_the_same(tmp_path: Path) -> None:
    assert JARS is not None
    with zookeeper(tmp_path / "apache", JARS) as ports:
        expected = said(ports[0])
    with ottla(tmp_path / "ottla") as ports:
        assert said(ports[0]) == expected
    assert "Created /a/s-0000000000" in expected[1]
