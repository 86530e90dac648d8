"""`pbal-hq portal`: its secrets, and several instances of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pbal_hq import failover
from pbal_hq.ca import write_whole
from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json
from pbal_hq.config import load
from pbal_hq.errors import ConfigError

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


@app.command()
def balancer(
    instances: Annotated[list[str], typer.Option("--instance", help="HOST:PORT of a portal.")],
    out: Annotated[Path, typer.Option(help="HAProxy's configuration, to be written.")],
    listen: Annotated[str, typer.Option(help="Where browsers come in.")] = ":443",
    certificate: Annotated[
        Path | None,
        typer.Option(help="PEM of certificate and key for browsers; without: plain HTTP."),
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option(help="Who signed the portals' own certificates; without: they have none."),
    ] = None,
) -> None:
    """Write HAProxy's configuration for several instances of the portal.

    Example: pbal-hq portal balancer --instance 10.1.0.21:8443 --instance 10.1.0.22:8443
    --certificate /etc/haproxy/portal.pem --out haproxy.cfg
    """
    text = failover.balancer(instances, listen, certificate, authority)
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}") from None
    print(f"written: {out}; haproxy -c -f {out} checks it")
