"""Puts pip into the environment of the Python that runs this, where `ensurepip` is missing.

Debian's python3 has `venv` without `ensurepip` unless python3-venv is installed. This fetches pip's
newest wheel from the package index (PIP_INDEX_URL, else PyPI), checks the digest that the index
gives, and lets the wheel install itself. Standard library only.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin
from urllib.request import urlopen

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
TIMEOUT_SECONDS = 60
WHEEL = re.compile(r"/pip-(?P<version>\d+(?:\.\d+)+)-py3-none-any\.whl$")


class Links(HTMLParser):
    """The wheels of a project page: (version, address, digest); see PEP 503."""

    def __init__(self) -> None:
        super().__init__()
        self.wheels: list[tuple[tuple[int, ...], str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag != "a" or "data-yanked" in found:
            return
        address, fragment = urldefrag(found.get("href") or "")
        match = WHEEL.search(address)
        if match and fragment.startswith("sha256="):
            version = tuple(int(part) for part in match["version"].split("."))
            self.wheels.append((version, address, fragment.removeprefix("sha256=")))


def main() -> int:
    page = f"{INDEX}/pip/"
    try:
        with urlopen(page, timeout=TIMEOUT_SECONDS) as response:
            links = Links()
            links.feed(response.read().decode())
        if not links.wheels:
            print(f"{page} lists no wheel of pip", file=sys.stderr)
            return 1
        _, address, digest = max(links.wheels)
        with urlopen(urljoin(page, address), timeout=TIMEOUT_SECONDS) as response:
            wheel = response.read()
    except OSError as error:
        print(f"{page}: {error}", file=sys.stderr)
        return 1
    if hashlib.sha256(wheel).hexdigest() != digest:
        print(f"{address} has another digest than {page} says", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / address.rpartition("/")[2]
        path.write_bytes(wheel)
        command = [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
