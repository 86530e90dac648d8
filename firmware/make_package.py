"""Writes package.json for mip: every module of the node, by path relative to this folder.

    python firmware/make_package.py
    python firmware/make_package.py --compiled DIR

Run it after adding or removing a module; a test compares the file with the tree.

A chip without external RAM has too little to compile the largest modules by itself: for one, make a
compiled package and install that (`mpremote mip install DIR/package.json`, or from any web server).
That needs pbal installed, with the extra `flash`.
"""

import argparse
import json
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What a node never loads.
HOST_ONLY = {
    f"pbal_protocol/{name}.py"
    for name in (
        "ccm_host", "events", "flags", "names", "states",
        "radio/budget", "radio/readings", "radio/tdma",
    )
}  # fmt: skip


def modules() -> list[list[str]]:
    """[target on the node, source relative to this folder] of every module."""
    found = []
    for base, prefix, package in (
        (HERE.parent / "protocol", "../protocol/", "pbal_protocol"),
        (HERE, "", "pbal_node"),
    ):
        for path in sorted((base / package).rglob("*.py")):
            target = path.relative_to(base).as_posix()
            if target not in HOST_ONLY:
                found.append([target, prefix + target])
    return found


def text(rows: list[list[str]] | None = None) -> str:
    """The contents of package.json."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    urls = ",\n".join("    " + json.dumps(row) for row in rows or modules())
    version = json.dumps(project["project"]["version"])
    return f'{{\n  "version": {version},\n  "deps": [],\n  "urls": [\n{urls}\n  ]\n}}\n'


def compiled(out: Path) -> None:
    """The same package in `out` as `pbal flash` writes it, bytecode and what the board compiles for
    its own chip, with package.json beside it.
    """
    from pbal_build import modules as built

    rows = []
    for name, data in sorted(built().items()):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
        rows.append([name, name])
    (out / "package.json").write_text(text(rows), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compiled", type=Path, metavar="DIR", help="compile, and put all in DIR")
    folder = parser.parse_args().compiled
    if folder:
        compiled(folder)
    else:
        (HERE / "package.json").write_text(text(), encoding="utf-8")
