"""`pbal-hq portal`: its secrets."""

from __future__ import annotations

from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json
from pbal_hq.config import load

app = group("The portal. Example: pbal-hq portal init")


@app.command()
def init(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Make the secret of logins and the key that signs orders, where they are not there yet.

    Example: pbal-hq portal init

    Prints what every site lists in uplink.hq_keys, so that it takes HQ's orders.
    """
    from pbal_hq.portal import set_up  # FastAPI takes a second to load: only where it is used

    lines = set_up(load(config))
    if json_:
        print_json({"hq_key": lines[-1].rpartition(" ")[2]})
    else:
        print("\n".join(lines))
