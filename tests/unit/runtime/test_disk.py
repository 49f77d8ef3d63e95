"""One contract, two disks; and what a power cut may and may not do to the one in memory."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from ottla.runtime.interfaces import Disk
from ottla.runtime.memory import MemoryDisk
from ottla.runtime.real_disk import RealDisk


@pytest.fixture(params=["real", "memory"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return RealDisk() if request.param == "real" else MemoryDisk()


@pytest.fixture
def home(disk: Disk, tmp_path: Path) -> str:
    disk.make_dirs(str(tmp_path))
    return str(tmp_path)


def test_append_and_read_back(disk: Disk, home: str) -> None:
    file = disk.open(f"{home}/a")
    file.append(b"hello ")
    file.append(memoryview(b"world"))
    assert file.size() == 11
    assert file.read_at(6, 100) == b"world"
    assert file.read_at(11, 1) == b""
    file.close()
    assert disk.read(f"{home}/a") == b"hello world"


def test_reopened_file_is_appended_at_its_end(disk: Disk, home: str) -> None:
    first = disk.open(f"{home}/a")
    first.append(b"abc")
    first.close()
    second = disk.open(f"{home}/a", create=False)
    second.append(b"d")
    assert second.read_at(0, 9) == b"abcd"
    second.close()


def test_write_at_overwrites_and_extends(disk: Disk, home: str) -> None:
    file = disk.open(f"{home}/a")
    file.append(b"abcdef")
    file.write_at(2, b"XY")
    file.write_at(8, b"Z")
    assert file.read_at(0, 9) == b"abXYef\0\0Z"
    file.append(b"!")
    assert file.size() == 10
    file.close()


def test_truncate_cuts_and_extends_with_zeros(disk: Disk, home: str) -> None:
    file = disk.open(f"{home}/a")
    file.append(b"abcdef")
    file.truncate(2)
    file.append(b"c")
    file.truncate(5)
    assert file.read_at(0, 9) == b"abc\0\0"
    file.close()


def test_absent_files_and_directories(disk: Disk, home: str) -> None:
    for action in (
        lambda: disk.open(f"{home}/x", create=False),
        lambda: disk.read(f"{home}/x"),
        lambda: disk.list_dir(f"{home}/x"),
        lambda: disk.remove(f"{home}/x"),
        lambda: disk.rename(f"{home}/x", f"{home}/y"),
        lambda: disk.open(f"{home}/no/dir"),
        lambda: disk.sync_dir(f"{home}/x"),
    ):
        with pytest.raises(FileNotFoundError):
            action()
    assert not disk.exists(f"{home}/x")
    assert not disk.is_dir(f"{home}/x")


def test_names_are_listed_in_order(disk: Disk, home: str) -> None:
    for name in ("b", "a", "c"):
        disk.open(f"{home}/{name}").close()
    disk.make_dirs(f"{home}/d/e")
    assert disk.list_dir(home) == ["a", "b", "c", "d"]
    assert disk.is_dir(f"{home}/d/e")
    assert disk.exists(f"{home}/a")
    assert not disk.is_dir(f"{home}/a")


def test_rename_replaces_a_file_and_moves_a_directory(disk: Disk, home: str) -> None:
    disk.replace(f"{home}/old", b"1")
    disk.replace(f"{home}/new", b"2")
    disk.rename(f"{home}/old", f"{home}/new")
    assert disk.read(f"{home}/new") == b"1"
    disk.make_dirs(f"{home}/dir")
    disk.replace(f"{home}/dir/file", b"3")
    disk.rename(f"{home}/dir", f"{home}/dir-delete")
    assert disk.read(f"{home}/dir-delete/file") == b"3"
    disk.remove_tree(f"{home}/dir-delete")
    disk.remove(f"{home}/new")
    assert disk.list_dir(home) == []


def test_open_file_survives_its_removal(disk: Disk, home: str) -> None:
    """A reader of a segment goes on while retention deletes it."""
    file = disk.open(f"{home}/a")
    file.append(b"abc")
    disk.remove(f"{home}/a")
    assert file.read_at(0, 3) == b"abc"
    file.close()


def test_replace_leaves_no_temporary_file(disk: Disk, home: str) -> None:
    disk.replace(f"{home}/a", b"1")
    disk.replace(f"{home}/a", b"22")
    assert disk.read(f"{home}/a") == b"22"
    assert disk.list_dir(home) == ["a"]


def test_lock_is_exclusive_until_released(disk: Disk, home: str) -> None:
    lock = disk.lock(f"{home}/.lock")
    with pytest.raises(BlockingIOError):
        disk.lock(f"{home}/.lock")
    lock.release()
    lock.release()
    disk.lock(f"{home}/.lock").release()


async def test_sync_may_be_cut_short_by_close(disk: Disk, home: str) -> None:
    file = disk.open(f"{home}/a")
    file.append(b"abc")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.sync)
        await trio.testing.wait_all_tasks_blocked()
        file.close()
    with pytest.raises(OSError):  # noqa: PT011  closed
        file.append(b"x")


_FAILING_APPEND = """
import errno, resource, signal, sys
from ottla.runtime.real_disk import RealDisk
# The system refuses files above this size as a full disk would: after it wrote a part.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
file = RealDisk().open(sys.argv[1])
file.append(b"x" * 9_000)
try:
    file.append(b"y" * 2_000)
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise AssertionError("the limit did not hold")
assert file.size() == 9_000
file.append(b"z" * 1_000)
assert file.read_at(8_999, 2) == b"xz"
"""


def test_failed_append_is_cut_back(tmp_path: Path) -> None:
    """In a process of its own, which alone has the limit."""
    done = subprocess.run(
        [sys.executable, "-c", _FAILING_APPEND, str(tmp_path / "a")],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == b"x" * 9_000 + b"z" * 1_000


def test_full_memory_disk_refuses_and_recovers() -> None:
    disk = MemoryDisk(capacity_bytes=10)
    file = disk.open("a")
    file.append(b"x" * 8)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        file.append(b"yyy")
    assert file.size() == 8
    file.truncate(4)
    file.append(b"yyy")
    disk.remove("a")
    assert disk.used_bytes == 0


def test_full_memory_disk_takes_what_needs_no_room() -> None:
    disk = MemoryDisk()
    file = disk.open("a")
    file.append(b"x" * 8)
    disk.capacity_bytes = 4
    file.write_at(2, b"yy")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        disk.replace("a", b"z")  # its temporary file has no room
    assert disk.read("a") == b"xxyyxxxx"


def test_flipped_bit_is_seen_until_it_is_undone_and_never_written() -> None:
    disk = MemoryDisk()
    file = disk.open("a")
    file.append(b"abc")
    file.sync_now()
    file.append(b"def")
    flips = [disk.flip_bit("a", 0, 1), disk.flip_bit("a", 4, 0), disk.flip_bit("a", 5, 0)]
    assert file.read_at(0, 6) == b"cbcddg"
    file.truncate(5)
    file.append(b"x")
    for flip in flips:
        flip.undo()
    assert disk.read("a") == b"abcdex"
    flip = disk.flip_bit("a", 0, 1)
    file.sync_now()
    disk.sync_dir("")
    disk.crash(random.Random(1))
    assert disk.read("a") == b"abcdex"
    flip.undo()
    assert disk.read("a") == b"abcdex"


@pytest.mark.parametrize("seed", range(50))
def test_synced_bytes_under_a_synced_name_survive_a_crash(seed: int) -> None:
    rng = random.Random(seed)
    disk = MemoryDisk()
    disk.make_dirs("d")
    file = disk.open("d/a")
    file.append(b"s" * 5_000)
    file.sync_now()
    disk.sync_dir("d")
    for _ in range(4):
        file.append(rng.randbytes(6_000))
    disk.crash(rng)
    assert disk.read("d/a")[:5_000] == b"s" * 5_000
    assert len(disk.read("d/a")) <= 29_000
    with pytest.raises(OSError, match="before the crash"):
        file.append(b"x")


def crash_sizes(prepare_sync: bool) -> set[int]:
    sizes = set()
    for seed in range(100):
        disk = MemoryDisk()
        file = disk.open("a")
        disk.sync_dir("")
        file.append(b"x" * 1_000)
        if prepare_sync:
            file.sync_now()
        disk.crash(random.Random(seed))
        sizes.add(len(disk.read("a")))
    return sizes


def test_unsynced_bytes_stay_vanish_or_tear() -> None:
    sizes = crash_sizes(prepare_sync=False)
    assert {0, 1_000} < sizes
    assert crash_sizes(prepare_sync=True) == {1_000}


def test_unsynced_names_may_vanish_and_renames_are_whole() -> None:
    outcomes = set()
    for seed in range(60):
        disk = MemoryDisk()
        disk.replace("old", b"1")
        disk.rename("old", "new")
        disk.open("made").close()
        disk.crash(random.Random(seed))
        outcomes.add(tuple(disk.list_dir("")))
    assert outcomes == {("old",), ("new",), ("made", "new")}


@pytest.mark.parametrize("seed", range(10))
def test_synced_directory_is_not_lost_by_what_had_its_name_before(seed: int) -> None:
    disk = MemoryDisk()
    disk.make_dirs("logs/t-0")
    disk.sync_dir("logs/t-0")
    disk.rename("logs/t-0", "logs/t-0.gone")
    disk.make_dirs("logs/t-0")
    disk.open("logs/t-0/new").close()
    disk.sync_dir("logs/t-0")
    disk.crash(random.Random(seed))
    assert disk.list_dir("logs") == ["t-0", "t-0.gone"]
    assert disk.list_dir("logs/t-0") == ["new"]


async def test_bytes_written_during_a_sync_are_not_covered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lost = 0
    for seed in range(30):
        disk = MemoryDisk(sync_delay_s=0.1)
        file = disk.open("a")
        disk.sync_dir("")
        file.append(b"first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.sync)
            await trio.testing.wait_all_tasks_blocked()
            file.append(b"second")
        disk.crash(random.Random(seed))
        assert disk.read("a").startswith(b"first")
        lost += disk.read("a") != b"firstsecond"
    assert lost > 5


async def test_sync_that_a_crash_overtakes_fails(autojump_clock: trio.testing.MockClock) -> None:
    disk = MemoryDisk(sync_delay_s=0.1)
    file = disk.open("a")
    file.append(b"x")

    async def sync() -> None:
        with pytest.raises(OSError, match="crashed"):
            await file.sync()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sync)
        await trio.testing.wait_all_tasks_blocked()
        disk.crash(random.Random(0))
