"""scripts/dump-log.sh: what the files of partitions and coordinators hold.

Flags and lines for a partition's files are those of Kafka 3.9's `kafka-dump-log.sh`. Files are read
only; a daemon may be running on them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ottla.scripts.dump.batches import EVERYTHING, Wanted, dump_batches
from ottla.scripts.dump.contents import Parser, offsets, plain
from ottla.scripts.dump.ensemble import dump_snapshot, dump_txn_log
from ottla.scripts.dump.indexes import (
    Check,
    dump_offset_index,
    dump_producers,
    dump_time_index,
    dump_txn_index,
)

PROG = "dump-log.sh"
_HEX = frozenset("0123456789abcdef")


class _Arguments(argparse.ArgumentParser):
    """Wrong usage ends with exit code 1, as Kafka's tools do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    made = _Arguments(
        prog=PROG,
        description="Prints what the files of partitions (.log, .index, .timeindex, .txnindex,"
        " .snapshot) and of coordinators (log.ZXID, snapshot.ZXID) hold.",
        epilog="The exit code is 1 if a file could not be read or is damaged.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--files", required=True, metavar="FILE,...",
        help="files, or directories: all files in them that this tool reads")  # fmt: skip
    add("--deep-iteration", action="store_true", help="records, not only batches")
    add("--print-data-log", action="store_true",
        help="keys and payloads of records, data of znodes")  # fmt: skip
    add(
        "--offsets-decoder", action="store_true", help="the records are those of __consumer_offsets"
    )
    add("--skip-record-metadata", action="store_true", help="of records keys and payloads alone")
    add("--max-bytes", type=int, default=EVERYTHING, metavar="N",
        help="stop before the first batch that does not end within N bytes")  # fmt: skip
    add("--index-sanity-check", action="store_true",
        help="only tell whether a start would keep an index")  # fmt: skip
    add(
        "--verify-index-only", action="store_true", help="hold indexes against logs, print no entry"
    )
    return made


def main(words: Sequence[str]) -> int:
    """The exit code."""
    options = _parser().parse_args(words)
    faults: list[str] = []
    for path in _files(options.files.split(",")):
        dump = _dump_for(path, options)
        if dump is None:
            faults.append(f"{path} is no file that this tool reads")
            continue
        print(f"Dumping {path}")
        try:
            faults += dump()
        except BrokenPipeError:
            raise  # whoever reads what is printed went away: that is no fault of the file
        except OSError as error:
            faults.append(f"{error.filename or path}: {error.strerror}")
    for line in faults:
        print(line, file=sys.stderr)
    return 1 if faults else 0


def _files(words: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for word in words:
        path = Path(word.strip())
        if path.is_dir():
            found += [each for each in sorted(path.iterdir()) if _kind(each) is not None]
        else:
            found.append(path)
    return found


def _kind(path: Path) -> str | None:
    """`log.1f` and `snapshot.1f` are a coordinator's; of a partition's the suffix tells."""
    stem, _, suffix = path.name.rpartition(".")
    if stem in ("log", "snapshot") and suffix and set(suffix) <= _HEX:
        return stem
    if stem.isdigit() and suffix in ("log", "index", "timeindex", "txnindex", "snapshot"):
        return f".{suffix}"
    return None


def _dump_for(path: Path, options: argparse.Namespace) -> Callable[[], list[str]] | None:
    contents = options.print_data_log or options.offsets_decoder
    parser: Parser | None = None
    if contents:
        parser = offsets if options.offsets_decoder else plain
    wanted = Wanted(
        deep=contents or options.deep_iteration,
        parser=parser,
        skip_record_metadata=options.skip_record_metadata,
        max_bytes=options.max_bytes,
    )
    check = Check(options.index_sanity_check, options.verify_index_only)
    kinds: dict[str, Callable[[], list[str]]] = {
        "log": lambda: dump_txn_log(path, contents=contents),
        "snapshot": lambda: dump_snapshot(path, contents=contents),
        ".log": lambda: dump_batches(path, wanted),
        ".index": lambda: dump_offset_index(path, check),
        ".timeindex": lambda: dump_time_index(path, check),
        ".txnindex": lambda: dump_txn_index(path),
        ".snapshot": lambda: dump_producers(path),
    }
    return kinds.get(_kind(path) or "")


def run() -> NoReturn:
    """Exit with `main`'s code; a reader that goes away, such as `head`, is no error."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
