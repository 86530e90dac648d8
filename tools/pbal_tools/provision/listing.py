"""`pbal provision list` and `label`: the nodes in the key store, on a screen and on labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_host import counted

from .. import keystore as stores
from .. import label as labels
from ..consolelock import KEYS, PassFile
from ..output import JsonFlag, emit
from .options import Keys
from .work import read_csv


def _names(path: Path | None) -> dict[int, str]:
    """The homes' names by address, of a site file or a spreadsheet. Raises InputError."""
    if path is None:
        return {}
    if path.suffix == ".toml":
        from ..sitefile import load

        return {home.address: home.name for home in load(path).home}
    return {row.address: row.name or "" for row in read_csv(path)}


def list_nodes(
    keys: Keys = KEYS,
    names: Annotated[
        Path | None,
        typer.Option("--names", help="Take the names from this site file or spreadsheet (.csv)."),
    ] = None,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """The nodes in the key store, with the fingerprints of their keys.

    The key store itself holds no names.

    Example:  pbal provision list --keys keys.json --names site.toml
    """
    called = _names(names)
    site = stores.open_store(keys, passphrase_file)
    rows = [
        {
            "address": entry.address,
            "eui": entry.eui,
            "fingerprint": entry.fingerprint,
            "revoked": entry.revoked,
            "name": called.get(address, ""),
            "console": entry.console or "unknown",
        }
        for address, entry in ((a, site.node(a)) for a in site.addresses())
    ]

    def render(data: dict[str, Any]) -> None:
        for row in data["nodes"]:
            state = "revoked" if row["revoked"] else row["fingerprint"]
            print(
                f"{row['address']:>6}  {row['eui']}  {state:<16}  console {row['console']:<7}  "
                f"{row['name']}".rstrip()
            )
        print(f"site {data['site']}: {counted(len(data['nodes']), 'node')}")

    emit({"site": site.site_id, "nodes": rows}, json_output, render)


def label(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file: .svg or .png.")],
    address: Annotated[
        list[int] | None, typer.Argument(help="Addresses. Default: every node.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="Take the names from this list.")
    ] = None,
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Labels with QR codes: one, or sheets of 24 on A4 (70 x 37 mm).

    Example:  pbal provision label --out sheet.svg --csv homes.csv
    """
    labels.check(out)
    site = stores.open_store(keys, passphrase_file)
    names = _names(table)
    chosen = address or [a for a in site.addresses() if not site.node(a).revoked]
    with stores.store_errors():
        wanted = [labels.Label(site.node(a).eui, site.site_id, a, names.get(a, "")) for a in chosen]
    files = labels.write(wanted, out)
    emit(
        {"labels": len(wanted), "files": [str(file) for file in files]},
        json_output,
        lambda data: print(f"{counted(data['labels'], 'label')}: {', '.join(data['files'])}"),
    )
