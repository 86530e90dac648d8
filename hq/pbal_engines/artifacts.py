"""What engines are made of: jars, each with its version and SHA-256, in a folder of their own.

`artifacts/NAME.toml` lists what was `wanted` and every jar that comes with it. Nothing but these is
fetched, and nothing whose hash is another is used. The addresses are Maven's own configuration's
(settings.xml): here are names only. `python -m pbal_engines.relist NAME` makes the list anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from pbal_engines.errors import BadArtifact, Missing

FOLDER = Path(__file__).parent / "artifacts"
_FETCH_S = 900.0


@dataclass(frozen=True)
class Jar:
    """One artifact: `group:artifact:version`, or with a `:classifier` behind it."""

    name: str
    sha256: str

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Group, artifact, version, classifier."""
        group, artifact, version, *more = self.name.split(":")
        return group, artifact, version, more[0] if more else ""

    @property
    def file(self) -> str:
        """The name of its file."""
        _, artifact, version, classifier = self.parts
        return f"{artifact}-{version}{'-' + classifier if classifier else ''}.jar"


@dataclass(frozen=True)
class Listed:
    """One list: the artifacts that were asked for, without what, and all jars of it."""

    name: str
    wanted: tuple[str, ...]
    without: tuple[str, ...]
    jars: tuple[Jar, ...]


def names() -> list[str]:
    """Which lists there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def listed(name: str) -> Listed:
    """The list of this name. Raises Missing."""
    try:
        found = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(f"there is no list of artifacts {name}; lists are {names()}") from None
    jars = tuple(Jar(jar, sha256) for jar, sha256 in found.get("sha256", {}).items())
    return Listed(name, tuple(found["wanted"]), tuple(found.get("without", ())), jars)


def cache() -> Path:
    """Where fetched artifacts are kept: PBAL_ENGINES, or the user's cache."""
    if own := os.environ.get("PBAL_ENGINES"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "pbal", "engines")


def sha256(path: Path) -> str:
    """The file's hash, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetched(name: str) -> Path:
    """The folder of this list's jars: fetched where they are not there yet, and verified.

    Two processes may call it at once. Raises Missing and BadArtifact.
    """
    want = listed(name)
    if not want.jars:
        raise Missing(f"{FOLDER}/{name}.toml lists no jars: python -m pbal_engines.relist {name}")
    digest = hashlib.sha256("\n".join(f"{j.name} {j.sha256}" for j in want.jars).encode())
    folder = cache() / f"{name}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        with alone(cache() / f"{name}.lock"):
            if not folder.exists():
                _fetch(want.jars, folder)
    _verify(want.jars, folder)
    return folder


def classpath(*names_: str) -> str:
    """Java's class path of these lists, fetched and verified."""
    return ":".join(f"{fetched(name)}/*" for name in names_)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time, by this file."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as made:
        target = Path(made, "jars")
        target.mkdir()
        run_maven(Path(made), copying(jars, target), "dependency:copy")
        _verify(jars, target)
        target.rename(folder)


def _verify(jars: Sequence[Jar], folder: Path) -> None:
    for jar in jars:
        path = folder / jar.file
        if not path.exists():
            raise BadArtifact(f"{path} is missing: remove {folder}, and it is fetched again")
        found = sha256(path)
        if found != jar.sha256:
            raise BadArtifact(
                f"{path} has the SHA-256 {found}, and what was tested has {jar.sha256}: "
                f"do not use it. Remove {folder}, and it is fetched again"
            )


def run_maven(folder: Path, pom: str, goal: str) -> None:
    """Run one goal of Maven on this project description. Raises Missing."""
    program = os.environ.get("PBAL_MAVEN") or shutil.which("mvn")
    if program is None:
        raise Missing("Maven fetches the engines: on Debian `apt install maven`")
    (folder / "pom.xml").write_text(pom, encoding="utf-8")
    command = [program, "-B", "-q", "-f", str(folder / "pom.xml"), goal]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=_FETCH_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{program}: {error}") from None
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if "ERROR" in line][:6]
        raise Missing(
            "Maven could not fetch the engine; is the network there, and does its settings.xml "
            "name the mirror that this computer may use?\n" + "\n".join(said)
        )


def project(body: str) -> str:
    """A project description for Maven."""
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>pbal</groupId><artifactId>engines</artifactId><version>1</version>"
        f"<packaging>pom</packaging>{body}</project>"
    )


def copying(jars: Iterable[Jar], target: Path) -> str:
    """A project that copies exactly these jars, without what their own descriptions ask for."""
    items = []
    for jar in jars:
        group, artifact, version, classifier = jar.parts
        items.append(
            f"<artifactItem><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version>"
            + (f"<classifier>{classifier}</classifier>" if classifier else "")
            + "</artifactItem>"
        )
    return project(
        "<build><plugins><plugin><groupId>org.apache.maven.plugins</groupId>"
        "<artifactId>maven-dependency-plugin</artifactId><configuration>"
        f"<outputDirectory>{escape(str(target))}</outputDirectory>"
        f"<artifactItems>{''.join(items)}</artifactItems>"
        "</configuration></plugin></plugins></build>"
    )
