"""Writes package.json for mip: every module of the node, by path relative to this folder.

    python firmware/make_package.py

Run it after adding or removing a module; a test compares the file with the tree.
"""

import json
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What only CPython imports.
HOST_ONLY = {"pbal_protocol/ccm_host.py"}


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


def text() -> str:
    """The contents of package.json."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    rows = ",\n".join("    " + json.dumps(row) for row in modules())
    version = json.dumps(project["project"]["version"])
    return f'{{\n  "version": {version},\n  "deps": [],\n  "urls": [\n{rows}\n  ]\n}}\n'


if __name__ == "__main__":
    (HERE / "package.json").write_text(text(), encoding="utf-8")
