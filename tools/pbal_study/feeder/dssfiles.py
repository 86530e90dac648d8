"""Checks of the text of a feeder's files before the engine reads them.

The engine follows `Redirect` and `Compile` without a check for cycles, so a file that includes
itself ends the process; and it extends a bracket that is never closed to the end of the line
without a message, which loses every property behind it. Both are found here, by file and line.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

INCLUDE = re.compile(r"\s*(redir\w*|comp\w*)\s+(.+)", re.IGNORECASE)
_QUOTES = "\"'"
_CLOSES = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'"}
_DATA_FILE = re.compile(r"\b\w*(?:file|csv)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s,)\]}]+)", re.I)
# Lines that define something. Others (plots, titles) may hold whatever they like.
_DEFINES = re.compile(r"\s*(new|edit|more|m|set|batchedit|~|redir\w*|comp\w*)\b|\s*~", re.I)


def check_files(path: Path) -> None:
    """Walks a feeder file and all it includes; InputError for what would end the engine or what it
    would not report. Missing files are left to the engine's own message."""
    _walk(path.resolve(), ())


_CIRCUIT = re.compile(r"\s*new\s+(object\s*=\s*)?[\"']?circuit\.", re.IGNORECASE)


def defines_circuit(path: Path) -> bool:
    """Whether this very file, not one that it includes, holds the line `New Circuit.NAME`."""
    return any(_CIRCUIT.match(line) for _, line in lines_of(path))


def files_of(path: Path) -> list[Path]:
    """A feeder file and all that it includes or reads values from, as far as they exist, sorted."""
    todo, seen = [path.resolve()], set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for _, line in lines_of(file):
            include = INCLUDE.match(line)
            for name in [unquoted(include.group(2))] if include else _data_files(line):
                target = existing(file.parent, name)
                if target is not None and include is not None:
                    todo.append(target)
                elif target is not None:
                    seen.add(target)
    return sorted(seen)


def _walk(path: Path, above: tuple[Path, ...]) -> None:
    if path in above:
        chain = " -> ".join(p.name for p in (*above[above.index(path) :], path))
        raise InputError(
            f"{path.name} includes itself: {chain}.", "Remove that Redirect or Compile."
        )
    for number, line in lines_of(path):
        _check_brackets(path, number, line)
        include = INCLUDE.match(line)
        if include is not None:
            target = existing(path.parent, unquoted(include.group(2)))
            if target is not None:
                _walk(target, (*above, path))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number, without comments, outside block comments."""
    block = False
    # Latin-1 reads any byte; only ASCII is looked at.
    for number, raw in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        if not block and raw.lstrip().startswith("/*"):
            block = True
        if block:
            block = "*/" not in raw
            continue
        line = _without_comment(raw)
        if line.strip():
            yield number, line


def _without_comment(line: str) -> str:
    """Removes a comment (! or //), unless it stands within quotes or brackets."""
    skip_to = 0
    for k, char in enumerate(line):
        if k < skip_to:
            continue
        if char == "!" or line.startswith("//", k):
            return line[:k]
        if char in _CLOSES and _starts_token(line, k):
            end = line.find(_CLOSES[char], k + 1)
            skip_to = end + 1 if end >= 0 else k + 1
    return line


def _is_value(line: str, k: int) -> bool:
    """True for what stands behind an equals sign."""
    return line[:k].rstrip().endswith("=")


def _starts_token(line: str, k: int) -> bool:
    return k == 0 or line[k - 1] in " \t=,"


def _check_brackets(path: Path, number: int, line: str) -> None:
    if _DEFINES.match(line) is None:
        return
    k = 0
    while k < len(line):
        if line[k] in _CLOSES and _starts_token(line, k):
            end = line.find(_CLOSES[line[k]], k + 1)
            # The engine's own rule: a list ends at the first closing bracket of its kind. Another
            # opening one on the way there shows that this list was never closed.
            if end < 0 and line[k] in _QUOTES and "=" not in line[k:] and not _is_value(line, k):
                break  # text behind an apostrophe: the engine loses nothing with it
            if end < 0 or (line[k] in "([{" and line[k] in line[k + 1 : end]):
                raise InputError(
                    f"{path.name} line {number}: {line[k]!r} is not closed: {line.strip()[:80]}",
                    f"Close it with {_CLOSES[line[k]]!r}.",
                )
            k = end
        k += 1


def unquoted(text: str) -> str:
    text = text.strip()
    text = re.sub(r"^file\s*=\s*", "", text, flags=re.IGNORECASE)
    if text and text[0] in _CLOSES:
        end = text.find(_CLOSES[text[0]], 1)
        return text[1:end] if end > 0 else text[1:]
    return text.split()[0] if text else ""


def existing(folder: Path, name: str) -> Path | None:
    target = (folder / name.replace("\\", "/")).resolve()
    return target if target.is_file() else None


def file_named(line: str) -> str:
    """The file that a command such as BusCoords names, "" for none."""
    _, _, rest = line.strip().replace("=", " ", 1).partition(" ")
    return unquoted(rest)


def spelled_here(folder: Path, name: str) -> str:
    """The words for a file whose name differs only in its capitals, or ""."""
    wanted = folder / name.replace("\\", "/")
    if wanted.exists() or not wanted.parent.is_dir():
        return ""
    for there in wanted.parent.iterdir():
        if there.name.lower() == wanted.name.lower():
            return f"the file is called {there.name!r}: capitals matter here"
    return ""


def spelled_otherwise(path: Path) -> str:
    """A remedy for a file that a feeder names in other capitals than it has on the disk, or ""."""
    todo, seen = [path.resolve()], set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for number, line in lines_of(file):
            include = INCLUDE.match(line)
            names = [unquoted(include.group(2))] if include is not None else _data_files(line)
            for name in names:
                target = existing(file.parent, name)
                if target is None and (hint := spelled_here(file.parent, name)):
                    return f"{file.name} line {number} says {name!r}, {hint}."
                if target is not None and include is not None:
                    todo.append(target)
    return ""


def _data_files(line: str) -> list[str]:
    """The files that a line reads values from: CSVFile=day.csv, mult=(file=day.csv), ..."""
    return [unquoted(found) for found in _DATA_FILE.findall(line)]
