r"""Reader of `.properties` files, as `java.util.Properties` defines them.

A line is `key=value`, `key: value` or `key value`. Blank lines and those that begin with `#` or
`!` say nothing. A line that ends in an odd number of backslashes goes on in the next one, whose
leading blanks are dropped. `\t \n \r \f \uXXXX` are the usual escapes, and a backslash makes any
other character itself, so that `\=` and `\ ` may stand in a key.

Unlike Java's reader, this one takes UTF-8 and keeps where each key stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ottla.config.problems import ConfigError, Place, Problem

_BLANKS = " \t\f"
_SEPARATORS = "=:"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as written; a later entry of the same key replaces it."""

    key: str
    value: str
    place: Place


def parse(text: str, source: str) -> tuple[list[Entry], list[Problem]]:
    """All entries in order, and the lines that could not be read."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, line in _logical_lines(text):
        place = Place(source, number)
        key_end, value_start = _split(line)
        try:
            key, value = _unescape(line[:key_end]), _unescape(line[value_start:])
        except ValueError as error:
            problems.append(Problem(place, line[:key_end], None, str(error)))
            continue
        if not key:
            problems.append(Problem(place, line, None, "no key before the separator"))
            continue
        entries.append(Entry(key, value.strip(), place))
    return entries, problems


def read(path: str) -> tuple[list[Entry], list[Problem]]:
    """Parse a file. ConfigError when there is no such file or it is not text."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem(Place(path), "file", None, "there is no such file")]) from None
    except UnicodeDecodeError as error:
        text = f"byte {error.start} is not UTF-8 text; is this a properties file?"
        raise ConfigError([Problem(Place(path), "file", None, text)]) from None
    except OSError as error:
        text = error.strerror or str(error)
        raise ConfigError([Problem(Place(path), "file", None, text)]) from None
    return parse(text, path)


def parse_overrides(texts: list[str] | tuple[str, ...]) -> tuple[list[Entry], list[Problem]]:
    """Entries of `--override key=value` arguments."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for text in texts:
        key, equals, value = text.partition("=")
        place = Place("--override")
        if not equals or not key.strip():
            problems.append(Problem(place, text, None, "expected key=value"))
        else:
            entries.append(Entry(key.strip(), value.strip(), place))
    return entries, problems


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, and the number of the first of each."""
    held: list[str] = []
    first = 0
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = raw.lstrip(_BLANKS)
        if not held:
            if not line or line[0] in "#!":
                continue
            first = number
        trailing = len(line) - len(line.rstrip("\\"))
        if trailing % 2:
            held.append(line[:-1])
            continue
        yield first, "".join(held) + line
        held = []
    if held:
        yield first, "".join(held)


def _split(line: str) -> tuple[int, int]:
    """Where the key ends and the value starts."""
    position = 0
    while position < len(line) and line[position] not in _SEPARATORS + _BLANKS:
        position += 2 if line[position] == "\\" else 1
    key_end = min(position, len(line))
    start = key_end
    while start < len(line) and line[start] in _BLANKS:
        start += 1
    if start < len(line) and line[start] in _SEPARATORS:
        start += 1
        while start < len(line) and line[start] in _BLANKS:
            start += 1
    return key_end, start


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        letter = text[position]
        position += 1
        if letter != "\\" or position >= len(text):
            parts.append(letter)
            continue
        letter = text[position]
        position += 1
        if letter == "u":
            digits = text[position : position + 4]
            if len(digits) < 4 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise ValueError(
                    f"\\u{digits} is not an escape: four hexadecimal digits follow \\u"
                )
            parts.append(chr(int(digits, 16)))
            position += 4
        else:
            parts.append(_ESCAPES.get(letter, letter))
    # Java writes characters above U+FFFF as two escapes.
    joined = "".join(parts)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


__all__ = ["Entry", "parse", "parse_overrides", "read"]
