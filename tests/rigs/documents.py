"""The documents, and the commands in them that the tests run as they stand."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from rigs import needs

DOCS = [needs.ROOT / "README.md", needs.ROOT / "CONTRIBUTING.md", *needs.ROOT.glob("docs/**/*.md")]
_TESTED = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)
_STREET = re.compile(r"demo\.sh --headless|pbal sim run")
_LIMIT_S = 880


def blocks(street: bool) -> pytest.MarkDecorator:
    """Parametrizes `block`: those marked as tested that start a street, or all the others.

    A street runs in real time: where others have the processors first, its homes see gaps between
    their readings, and rightly refuse to move.
    """
    found = [
        pytest.param(block, id=f"{path.relative_to(needs.ROOT)}:{index}")
        for path in DOCS
        for index, block in enumerate(_TESTED.findall(path.read_text()))
        if bool(_STREET.search(block)) == street
    ]
    assert found, "no document has such a block"
    return pytest.mark.parametrize("block", found)


def run(block: str) -> None:
    """Run it as a person would who copies it. Fails with what it said last."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=needs.ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
