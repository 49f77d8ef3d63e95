"""Rules about the text of the project that no linter knows."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ottla"

LINES_MAX = 600
LINES_EXCEPTIONS = {
    "broker/errors.py": 640,  # a table: one small class for each error code
}
"""Modules above the limit, each with the size that it must not grow beyond, and why."""

FUNCTION_LINES_MAX = 95
FUNCTION_EXCEPTIONS: dict[str, int] = {}

# Machine paths and registries have no place in a repository; nor have half-finished parts.
BANNED = (
    re.compile(r"/(?:work|root|home/[a-z]+)/"),
    re.compile(r"https?://[^\s\"')]*(?:proxy|mirror|artifactory|nexus)[^\s\"')]*", re.IGNORECASE),
    re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b"),
    re.compile(r"NotImplementedError"),
)


def tracked() -> list[Path]:
    """Files under version control, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / line for line in done.stdout.splitlines()]
    return [path for path in paths if path.is_file()]


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_modules_are_of_a_size_that_can_be_read() -> None:
    too_long = {
        name: lines
        for path in modules()
        if (lines := path.read_text(encoding="utf-8").count("\n"))
        > LINES_EXCEPTIONS.get(name := str(path.relative_to(SOURCE)), LINES_MAX)
    }
    assert not too_long, "split by reason to change"


def test_functions_fit_a_screen() -> None:
    too_long = {}
    for path in modules():
        for node in functions(ast.parse(path.read_text(encoding="utf-8"))):
            assert node.end_lineno is not None
            name = f"{path.relative_to(SOURCE)}:{node.name}"
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_EXCEPTIONS.get(name, FUNCTION_LINES_MAX):
                too_long[name] = lines
    assert not too_long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in modules()
        if (text := path.read_text(encoding="utf-8").strip())
        and not ast.get_docstring(ast.parse(text))
    ]
    assert not silent


def test_no_file_names_a_machine_or_leaves_something_open() -> None:
    own = Path(__file__)
    for path in tracked():
        if path == own or path.suffix in {".hex", ".bin", ".png"}:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            assert not any(pattern.search(line) for pattern in BANNED), (
                f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            )


def test_only_scripts_print() -> None:
    loud = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in modules()
        if (SOURCE / "scripts") not in path.parents and path != SOURCE / "config" / "docs.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not loud


def test_event_names_are_an_area_and_a_past_verb() -> None:
    """`events.info("isr.shrunk", ...)`: constant, so that docs and tests can rely on it."""
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"debug", "info", "warning", "error"}
                and _is_events(node.func.value)
            ):
                continue
            first = node.args[0] if node.args else None
            # A name that is handed through was checked where it is written.
            if isinstance(first, ast.Name | ast.Attribute):
                continue
            constant = isinstance(first, ast.Constant) and isinstance(first.value, str)
            if not constant or not re.fullmatch(r"[a-z_0-9]+\.[a-z_]+", first.value):
                wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert not wrong


def _is_events(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.lstrip("_") == "events"


@pytest.mark.slow
def test_imports_go_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
