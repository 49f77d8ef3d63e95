"""Apache's own programs, which ours are held against: jars from Maven Central.

A test is skipped unless the variable names a directory; a program fetches what is not named. For
tests: `eval "$(python -m tests.support.jars DIRECTORY)"` fetches all and sets the variables.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FETCH_S_MAX = 600.0


class NoJars(Exception):
    """Why there are none, in one line for the user."""


@dataclass(frozen=True, slots=True)
class Jars:
    """`artifacts` (group:name:version) and all that they depend on; `variable` names a directory
    that has them."""

    variable: str
    artifacts: Sequence[str]

    def named(self) -> Path | None:
        """The directory that the variable names, if Java is there."""
        directory = os.environ.get(self.variable)
        return Path(directory) if directory and shutil.which("java") else None

    def find(self, scratch: Path) -> Path:
        """The named directory, or one made in `scratch`. NoJars."""
        if shutil.which("java") is None:
            raise NoJars(f"there is no `java` to run {self.artifacts[0]} with")
        if named := os.environ.get(self.variable):
            found = Path(named)
            main = self.artifacts[0].split(":")[1]
            if not any(found.glob(f"{main}-[0-9]*.jar")):
                raise NoJars(f"{self.variable}={named} has no {main}-*.jar")
            return found
        return self.fetch(scratch / self.variable.lower())

    def fetch(self, target: Path) -> Path:
        """Copy the jars to `target`, a new directory. NoJars."""
        if shutil.which("mvn") is None:
            raise NoJars(f"there is no `mvn` to fetch jars with; name them by {self.variable}")
        target.mkdir(parents=True)
        (target / "pom.xml").write_text(_pom(self.artifacts), encoding="utf-8")
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        try:
            done = subprocess.run(
                command, cwd=target, capture_output=True, text=True, timeout=_FETCH_S_MAX,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NoJars(f"mvn did not fetch {self.artifacts[0]} in {_FETCH_S_MAX:g} s") from None
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if "ERROR" in line]
            raise NoJars(f"mvn could not fetch {self.artifacts[0]}: {''.join(said[:1])}")
        return target


KAFKA = Jars("OTTLA_KAFKA_LIBS", ["org.apache.kafka:kafka_2.13:3.9.1"])
ZOOKEEPER = Jars(
    "OTTLA_ZOOKEEPER_LIBS",
    [
        "org.apache.zookeeper:zookeeper:3.9.3",
        # What the release brings along and the jar's own list leaves out.
        "io.dropwizard.metrics:metrics-core:4.1.12.1",
        "org.xerial.snappy:snappy-java:1.1.10.5",
        "commons-cli:commons-cli:1.5.0",
    ],
)
CURATOR = Jars(
    "OTTLA_CURATOR_LIBS",
    ["org.apache.curator:curator-recipes:5.7.1", "org.slf4j:slf4j-nop:1.7.36"],
)


def _pom(artifacts: Sequence[str]) -> str:
    rows = []
    for artifact in artifacts:
        group, name, version = artifact.split(":")
        rows.append(
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>scratch</groupId><artifactId>scratch</artifactId><version>1</version>"
        f"<dependencies>{''.join(rows)}</dependencies></project>"
    )


def main(words: Sequence[str]) -> int:
    (directory,) = words
    for jars in (KAFKA, ZOOKEEPER, CURATOR):
        try:
            found = jars.find(Path(directory))
        except NoJars as error:
            print(f"{error}; tests that need it will be skipped", file=sys.stderr)
        else:
            print(f"export {jars.variable}={found}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
