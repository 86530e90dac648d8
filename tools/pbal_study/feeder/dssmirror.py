"""A feeder's files as the engine may read them: a copy without what writes, prints or only draws.

Feeder files often end in Show, Export, Plot or Save. After a `Compile` the engine writes those into
the feeder's own folder and over what is there; `Help` prints to standard output; coordinates, which
a study does not use, end the whole run where their file is missing. So the text files are copied
without such lines, into folders that look like the originals: everything else in them, and in those
above as far as the files' names lead up, is a link.
"""

import contextlib
import os
import re
from pathlib import Path

from ..errors import InputError
from .dssfiles import INCLUDE, existing, file_named, lines_of, spelled_here, unquoted

# The engine's commands in its own order (Executive.Command): a shortened word means the first one
# that it begins.
_COMMANDS = """new edit more m ~ select save show solve enable disable plot reset compile set dump
open close // redirect help quit ? next panel sample clear about calcvoltagebases setkvbase buildy
get init export fileedit voltages currents powers seqvoltages seqcurrents seqpowers losses
phaselosses cktlosses allocateloads formedit totals capacity classes userclasses zsc zsc10
zscrefresh ysc puvoltages varvalues varnames buscoords makebuslist makeposseq reduce interpolate
alignfile top rotate vdiff summary distribute di_plot comparecases yearlycurves cd visualize closedi
doscmd estimate reconductor addbusmarker uuids setloadandgenkv cvrtloadshapes nodediff rephase
setbusxy updatestorage obfuscate latlongcoords batchedit pstcalc variable reprocessbuses
clearbusmarkers relcalc var cleanup finishtimestep nodelist connect disconnect remove
exportoverloads exportvviolations giscoords clearall comhelp""".split()  # noqa: SIM905
_LEFT_OUT = frozenset(
    """save show plot dump help quit ? panel about get export fileedit formedit voltages currents
    powers seqvoltages seqcurrents seqpowers losses phaselosses cktlosses totals capacity classes
    userclasses zsc zsc10 ysc puvoltages varvalues varnames alignfile top summary distribute di_plot
    comparecases yearlycurves visualize doscmd cvrtloadshapes exportoverloads exportvviolations
    comhelp buscoords latlongcoords giscoords setbusxy addbusmarker clearbusmarkers uuids
    """.split()  # noqa: SIM905
)
_COORDINATES = frozenset(("buscoords", "latlongcoords"))
# Options of Set by which a solution writes files, or writes them elsewhere.
_WRITES = re.compile(
    r"\b(datapath|demandi\w*|diverb\w*|overloadr\w*|voltexc\w*|trace\w*|recorder)\s*=\s*"
    r"""("[^"]*"|'[^']*'|\([^)]*\)|\[[^]]*\]|\{[^}]*\}|[^\s,]+)""",
    re.IGNORECASE,
)


def mirror(path: Path, root: Path, notes: list[str]) -> Path:
    """Copies a feeder file and all it includes below the folder `root`; the copy to read.

    `notes` gets a line for what was left out and may be missed.
    """
    copied: dict[Path, Path] = {}
    _copy(path.resolve(), root, copied, notes)
    folders = {file.parent for file in copied}
    above = {a for f in folders for a in (f, *f.parents)}
    # No name in the files leads higher than this, and folders above may hold very much.
    tops = {_above(folder, max(map(_steps_up, copied))) for folder in folders}
    for folder in {f for f in above if tops & {f, *f.parents}} - {Path(path.anchor)}:
        _link_the_rest(folder, _place(root, folder))
    return copied[path.resolve()]


def _steps_up(file: Path) -> int:
    """How many folders a name in this file leads up, at most."""
    return max((line.count("..") for _, line in lines_of(file)), default=0)


def _above(folder: Path, steps: int) -> Path:
    return (folder, *folder.parents)[min(steps, len(folder.parents))]


def _place(root: Path, original: Path) -> Path:
    return root / original.relative_to(original.anchor)


def _copy(file: Path, root: Path, copied: dict[Path, Path], notes: list[str]) -> None:
    if file in copied:
        return
    place = copied[file] = _place(root, file)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Latin-1 keeps every byte.
    text = file.read_text(encoding="latin-1").splitlines()
    for number, line in lines_of(file):
        word = _command(line)
        if word in _LEFT_OUT:
            text[number - 1] = ""
            if word in _COORDINATES:
                _note_coordinates(file, number, line, notes)
            continue
        if word == "set" and _WRITES.search(line):
            rest = _WRITES.sub("", line)
            # What is left of `Set datapath=x` alone would be a question to the engine.
            text[number - 1] = rest if "=" in rest else ""
            continue
        if word == "cd":
            text[number - 1] = _without_cd(file, number, line)
            continue
        include = INCLUDE.match(line)
        target = existing(file.parent, unquoted(include.group(2))) if include else None
        if include is not None and target is not None:
            _copy(target, root, copied, notes)
            if Path(unquoted(include.group(2)).replace("\\", "/")).is_absolute():
                text[number - 1] = f'{include.group(1)} "{copied[target]}"'
    place.write_text("\n".join(text) + "\n", encoding="latin-1")


def _command(line: str) -> str:
    """The command that a line begins with, spelled out; "" for none."""
    word = line.lower().replace("=", " ").replace(",", " ").split()[0]
    if word in _COMMANDS:
        return word
    return next((name for name in _COMMANDS if name.startswith(word)), "")


def _without_cd(file: Path, number: int, line: str) -> str:
    """Nothing in place of a change of the folder: to one of another computer it says where results
    go. Raises InputError where files may be read from it."""
    named = unquoted(line.partition(" ")[2].strip()).replace("\\", "/")
    folder = file.parent / named
    if named and folder.is_dir() and folder.resolve() != file.parent:
        raise InputError(
            f"{file} line {number} changes to the folder {named}.",
            f"Remove that line, and write {named}/ before the files that are read after it.",
        )
    return ""


def _note_coordinates(file: Path, number: int, line: str, notes: list[str]) -> None:
    named = file_named(line)
    if named and existing(file.parent, named) is None:
        notes.append(
            f"Coordinates are left out, which the study does not use: {file.name} line {number} "
            f"names {named!r}, which is not there"
            + (f" ({hint})." if (hint := spelled_here(file.parent, named)) else ".")
        )


def _link_the_rest(folder: Path, place: Path) -> None:
    """Links to everything in a folder that was not copied: what the feeder may read."""
    with contextlib.suppress(OSError):  # we may not be allowed to list a folder above
        for name in os.listdir(folder):
            with contextlib.suppress(FileExistsError):
                os.symlink(folder / name, place / name)
