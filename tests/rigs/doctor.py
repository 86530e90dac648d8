"""A computer for `pbal doctor` whose files and programs are made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pbal_host import Finding
from pbal_tools.doctor.system import Machine

NOW = 1_800_000_000.0


def put(root: Path, name: str, text: str = "") -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def machine(root: Path, answers: dict[str, str] | None = None, **more: Any) -> Machine:
    """A computer with these files; `answers`: what programs print, by their first words."""

    def run(words: Sequence[str]) -> str | None:
        told = answers or {}
        return next((text for key, text in told.items() if " ".join(words).startswith(key)), None)

    now = more.pop("now", NOW)
    return Machine(root=root, run=run, wall=lambda: now, **more)


def levels(found: Iterator[Finding]) -> list[tuple[str, str]]:
    out = list(found)
    for item in out:
        assert item.words
        assert item.remedy or item.level in ("ok", "note"), item
    return [(item.check, item.level) for item in out]
