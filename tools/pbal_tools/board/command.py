"""The command line of `pbal board`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_build import CHIPS, Finding, check, uses
from pbal_host import counted

from ..errors import CheckFailed, InputError
from ..output import JsonFlag, check_writable, emit
from . import model
from .picture import svg

app = typer.Typer(no_args_is_help=True, help="List and check the board files.")

Name = Annotated[str, typer.Argument(help="A board's name, or the path of a board file.")]


@app.command("list")
def list_boards(json_output: JsonFlag = False) -> None:
    """The boards there are files for.

    Example:  pbal board list
    """
    rows = []
    for name in model.names():
        board = model.load(name)
        rows.append(
            {
                "name": board.board.name,
                "id": board.board.id,
                "chip": board.board.chip,
                "description": board.board.description,
                "errors": sum(1 for finding in check(board) if finding.level == "error"),
            }
        )

    def render(data: list[dict[str, Any]]) -> None:
        for row in data:
            found = counted(row["errors"], "error")
            flaw = f"  ({found}: pbal board check)" if row["errors"] else ""
            print(f"{row['name']:<22} {row['chip']:<8} {row['description']}{flaw}")

    emit(rows, json_output, render)


@app.command()
def show(
    name: Name,
    picture: Annotated[
        Path | None, typer.Option("--svg", help="Write the wiring picture to this file.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """What a board is and how it is wired.

    Example:  pbal board show esp32-devkitc --svg wiring.svg
    """
    board = model.load(name)
    if board.board.chip not in CHIPS:
        raise InputError(
            f"{name}: the chip {board.board.chip!r} is not known.", f"Known: {', '.join(CHIPS)}."
        )
    if picture is not None:
        check_writable(picture)
        picture.write_text(svg(board), encoding="utf-8")
    data = {
        "name": board.board.name,
        "id": board.board.id,
        "chip": board.board.chip,
        "description": board.board.description,
        "flash_mb": board.board.flash_mb,
        "pins": [{"gpio": use.pin, "use": use.where, "role": use.role} for use in uses(board)],
        "picture": str(picture) if picture else None,
    }

    def render(found: dict[str, Any]) -> None:
        head = board.board
        print(f"{head.name} (board id {head.id}): {head.description}")
        print(f"chip {CHIPS[head.chip].title}, {head.flash_mb} MB of flash")
        for pin in found["pins"]:
            print(f"  GPIO{pin['gpio']:<3} {pin['use']:<16} {pin['role']}")
        print(f"wiring picture: {picture}" if picture else "draw it:  --svg FILE")

    emit(data, json_output, render)


@app.command("check")
def check_boards(
    name: Annotated[
        list[str] | None, typer.Argument(help="Boards or board files. Default: all.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Check board files against what the chip's pins can do and what safety asks for.

    Example:  pbal board check boards/my-board.toml
    """
    found: dict[str, list[Finding]] = {}
    ids: dict[int, str] = {}
    for one in name or model.names():
        board = model.load(one)
        found[one] = check(board)
        other = ids.setdefault(board.board.id, one)
        if other != one:
            found[one].append(Finding("error", "board.id", f"{board.board.id} is also {other}'s"))
        if Path(one).suffix != ".toml" and board.board.name != one:
            found[one].append(Finding("error", "board.name", f"is not the file's name {one!r}"))
    data = [
        {
            "board": board,
            "ok": not any(item.level == "error" for item in items),
            "findings": [{"level": f.level, "where": f.where, "text": f.text} for f in items],
        }
        for board, items in found.items()
    ]

    def render(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            errors = sum(1 for item in row["findings"] if item["level"] == "error")
            print(f"{row['board']}: " + ("ok" if row["ok"] else counted(errors, "error")))
            for item in row["findings"]:
                print(f"  {item['level']}: {item['where']}: {item['text']}")

    emit(data, json_output, render)
    bad = [row["board"] for row in data if not row["ok"]]
    if bad:
        raise CheckFailed(
            f"{', '.join(str(b) for b in bad)}: not fit to be built.",
            "Correct the errors listed above and check again.",
        )
