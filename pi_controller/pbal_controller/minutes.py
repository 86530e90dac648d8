"""`pbal-controller minutes`: what one home drew, minute by minute, from the journal."""

from __future__ import annotations

import csv
import datetime
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_controller.keys import open_keys
from pbal_controller.onsite import ConfigOption, site_journal

_HEAD = (
    "minute", "samples", "p_mean_w", "p_max_w", "i_mean_a", "v_min_v", "v_max_v", "phase",
    "e_import_wh", "e_export_wh",
)  # fmt: skip


def minutes(
    home: Annotated[int, typer.Argument(help="The home's address, as in the configuration.")],
    hours: Annotated[float, typer.Option(min=0.1, help="How far back.")] = 24.0,
    config: ConfigOption = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Of the key store, where systemd has it; else it is asked.")
    ] = None,
) -> None:
    """What one home drew, minute by minute, as CSV (times in UTC).

    It is sealed in the journal: this needs the key store. Example: pbal-controller minutes 257
    """
    settings = load(config)
    if home not in {each.address for each in settings.home}:
        raise ConfigError(f"there is no home {home} in the configuration")
    store = open_keys(settings, ask=True, passphrase_file=passphrase_file)
    journal = site_journal(settings, store.vault_key())
    try:
        rows = journal.minutes(home, int(time.time() - hours * 3600))
    finally:
        journal.close()
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(_HEAD)
    for _, minute_s, *values in rows:
        at = datetime.datetime.fromtimestamp(minute_s, datetime.UTC)
        out.writerow([f"{at:%Y-%m-%dT%H:%MZ}", *(_short(value) for value in values)])


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"
