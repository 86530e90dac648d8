"""The documents: commands in them run, links lead somewhere, the command page is up to date."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from rigs import needs

from pbal_tools import clidoc

DOCS = [needs.ROOT / "README.md", needs.ROOT / "CONTRIBUTING.md", *needs.ROOT.glob("docs/**/*.md")]
TESTED = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def marked_blocks() -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(needs.ROOT)}:{index}", block)
        for path in DOCS
        for index, block in enumerate(TESTED.findall(path.read_text()))
    ]


BLOCKS = marked_blocks()


@pytest.mark.twin
@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", [b for _, b in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_commands_in_the_documents_run(block: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=needs.ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "TERM": "dumb"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(needs.ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_document_is_in_the_index() -> None:
    index = (needs.ROOT / "docs" / "README.md").read_text()
    for path in sorted((needs.ROOT / "docs").glob("*.md")):
        if path.name != "README.md":
            assert f"({path.name})" in index, f"docs/README.md does not name {path.name}"


def test_the_command_page_is_what_the_commands_say() -> None:
    page = (needs.ROOT / "docs" / "cli.md").read_text()
    assert page == clidoc.page(), "run: .venv/bin/python -m pbal_tools.clidoc > docs/cli.md"
