"""`pbal sim board` and `pbal sim street`: boards and a street for a crew to practise on.

`pbal flash`, `pbal provision`, `pbal node` and `pbal commission` work on them as on real ones.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from pbal_controller.keys import KeyStore
from pbal_sim.practice import PracticeStreet
from pbal_sim.replboard import ReplBoard
from pbal_sim.romloader import stand_in_image

from .controllersetup import toml_value
from .errors import InputError
from .extras import require
from .screen import ending_signals

PASSPHRASE = "practice only"
_FIRST_MAC = "24a160000000"
Folder = Annotated[Path, typer.Option("--folder", help="Where its files go; it must be new.")]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=1.0, help="End after so long. Else: Ctrl-C.")
]


def _new(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            f"{folder} exists already.", "Remove it, or name another one with --folder."
        ) from None
    except OSError as exc:
        raise InputError(f"{folder} cannot be made: {exc.strerror}.", "Name another.") from None
    return folder.resolve()


def _passphrase(folder: Path) -> Path:
    path = folder / "keys.pass"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(PASSPHRASE + "\n")
    return path


async def _wait(seconds: float | None) -> None:
    done = asyncio.Event()
    with ending_signals(done.set), contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)


def board(
    folder: Folder = Path("practice-boards"),
    count: Annotated[int, typer.Option("--count", min=1, max=8, help="How many.")] = 1,
    seconds: Seconds = None,
) -> None:
    """Emulated ESP32 boards on serial ports of this computer, to practise flashing and keys.

    A boot loader and a MicroPython prompt, no mains and no radio. Leave it running, and use
    another terminal. The keys made here are worth nothing.

    Example:  pbal sim board
    """
    require("sim")
    folder = _new(folder)
    (folder / "image.bin").write_bytes(stand_in_image())
    _passphrase(folder)
    store = f"--keys {folder}/keys.json --passphrase-file {folder}/keys.pass"
    with contextlib.ExitStack() as stack:
        for n in range(1, count + 1):
            made = ReplBoard(
                folder / f"board{n}", f"pty:{folder}/usb{n}",
                mac=bytes.fromhex(f"{int(_FIRST_MAC, 16) + n:012x}"),
            )  # fmt: skip
            stack.callback(made.close)
            print(f"board {n}: {made.url}")
        first = f"{folder}/usb1"
        print(
            "\nIn another terminal:\n"
            f"  pbal flash --board esp32-devkitc --port {first} --image {folder}/image.bin "
            "--no-stub\n"
            f"  pbal provision init --site 1 {store}\n"
            f"  pbal provision add --port {first} --address 12 --name 'Mill Lane 12' {store}\n"
            f"  pbal node status --dark --port {first} {store}\n"
            "Ctrl-C here ends it.",
            flush=True,
        )
        asyncio.run(_wait(seconds))


def street(
    folder: Folder = Path("practice-street"),
    homes: Annotated[int, typer.Option("--homes", min=1, max=24, help="Homes with keys.")] = 4,
    without_keys: Annotated[
        int, typer.Option("--without-keys", min=0, max=8, help="Nodes that have none yet.")
    ] = 1,
    swapped: Annotated[
        int, typer.Option("--swapped", min=0, help="The home with swapped wires; 0: none.")
    ] = 3,
    practice: Annotated[
        bool, typer.Option("--practice/--no-practice", hidden=True, help="The only kind so far.")
    ] = True,
    seconds: Seconds = None,
) -> None:
    """A street on an RS-485 line of this computer, to practise commissioning.

    Real firmware in every home, people who switch things, a meter at the transformer, and no
    controller. One home has two supply wires swapped, one node has no keys. Leave it running, and
    use another terminal.

    Example:  pbal sim street --practice
    """
    require("sim")
    if swapped > homes:
        raise InputError(
            f"--swapped {swapped}: there are {homes} homes with keys.", "0 is for none."
        )
    asyncio.run(_street(_new(folder), homes, without_keys, swapped, seconds))


async def _street(
    folder: Path, keyed: int, without: int, swapped: int, seconds: float | None
) -> None:
    made = PracticeStreet(folder, keyed + without, keyed, swapped)
    print(f"starting {keyed + without} nodes ...", flush=True)
    async with made:
        people = asyncio.create_task(made.live())
        try:
            _files(folder, made, keyed)
            print(
                f"line: {made.device}\n\nIn another terminal:\n"
                f"  cd {folder}\n"
                "  pbal site check site.toml --scan\n"
                "  pbal commission scan site.toml --units 1-30\n"
                "  pbal commission run site.toml --keys keys.json --passphrase-file keys.pass "
                "--go-on --units 1-30\n"
                "Ctrl-C here ends it.",
                flush=True,
            )
            await _wait(seconds)
        finally:
            people.cancel()
            await asyncio.gather(people, return_exceptions=True)


def _files(folder: Path, made: PracticeStreet, keyed: int) -> None:
    """Site file, key store and its passphrase."""
    _passphrase(folder)
    nodes = made.identities[:keyed]
    site = made.config.site_id
    store = KeyStore.create(
        folder / "keys.json", PASSPHRASE.encode(), site, log2_n=12, group_key=nodes[0].group
    )
    store.add_many([(n.address, n.eui, n.root) for n in nodes])
    lines = ["[site]", f"id = {site}", 'name = "Practice Street"',
             "[bus.north]", f"port = {toml_value(made.device)}", "answer_timeout_ms = 100",
             "[transformer.meter]", 'kind = "file"',
             f"path = {toml_value(folder / 'meter.json')}"]  # fmt: skip
    for n in nodes:
        lines += ["[[home]]", f"address = {n.address}", f"name = {toml_value(n.name)}",
                  'bus = "north"', f'eui = "{n.eui}"']  # fmt: skip
    (folder / "site.toml").write_text("\n".join(lines) + "\n")
