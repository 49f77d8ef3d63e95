"""The properties reader against the rules of java.util.Properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.config.problems import ConfigError
from ottla.config.properties import parse, parse_overrides, read


def pairs(text: str) -> list[tuple[str, str]]:
    entries, problems = parse(text, "f")
    assert not problems
    return [(entry.key, entry.value) for entry in entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", [("a", "b")]),
        ("a: b", [("a", "b")]),
        ("a b", [("a", "b")]),
        ("a   =   b c ", [("a", "b c")]),
        ("a==b", [("a", "=b")]),
        ("a", [("a", "")]),
        ("  \t a=1", [("a", "1")]),
        ("# a=1\n! b=2\n\n c=3", [("c", "3")]),
        ("a=1\r\nb=2\rc=3", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("a=1,\\\n   2,\\\n   3\nb=4", [("a", "1,2,3"), ("b", "4")]),
        ("a=1\\\\\nb=2", [("a", "1\\"), ("b", "2")]),
        ("a\\=b=c", [("a=b", "c")]),
        ("a\\ b=c", [("a b", "c")]),
        ("a=\\u00e9\\t|", [("a", "é\t|")]),
        ("a=\\uD83D\\uDE00", [("a", "😀")]),
        ("a=C:\\\\logs", [("a", "C:\\logs")]),
        ("a=\\q", [("a", "q")]),
        ("a=1 # no comment", [("a", "1 # no comment")]),
        ("a=1\\\n# still a", [("a", "1# still a")]),
        ("a=end\\", [("a", "end")]),
    ],
)
def test_lines_are_read_as_java_reads_them(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(text) == expected


def test_each_key_knows_its_first_line() -> None:
    entries, _ = parse("# one\na=1,\\\n 2\n\nb=3", "server.properties")
    assert [str(entry.place) for entry in entries] == ["server.properties:2", "server.properties:5"]


def test_broken_escapes_and_lines_without_a_key_are_problems() -> None:
    entries, problems = parse("a=\\u12\n=b\nc=1", "f")
    assert [entry.key for entry in entries] == ["c"]
    assert [str(problem) for problem in problems] == [
        "f:1: a: \\u12 is not an escape: four hexadecimal digits follow \\u",
        "f:2: =b: no key before the separator",
    ]


def test_absent_and_binary_files_are_named(tmp_path: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.properties: file: there is no such file"):
        read(f"{tmp_path}/nowhere.properties")
    path = f"{tmp_path}/binary"
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"a=\xff\xfe")
    with pytest.raises(ConfigError, match="byte 2 is not UTF-8"):
        read(path)


def test_overrides_are_key_value_texts() -> None:
    entries, problems = parse_overrides(["a=b=c", "d", " e = f "])
    assert [(entry.key, entry.value) for entry in entries] == [("a", "b=c"), ("e", "f")]
    assert [str(problem) for problem in problems] == ["--override: d: expected key=value"]


_KEY = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs")), min_size=1)
_VALUE = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")))


def escape(text: str) -> str:
    """Written with every escape there is: the twin of the reader."""
    return "".join(
        f"\\{letter}" if letter in " :=#!\\" else letter if letter.isascii() else _unicode(letter)
        for letter in text
    )


def _unicode(letter: str) -> str:
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_KEY, _VALUE, max_size=5))
def test_written_properties_are_read_back(properties: dict[str, str]) -> None:
    text = "\n".join(f"{escape(key)} = {escape(value)}" for key, value in properties.items())
    assert dict(pairs(text)) == properties


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused_by_line(text: str) -> None:
    entries, problems = parse(text, "f")
    assert all(item.place.line >= 1 for item in [*entries, *problems])
