"""scripts/dump-log.sh on files that the storage and the store of this project wrote."""

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.log import Log
from ottla.broker.storage.log_config import LogConfig
from ottla.coordinator.consensus.values import HardState, Persist, Position
from ottla.coordinator.store.snapshots import SnapshotWriter
from ottla.coordinator.store.txn_log import SegmentWriter
from ottla.coordinator.tree import txns
from ottla.coordinator.tree.decide import Decider
from ottla.coordinator.tree.tree import Tree
from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import build_batch
from ottla.protocol.peer.entries import Block, Entry
from ottla.protocol.zookeeper.data import OPEN_ACL
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import CreateRequest, CreateSessionRequest
from ottla.runtime.memory import RecordingEvents
from ottla.runtime.real_disk import RealDisk
from ottla.scripts.dump_log import main

NOW_MS = 1_700_000_000_000
SEGMENT = "00000000000000000000"
EPOCH = 1 << 32


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    directory = tmp_path / "t-0"
    config = LogConfig(index_interval_bytes=100)
    log = Log.open(
        RealDisk(), str(directory), TopicPartition("t", 0), config,
        now_ms=NOW_MS, clean=True, events=RecordingEvents(),
    )  # fmt: skip
    for number in range(10):
        records = [(b"key", b"value %d" % number, NOW_MS + number, [("h", b"")])]
        data = build_batch(records, codec=Codec(number % 5), producer_id=9, producer_epoch=0,
                           base_sequence=number)  # fmt: skip
        log.append_as_leader(data, leader_epoch=3, now_ms=NOW_MS)
    log.close(clean=True)
    return directory


def test_batches_and_records(partition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--files", f"{partition}/{SEGMENT}.log", "--print-data-log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"Dumping {partition}/{SEGMENT}.log", "Log starting offset: 0"]
    assert lines[2].startswith("baseOffset: 0 lastOffset: 0 count: 1 baseSequence: 0 ")
    assert lines[2].endswith("isvalid: true")
    assert lines[3] == (
        f"| offset: 0 CreateTime: {NOW_MS} keySize: 3 valueSize: 7 sequence: 0 headerKeys: [h] "
        "key: key payload: value 0"
    )
    assert len(lines) == 2 + 20


def test_a_directory_is_all_its_files(partition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--files", str(partition)]) == 0
    said = capsys.readouterr().out
    for kind in (".log", ".index", ".timeindex"):
        assert f"Dumping {partition}/{SEGMENT}{kind}" in said
    assert "producerId: 9 producerEpoch: 0 " in said  # of the producers' snapshot


def test_damage_is_told_with_its_place(partition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = partition / f"{SEGMENT}.log"
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data + b"torn")
    assert main(["--files", str(path)]) == 1
    told = capsys.readouterr()
    assert "isvalid: false" in told.out.splitlines()[2]
    assert "Found 4 invalid bytes at the end" in told.out
    assert "at position 0: batch at offset 0 has CRC" in told.err


def test_an_index_is_held_against_its_log(
    partition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = partition / f"{SEGMENT}.index"
    data = bytearray(path.read_bytes())
    data[3] += 1
    path.write_bytes(data)
    assert main(["--files", str(path), "--verify-index-only"]) == 1
    told = capsys.readouterr()
    assert told.out == f"Dumping {path}\n"
    assert "Mismatches in :" in told.err


def test_an_index_that_a_start_would_rebuild(
    partition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = partition / f"{SEGMENT}.index"
    assert main(["--files", str(path), "--index-sanity-check"]) == 0
    assert "passed sanity check" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-3])
    assert main(["--files", str(path), "--index-sanity-check"]) == 1


def test_a_reader_that_goes_away_is_no_fault_of_the_file(
    partition: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("baseOffset"):
                raise BrokenPipeError
            return len(text)

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        main(["--files", f"{partition}/{SEGMENT}.log"])
    assert not capsys.readouterr().err


def test_what_it_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("x")
    assert main(["--files", f"{other},{tmp_path}/{SEGMENT}.log"]) == 1
    told = capsys.readouterr().err
    assert "notes.txt is no file that this tool reads" in told
    assert f"{SEGMENT}.log: No such file" in told


def transactions(tree: Tree) -> Iterator[tuple[int, bytes]]:
    """A session and a znode, as the leader decides them."""
    decider = Decider(tree, member_id=1, rng=random.Random(1))
    session = CreateSessionRequest(4000).encode()
    create = CreateRequest("/a", b"two\nlines", OPEN_ACL, 0).encode()
    for zxid, opcode, body in (
        (EPOCH + 1, OpCode.CREATE_SESSION, session),
        (EPOCH + 2, OpCode.CREATE, create),
        (EPOCH + 3, OpCode.CREATE, create),
    ):
        payload = decider.decide(
            session_id=next(iter(tree.sessions), 0),
            opcode=opcode,
            body=body,
            origin=(1, 1),
            now_ms=NOW_MS,
            auth=(),
        )
        tree.apply(zxid, payload)
        decider.applied(zxid)
        yield zxid, payload


def test_txn_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [Entry(1, 1, EPOCH, b"")]
    entries += [Entry(index, 1, *txn) for index, txn in enumerate(transactions(Tree()), 2)]
    writer = SegmentWriter(RealDisk(), str(tmp_path), 0)
    writer.write(Persist(1, None, HardState(1, 2), (Block(entries),)), Position(), HardState())
    writer.close()
    assert main(["--files", str(tmp_path), "--print-data-log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("format: 1 follows index: 0")
    assert lines[2] == "currentEpoch: 1 vote: 2"
    assert lines[3] == "index: 1 epoch: 1 zxid: 0x100000000 first of its epoch"
    assert lines[4].endswith("member: 1 createSession timeoutMs: 4000")
    assert ' create /a dataLength: 9 data: "two\\nlines" acl: world:anyone:cdrwa ' in lines[5]
    assert "time: 2023-11-14T22:13:20.000Z session: 0x1" in lines[5]
    assert lines[6].endswith("create error: NODEEXISTS")


def test_a_torn_txn_log_is_read_up_to_the_tear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = SegmentWriter(RealDisk(), str(tmp_path), 0)
    for index in (1, 2):
        block = Block([Entry(index, 1, EPOCH + index, b"")])
        writer.write(Persist(index, None, None, (block,)), Position(index - 1, 0, 0), HardState())
    writer.close()
    (path,) = tmp_path.glob("log.*")
    # Behind the records there are zeros: room for later ones, in which a write was torn.
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-2] + bytes(100))
    assert main(["--files", str(path)]) == 1
    told = capsys.readouterr()
    assert "index: 1 " in told.out
    assert "index: 2 " not in told.out
    assert "are no record" in told.err


@pytest.mark.parametrize(
    "payload",
    [
        b"\x01",
        txns.HEADER.pack(txns.FORMAT, OpCode.SET_DATA, 0, 1, 1, 1, NOW_MS),
        txns.HEADER.pack(txns.FORMAT, OpCode.CLOSE_SESSION, 0, 1, 1, 1, -(1 << 63)),
    ],
    ids=["no header", "no body", "no time"],
)
def test_a_transaction_that_says_nothing_is_told_as_damage(
    tmp_path: Path, payload: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = SegmentWriter(RealDisk(), str(tmp_path), 0)
    block = Block([Entry(1, 1, EPOCH, b""), Entry(2, 1, EPOCH + 1, payload)])
    writer.write(Persist(1, None, None, (block,)), Position(), HardState())
    writer.close()
    assert main(["--files", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "index: 1 " in told.out
    assert "index: 2 " not in told.out
    assert "at position " in told.err


@pytest.mark.parametrize("whole", [True, False])
def test_snapshot(tmp_path: Path, whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Tree()
    for _ in transactions(tree):
        pass
    writer = SnapshotWriter(RealDisk(), str(tmp_path), Position(4, 1, EPOCH + 3))
    for chunk in tree.dump():
        writer.add(chunk)
    trio.run(writer.finish)
    (path,) = tmp_path.glob("snapshot.*")
    if not whole:
        path.write_bytes(path.read_bytes()[:-12])
    assert main(["--files", str(path)]) == (0 if whole else 1)
    told = capsys.readouterr()
    assert "format: 1 after index: 4 epoch: 1 zxid: 0x100000003" in told.out
    assert "timeoutMs: 4000 member: 1" in told.out
    assert "/a cZxid: 0x100000002 " in told.out
    assert ("the end is missing" in told.err) is not whole
