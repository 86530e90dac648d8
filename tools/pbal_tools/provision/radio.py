"""`pbal provision radio`: the channel that nodes are given. Slots are the controller's to give."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from pbal_controller.keys import Channel

from .. import keystore as stores
from ..consolelock import KEYS, PassFile
from ..errors import CheckFailed, InputError
from ..output import JsonFlag, emit
from .options import Keys


def radio(
    region: Annotated[
        str | None,
        typer.Argument(help="A plan of docs/radio-plans.md. Default: show what is set."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", help="Of the plan. Default: 0.")
    ] = None,
    sf: Annotated[
        int | None,
        typer.Option("--sf", help="That of the controller's beacons, where nodes listen first."),
    ] = None,
    power_dbm: Annotated[
        int | None, typer.Option("--power-dbm", help="Of the nodes. Default: 14.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Nodes get no channel any more.")] = False,
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Set or show the radio channel that nodes are given: region, channel, spreading factor, power.

    As in [radio.NAME] of the controller. Nodes provisioned with --radio from now on get it; one in
    service gets it with its next key (pbal provision rotate). A node's slot is not provisioned: the
    controller gives it when the node joins.

    Example:  pbal provision radio IN865 --channel 1 --sf 9
    """
    if none and region is not None:
        raise InputError("A region, or none?", "Give REGION or --none, not both.")
    site = stores.open_store(keys, passphrase_file)
    changes = {"channel": channel, "sf": sf, "power_dbm": power_dbm}
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if region is not None or none or given:
        with stores.store_errors():
            found = site.channel
            if none:
                found = None
            elif region is not None:
                found = Channel(region)
            elif found is None:
                raise InputError(
                    "Which region?", "Give its plan first:  pbal provision radio IN865"
                )
            if found is not None:
                found = replace(found, **given).checked()
            site.set_channel(found)
        site = stores.open_store(keys, passphrase_file)
        if site.channel != found:
            raise CheckFailed("The key store did not keep the channel.", "Run the command again.")
    data = {
        "keys": str(keys),
        "site": site.site_id,
        "radio": None if site.channel is None else site.channel.as_dict(),
    }
    emit(data, json_output, _render)


def _render(data: dict[str, Any]) -> None:
    told = data["radio"]
    if told is None:
        print(f"site {data['site']}: nodes get no radio channel")
        return
    print(
        f"site {data['site']}: {told['region']}, channel {told['channel']}, SF{told['sf']}, "
        f"{told['power_dbm']} dBm\nnext: pbal provision add --address N --radio"
    )
