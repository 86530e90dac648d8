"""The documents: commands in them run, links lead somewhere, the command page is up to date.

Those that start a street: tests/twin/test_documents.py.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rigs import documents, needs
from rigs.documents import DOCS

from pbal_controller.cli import app as controller
from pbal_tools import cli, clidoc

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
BEFORE_A_CALL = {"sudo", "&&", "||", "|", ";", "then", "do", "!"}
# A prefix of what is signed; names of roles in Superset.
NO_CALLS = {"pbal uplink command 1", "pbal viewer", "pbal KL", "pbal KL/EKM"}


@pytest.mark.timeout(900)
@documents.blocks(street=False)
def test_commands_in_the_documents_run(block: str) -> None:
    documents.run(block)


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


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """What a document calls of pbal, in its blocks and in its text: (program, words behind it)."""
    text = re.sub(r".*not there yet.*", "", text)
    lines = [
        line for block in SHELL.findall(text) for line in block.replace("\\\n", " ").split("\n")
    ]
    lines += INLINE.findall(SHELL.sub("", text))
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # the middle of a longer quotation
            continue
        for at, word in enumerate(words):
            program = word.rpartition("/")[2]
            begins = at == 0 or words[at - 1] in BEFORE_A_CALL or "bin/" in word
            if program in ("pbal", "pbal-controller") and begins and line not in NO_CALLS:
                ends = [i for i, w in enumerate(words) if i > at and w in BEFORE_A_CALL]
                yield program, words[at + 1 : min(ends, default=len(words))]


def unknown(program: str, words: list[str]) -> str:
    """The first of these words that the program does not know; empty when it knows all."""
    command: Any = None
    if program == "pbal-controller":
        command = typer.main.get_command(controller)
    for word in words:
        if word.startswith("-") and command is not None:
            known = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)}
            if word.partition("=")[0] not in known | {"-h", "--help"}:
                return word
        elif not re.fullmatch(r"[a-z][a-z-]*", word):
            continue
        elif command is None:
            if word not in cli.NOUNS:
                return word
            command = cli.load(word)
        elif subs := getattr(command, "commands", None):
            if word in subs:
                command = subs[word]
            elif not getattr(command, "invoke_without_command", False):
                return word
    return ""


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(needs.ROOT)))
def test_what_the_documents_call_is_there(path: Path) -> None:
    """Also of the lines that need a Pi, a board or another computer, and so are not run here."""
    for program, words in calls(path.read_text()):
        wrong = unknown(program, words)
        assert not wrong, f"{path.name}: {program} {' '.join(words)}: there is no {wrong!r}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pbal provision ad --keys k", "ad"),
        ("sudo /opt/pbal/bin/pbal-controller release 5", "release"),
        ("cd x && pbal flash --prot /dev/ttyUSB0 && ls --all", "--prot"),
        ("pbal radios", "radios"),
    ],
)
def test_a_call_of_what_is_not_there_is_found(line: str, wrong: str) -> None:
    found = [unknown(*call) for call in calls(f"```sh\n{line}\n```")]
    assert found == [wrong]


def test_files_that_the_documents_install_are_there() -> None:
    for path in DOCS:
        for line in "\n".join(SHELL.findall(path.read_text())).split("\n"):
            for source in re.findall(r"install -m \d+ (pi_controller/\S+)", line):
                assert (needs.ROOT / source).exists(), f"{path.name}: {line}"
