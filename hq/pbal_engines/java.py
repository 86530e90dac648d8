"""The Java that the engines were tested with, and how a program of it is started."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pbal_engines.errors import Missing

WANTED = 17
_REMEDY = (
    f"the engines need Java {WANTED}: on Debian `apt install openjdk-{WANTED}-jre-headless`, "
    "or name one that is installed in JAVA_HOME"
)


def find_java() -> Path:
    """The program `java` of version 17: of JAVA_HOME, of PATH, or of /usr/lib/jvm.

    Raises Missing, which says what was found instead.
    """
    seen = []
    for path in _candidates():
        version = _version(path)
        if version == WANTED:
            return path
        seen.append(f"{path} is {version or 'none'}")
    raise Missing("; ".join([_REMEDY, *dict.fromkeys(seen)]))


def _candidates() -> Iterable[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if on_path := shutil.which("java"):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"))


@functools.cache  # asked for each command, and a JVM takes a while to say it
def _version(path: Path) -> int | None:
    try:
        said = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', said.stderr)
    return int(found[1]) if found else None


def command(
    main: str,
    arguments: Sequence[str | Path] = (),
    *,
    classpath: str,
    heap_mb: int,
    properties: Mapping[str, str | Path] | None = None,
    flags: Sequence[str] = (),
) -> list[str]:
    """The words that start a Java class in a bounded heap of `heap_mb`. Raises Missing.

    One collector thread and the quick compiler alone: for small computers and short lives.
    """
    return [
        str(find_java()), f"-Xms{min(64, heap_mb)}m", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
        *flags, *(f"-D{name}={value}" for name, value in (properties or {}).items()),
        "-cp", classpath, main, *map(str, arguments),
    ]  # fmt: skip
