"""`pbal-hq lab`: the large HQ's engines on this computer, to try things out."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pbal_engines import EngineError, Tls
from pbal_engines import lab as engines
from pbal_hq.ca import Pki, write_private
from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json, print_table
from pbal_hq.config import load
from pbal_hq.errors import LabError, NothingToDo

app = group("The large HQ's engines on this computer. Example: pbal-hq lab up kafka")

_DAYS = 90
_KNOWN = ", ".join(engines.ENGINES)
EngineNames = Annotated[list[str] | None, typer.Argument(help=f"Of {_KNOWN}; all without any.")]


class _Identities:
    """HQ's own authority gives the lab's servers their certificates."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self._pki, self._folder = pki, folder

    def server(self, name: str) -> Tls:
        issued = self._pki.authority().peer(
            name, ("localhost", "127.0.0.1"), _DAYS, datetime.datetime.now(datetime.UTC)
        )
        pair = self._folder / "pki" / f"{name}.pem"
        write_private(pair, issued.key + issued.pem)
        return Tls(self._pki.ca, pair, name)


@contextlib.contextmanager
def _as_lab_errors() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise LabError(str(error)) from None


@app.command()
def up(engine: EngineNames = None, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Fetch and start engines; they run until `down`. Example: pbal-hq lab up kafka"""
    settings = load(config)
    folder = settings.data / "lab"
    told = {}
    with _as_lab_errors():
        for name in engine or engines.ENGINES:
            told[name] = engines.up(folder, name, _Identities(Pki(settings.data / "pki"), folder))
    if json_:
        print_json(told)
        return
    for name, facts in told.items():
        print(f"{name} is up: " + "; ".join(f"{key} {value}" for key, value in facts.items()))


@app.command()
def down(engine: EngineNames = None, config: ConfigOption = None) -> None:
    """Stop engines; their data stay. Example: pbal-hq lab down"""
    folder = load(config).data / "lab"
    names = engine or sorted({each.engine for each in engines.status(folder)})
    count = sum(engines.down(folder, name) for name in names)
    if not count:
        raise NothingToDo("nothing of that runs; pbal-hq lab status")
    print(f"{count} stopped: {', '.join(names)}")


@app.command()
def status(
    engine: EngineNames = None, config: ConfigOption = None, json_: JsonOption = False
) -> None:
    """What runs, and the memory it uses. Example: pbal-hq lab status"""
    found = engines.status(load(config).data / "lab")
    rows = [each for each in found if not engine or each.engine in engine]
    if json_:
        print_json([
            {"engine": r.engine, "service": r.service, "running": r.running, **vars(r.weight)}
            for r in rows
        ])  # fmt: skip
        return
    if not rows:
        print("nothing runs: pbal-hq lab up")
        return
    print_table(
        ("engine", "service", "state", "memory MB", "processor s"),
        (
            (r.engine, r.service, "runs" if r.running else "ended",
             f"{r.weight.memory_mb:.0f}", f"{r.weight.cpu_s:.1f}")
            for r in rows
        ),
    )  # fmt: skip
