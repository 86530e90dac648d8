"""The command line of `pbal site`."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_host import counted

from ..errors import CheckFailed, InputError
from ..keystore import open_store
from ..output import JsonFlag, check_writable, emit
from ..sitefile import SITE, Site, controller_toml, dump, load
from .diff import PHASES, Difference, Heard, against_bus, against_controller, against_keys
from .importer import import_csv

app = typer.Typer(no_args_is_help=True, help="The site file: check, show, import.")

File = Annotated[Path, typer.Argument(help="The site file.")]


def _write(path: Path, text: str, overwrite: bool) -> None:
    """Writes a file whole or not at all. Raises InputError."""
    check_writable(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already.", "Name another file, or add --overwrite.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)


@app.command()
def show(site: File = SITE, json_output: JsonFlag = False) -> None:
    """What the site file says.

    Example:  pbal site show site.toml
    """
    found = load(site)
    data = found.model_dump(mode="json")

    def render(_: Any) -> None:
        head = found.site
        print(f"site {head.id} {head.name}".rstrip())
        if found.transformer.rated_kva:
            print(f"transformer {found.transformer.rated_kva:g} kVA")
        for name, radio in found.radio.items():
            count = sum(home.bus == name for home in found.home)
            print(f"radio {name}: {radio.words}, {counted(count, 'home')}")
        for name, bus in found.bus.items():
            count = sum(home.bus == name for home in found.home)
            print(f"bus {name}: {bus.port}, {bus.baud} baud 8{bus.parity}{bus.stop_bits}, "
                  f"{counted(count, 'home')}")  # fmt: skip
        for home in found.home:
            marks = " fixed" if home.fixed else ""
            print(f"  {home.address:>5}  {home.phase or '-'}  {home.bus:<10} {home.name}{marks}")
        spread = {p: sum(home.phase == p for home in found.home) for p in "ABC"}
        print(
            f"{counted(len(found.home), 'home')}; A {spread['A']}, B {spread['B']}, C {spread['C']}"
        )

    emit(data, json_output, render)


@app.command()
def check(
    site: File = SITE,
    controller: Annotated[
        str | None, typer.Option("--controller", "-c", help="Compare with a running controller.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", "-k", help="Compare with the key store.")
    ] = None,
    passphrase_file: Annotated[Path | None, typer.Option("--passphrase-file")] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Ask the buses (the controller must be stopped).")
    ] = False,
    every_unit: Annotated[
        bool, typer.Option("--every-unit", help="With --scan: all units 1..247, not only homes.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Check the site file by itself, and against keys, controller and bus.

    Example:  pbal site check site.toml --keys keys.json --controller http://127.0.0.1:8480
    """
    found = load(site)
    differences: list[Difference] = []
    compared = ["file"]
    if keys is not None:
        compared.append("keys")
        differences += against_keys(found, open_store(keys, passphrase_file))
    if controller is not None:
        compared.append("controller")
        differences += against_controller(found, asyncio.run(_status(controller, found)))
    heard: dict[str, dict[int, Heard | None]] = {}
    if scan:
        from . import bus as buses

        progress = _progress(json_output)
        for name, bus in found.bus.items():
            compared.append(f"bus {name}")
            units = sorted({home.address & 0xFF for home in found.home if home.bus == name} | {247})
            heard[name] = buses.scan(name, bus, range(1, 248) if every_unit else units, progress)
            differences += against_bus(found, name, heard[name])
        progress("")
    errors = sum(item.level == "error" for item in differences)
    data = {
        "ok": not errors,
        "site": found.site.id,
        "homes": len(found.home),
        "compared": compared,
        "differences": [item.as_dict() for item in differences],
        "heard": {
            name: [
                {"unit": h.unit, "phase": PHASES.get(h.phase, "?"), "state": h.state,
                 "flags": h.flags, "v": [h.va_v, h.vb_v, h.vc_v]}
                for h in told.values() if h is not None and h.crowd is None
            ]
            for name, told in heard.items()
        },
    }  # fmt: skip
    emit(data, json_output, lambda _: _render(found, differences, compared))
    if errors:
        raise CheckFailed(
            f"{counted(errors, 'difference')} between {site} and "
            f"{', '.join(compared[1:]) or 'itself'}.",
            "Work through the list above from the top.",
        )


def _progress(quiet: bool) -> Any:
    if quiet or not sys.stderr.isatty():
        return lambda words: None
    return lambda words: print(f"\r{words:<40}\r", end="", file=sys.stderr, flush=True)


async def _status(url: str, site: Site) -> dict[str, Any]:
    """The controller's status, with each labelled home's hello, which carries its EUI."""
    import aiohttp

    from .. import statusclient

    named = {home.address for home in site.home if home.eui}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        status = await statusclient.fetch(session, url)
        for item in status["homes"]:
            if item.get("address") in named:
                where = f"{url.rstrip('/')}/api/homes/{item['address']}"
                try:
                    async with session.get(where) as answer:
                        item["hello"] = (await answer.json()).get("hello")
                except (aiohttp.ClientError, TimeoutError, ValueError):
                    continue
    return status


def _render(site: Site, differences: list[Difference], compared: list[str]) -> None:
    print(f"site {site.site.id} {site.site.name}: {counted(len(site.home), 'home')}; "
          f"compared: {', '.join(compared)}")  # fmt: skip
    for item in sorted(differences, key=lambda d: (d.level != "error", d.address or 0)):
        who = f"home {item.address}" if item.address is not None else "site"
        print(f"  {item.level}: {who}: {item.text} ({item.source})")
        if item.remedy:
            print(f"      {item.remedy}")
    if not differences:
        print("  no differences")
        if len(compared) == 1:
            print("next: compare it with --keys, --controller or --scan")


def _named(option: str, items: list[str] | None, what: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise InputError(f"{option} {item} is not NAME={what}.", f"E.g. {option} {example}")
        found[key] = value
    return found


@app.command("import")
def import_site(
    table: Annotated[Path, typer.Argument(help="CSV: address, name, bus, feeder, phase, ...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The site file to write.")],
    site: Annotated[int, typer.Option("--site", help="The site's number.")],
    bus: Annotated[
        list[str] | None, typer.Option("--bus", help="NAME=PORT, e.g. north=/dev/ttyUSB0; repeat.")
    ] = None,
    radio: Annotated[
        list[str] | None,
        typer.Option("--radio", help="NAME=REGION, a LoRa radio, e.g. village=IN865; repeat."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The site's name.")] = "",
    rated_kva: Annotated[
        float | None, typer.Option("--rated-kva", min=1, help="The transformer.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Make a site file from a spreadsheet.

    Example:  pbal site import homes.csv --site 7 --bus north=/dev/ttyUSB0 --out site.toml
    """
    ports = _named("--bus", bus, "PORT", "north=/dev/ttyUSB0")
    regions = _named("--radio", radio, "REGION", "village=IN865")
    if not ports and not regions:
        raise InputError(
            "No bus and no radio is named.", "Add --bus NAME=PORT or --radio NAME=REGION."
        )
    made = import_csv(table, site, name, ports, rated_kva, regions)
    _write(out, dump(made), overwrite)
    if load(out) != made:
        raise CheckFailed(f"{out} does not read back as it was written.", "Report this.")
    emit(
        {"site_file": str(out), "homes": len(made.home)},
        json_output,
        lambda data: print(
            f"{data['site_file']}: {counted(data['homes'], 'home')}\n"
            f"next: pbal site check {data['site_file']}"
        ),
    )


@app.command("controller")
def controller_config(
    site: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The controller's pbal.toml.")],
    keys: Annotated[str, typer.Option("--keys", "-k")] = "/var/lib/pbal/keys.json",
    passphrase_file: Annotated[str | None, typer.Option("--passphrase-file")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Write the controller's configuration from the site file.

    Example:  pbal site controller site.toml --out /etc/pbal/pbal.toml --overwrite
    """
    from pbal_controller.config import load as load_config
    from pbal_controller.errors import ConfigError

    found = load(site)
    if not found.bus and not found.radio:
        raise InputError(
            f"{site} names no bus and no radio.",
            "Add a table [bus.NAME] with its port, or [radio.NAME] with its region.",
        )
    _write(out, controller_toml(found, keys, passphrase_file), overwrite)
    try:
        again = load_config(out, environ={})
    except ConfigError as exc:
        raise CheckFailed(f"The controller would refuse {out}: {exc}", "Report this.") from None
    emit(
        {
            "config": str(out),
            "homes": len(again.home),
            "buses": sorted(again.bus),
            "radios": sorted(again.radio),
        },
        json_output,
        lambda data: print(
            f"{data['config']}: {counted(data['homes'], 'home')} on "
            f"{', '.join(data['buses'] + data['radios'])}; the "
            "controller reads it\nnext: systemctl restart pbal-controller"
        ),
    )
