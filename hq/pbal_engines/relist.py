"""Lists what engines are made of anew, jars or packages: `python -m pbal_engines.relist NAME`.

What `wanted` needs at run time is resolved by Maven, and the hash of each jar is written down. Look
at the change before you commit it: from then on these are what is believed.

`wanted` holds `group:artifact:version[:classifier]`; with `:!` behind it that jar comes alone.
`without` holds `group:artifact` that nothing is to bring along. An engine of Python has NAME.in, in
pip's form, in the place of `wanted`; `uv` resolves it (python3 -m pip install uv).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pbal_engines.artifacts import FOLDER, Jar, Listed, copying, listed, project, run_maven, sha256
from pbal_engines.errors import EngineError, Missing

OLDEST = "3.11"  # Python
# What dependency:list prints: "   group:artifact:jar[:classifier]:version:scope".
_LINE = re.compile(r"^\s+([\w.-]+):([\w.-]+):jar:(?:([\w.-]+):)?([\w.-]+):(?:compile|runtime)\b")


def _resolving(want: Listed, out: Path) -> str:
    without = "".join(
        "<exclusion><groupId>{}</groupId><artifactId>{}</artifactId></exclusion>".format(
            *name.split(":")
        )
        for name in want.without
    )
    items = []
    for name in _whole(want):
        group, artifact, version, classifier = Jar(name, "").parts
        items.append(
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version>"
            + (f"<classifier>{classifier}</classifier>" if classifier else "")
            + (f"<exclusions>{without}</exclusions>" if without else "")
            + "</dependency>"
        )
    return project(
        f"<dependencies>{''.join(items)}</dependencies><build><plugins><plugin>"
        "<groupId>org.apache.maven.plugins</groupId>"
        "<artifactId>maven-dependency-plugin</artifactId><configuration>"
        f"<outputFile>{out}</outputFile><includeScope>runtime</includeScope>"
        "</configuration></plugin></plugins></build>"
    )


def _whole(want: Listed) -> list[str]:
    return [name for name in want.wanted if not name.endswith(":!")]


def resolved(want: Listed, folder: Path) -> list[str]:
    """All jars that these need, by name. Raises Missing."""
    found = [name[:-2] for name in want.wanted if name.endswith(":!")]
    if _whole(want):
        out = folder / "list"
        run_maven(folder, _resolving(want, out), "dependency:list")
        for line in out.read_text(encoding="utf-8").splitlines():
            if match := _LINE.match(line):
                group, artifact, classifier, version = match.groups()
                found.append(
                    f"{group}:{artifact}:{version}" + (f":{classifier}" if classifier else "")
                )
    return sorted(set(found))


def text(want: Listed, jars: Iterable[Jar]) -> str:
    """The list as a file."""
    lines = ["# Made by `python -m pbal_engines.relist`; `wanted` and `without` are by hand."]
    for name, values in (("wanted", want.wanted), ("without", want.without)):
        if values:
            lines += [f"{name} = [", *(f'    "{value}",' for value in values), "]"]
    lines += ["", "[sha256]", *(f'"{jar.name}" = "{jar.sha256}"' for jar in jars)]
    return "\n".join(lines) + "\n"


def relist(name: str) -> int:
    """Write the list of this name; how many jars. Raises EngineError."""
    want = listed(name)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        jars = [Jar(each, "") for each in resolved(want, folder)]
        run_maven(folder, copying(jars, folder), "dependency:copy")
        whole = [Jar(jar.name, sha256(folder / jar.file)) for jar in jars]
    (FOLDER / f"{name}.toml").write_text(text(want, whole), encoding="utf-8")
    return len(whole)


def relist_packages(name: str) -> int:
    """Write the list of an environment of Python; how many packages. Raises Missing."""
    words = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST,
             "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header",
             "--no-annotate", "--no-config", str(FOLDER / f"{name}.in")]  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Missing("uv is not installed: python3 -m pip install uv") from None
    if done.returncode:
        raise Missing(f"uv could not resolve {name}.in:\n{done.stderr.strip()}")
    entries = [
        entry
        for entry in re.split(r"(?<!\\)\n", done.stdout)
        if "==" in entry and "sys_platform == 'win32'" not in entry
    ]
    head = "# Made by `python -m pbal_engines.relist` from the .in file beside it; do not edit."
    (FOLDER / f"{name}.txt").write_text("\n".join([head, *entries, ""]), encoding="utf-8")
    return len(entries)


def main() -> int:
    """The command."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for name in sys.argv[1:]:
            if (FOLDER / f"{name}.in").exists():
                print(f"{name}: {relist_packages(name)} packages")
            else:
                print(f"{name}: {relist(name)} jars")
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
