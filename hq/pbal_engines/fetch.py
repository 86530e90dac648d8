"""Fetches what engines are made of: `python -m pbal_engines.fetch [NAME...]`

Without a name everything that is listed: jars and environments of Python, each into the cache, as
an engine that starts does it.
"""

from __future__ import annotations

import sys

from pbal_engines import artifacts
from pbal_engines.environments import environment
from pbal_engines.errors import EngineError


def fetch(name: str) -> str:
    """The folder of this list, fetched where it is not there yet. Raises Missing, BadArtifact."""
    if (artifacts.FOLDER / f"{name}.txt").exists():
        return str(environment(name))
    return str(artifacts.fetched(name))


def main() -> int:
    """The command: 1 when one could not be fetched; the others are fetched all the same."""
    packages = sorted(path.stem for path in artifacts.FOLDER.glob("*.txt"))
    status = 0
    for name in sys.argv[1:] or [*packages, *artifacts.names()]:
        try:
            print(f"{name}: {fetch(name)}")
        except EngineError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
