"""The command line of `pbal radio`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pbal_host import counted
from pbal_protocol.radio.plans import NAMES

from .. import homestable
from ..errors import CheckFailed, InputError
from ..output import JsonFlag, check_picture, emit
from . import places as where
from .plan import AREAS, Assumed, Planned, plan

app = typer.Typer(no_args_is_help=True, help="Plan the radio links of a LoRa site.")


@app.callback()
def radio() -> None:
    """Plan the radio links of a LoRa site.

    Example: pbal radio plan --homes homes.csv
    """


@app.command("plan")
def plan_command(
    homes: Annotated[
        Path,
        typer.Option(
            "--homes",
            metavar="CSV",
            help="The homes: address and lat, lon (degrees) or x_m, y_m (metres); other columns "
            "as for `pbal site import`.",
        ),
    ],
    gateway: Annotated[
        str | None,
        typer.Option(
            "--gateway-at",
            metavar="LAT,LON",
            help="Where the controller's antenna is, in degrees or metres as the list. Default: "
            "the middle of the homes.",
        ),
    ] = None,
    region: Annotated[
        str, typer.Option(help=f"The regional plan: {', '.join(NAMES)} (docs/radio-plans.md).")
    ] = "IN865",
    channel: Annotated[int, typer.Option(help="Number of the channel in that plan.")] = 0,
    power: Annotated[float, typer.Option(min=-10, max=30, help="Of the transmitters, dBm.")] = 14.0,
    antenna: Annotated[
        float, typer.Option(min=-20, max=20, help="Gain of the antennas at both ends, dBi.")
    ] = 2.15,
    area: Annotated[str, typer.Option(help=f"What lies between: {' or '.join(AREAS)}.")] = "open",
    margin: Annotated[
        float,
        typer.Option(min=0, max=40, help="What a link must have to spare, dB: for walls and rain."),
    ] = 8.0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a map: .png or .svg.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Say which spreading factor each home will need, how often each is read, and the airtime.

    An estimate by distance, with the path loss of the twin; hills, walls and antennas decide. It
    ends with exit code 7 when a home is out of reach.

    Example:  pbal radio plan --homes homes.csv --region IN865 --gateway-at 12.9716,77.5946
    """
    if region.upper() not in NAMES:
        raise InputError(f"There is no region {region!r}.", f"There are: {', '.join(NAMES)}.")
    if area not in AREAS:
        raise InputError(f"There is no area {area!r}.", f"There are: {', '.join(AREAS)}.")
    if picture is not None:
        check_picture(picture)
    at = None if gateway is None else where.parse_gateway(gateway)
    found = where.places(homestable.read(homes), at)
    assumed = Assumed(region.upper(), channel, power + antenna, antenna, area, margin)
    planned = plan(found, assumed)
    if picture is not None:
        from .picture import save

        save(planned, picture)
    emit(
        planned.as_dict() | {"gateway_at": gateway or "the middle of the homes"},
        json_output,
        lambda data: _show(planned, gateway, picture),
    )
    if planned.unreached:
        names = ", ".join(str(home.address) for home in planned.unreached[:10])
        raise CheckFailed(
            f"{counted(len(planned.unreached), 'home')} of {len(planned.homes)} out of reach: "
            f"{names}.",
            "Move the gateway or raise its antenna, reach them over wires or Wi-Fi, or accept "
            "less --margin.",
        )


def _share(share: float, limit: float | None) -> str:
    text = f"{100 * share:.2f} %"
    return text if limit is None else f"{text} of {100 * limit:g} %"


def _show(planned: Planned, gateway: str | None, picture: Path | None) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for title, side in (
        ("home", "right"), ("name", "left"), ("distance", "right"), ("RSSI", "right"),
        ("SF", "right"), ("margin", "right"), ("holds", "right"), ("frame", "right"),
        ("airtime", "right"),
    ):  # fmt: skip
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for home in sorted(planned.homes, key=lambda one: (one.sf == 0, one.distance_m)):
        table.add_row(
            str(home.address), home.name, f"{home.distance_m:.0f} m", f"{home.rssi_dbm:.0f} dBm",
            str(home.sf or "-"), f"{home.margin_db:.1f} dB", f"{100 * home.holds:.0f} %",
            f"{home.airtime_ms:.0f} ms" if home.sf else "out of reach",
            _share(home.airtime_share, planned.up_limit) if home.sf else "",
        )  # fmt: skip
    console.print(table, highlight=False)
    a = planned.assumed
    factors = ", ".join(f"{n} at SF{sf}" for sf, n in planned.factors.items()) or "none in reach"
    lines = [
        "",
        f"region      {a.region}, channel {a.channel}: {planned.frequency_mhz:g} MHz, "
        f"{planned.bandwidth_khz:g} kHz; {a.eirp_dbm:g} dBm EIRP, {a.area} country, "
        f"{a.margin_db:g} dB to spare",
        f"gateway     at {gateway or 'the middle of the homes'}",
        f"homes       {len(planned.homes)}: {factors}",
        f"round       {planned.cycle_s:.1f} s, each home read once; limited by "
        f"{planned.limited_by} ({planned.airtime_s:.1f} s on the air, beacons at "
        f"SF{planned.beacon_sf})",
        f"controller  {_share(planned.down_share, planned.down_limit)} of its time on the air",
    ]
    if planned.dwell_ms is not None:
        lines.append(f"frames      at most {planned.dwell_ms:g} ms long in this region")
    if picture is not None:
        lines.append(f"picture     {picture}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
