"""Airtime and bytes a day of a link without IP: LoRa to a gateway, and LoRaWAN.

    python -m bench.lora_uplink [--json] [--events 50] [--sites 20]
    python -m bench.lora_uplink --played [--json] [--sites 20] [--sf 7 9 10] [--waiting 0]

A day of a transformer: a summary each 5 minutes (15 over LoRaWAN), so many switchings, a State.
The messages, frames and items are the controller's own; time on air is pbal_protocol's
(Semtech AN1200.13). Nothing is lost. Over LoRa: `site_s` is what the site sends (up, EU868: 1 %
is 864 s a day), `gateway_s` what the gateway sends for all sites (down, EU868: 10 % is 8640 s),
`load` the share of the up channel that all sites use. Over LoRaWAN: 13 bytes of LoRaWAN around
the payload and an empty acknowledgement of 12.

With --played the real gateway and the real sites are played in virtual time, on an air where frames
that overlap are lost (bench/_gateway_hours.py): what HQ got, how old summaries were there, how long
an order took from HQ to its answer at HQ, and the most that a site and the gateway sent within any
hour, beside what the plan allows. `--waiting`: so many summaries wait at each site at first, as
after an outage. Some minutes for each spreading factor.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.uplink import airlink
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_uplink import Event, State, brief, link, names

from . import _gateway_hours as played
from .uplink import SITE, START_S, summary

DAY_S = 86_400
WORDS = "phase B loaded 31 % above the mean of the three"


def event(n: int) -> Event:
    """A switching as the controller words it."""
    return Event(
        site=SITE, event_id=(n + 1) << 40, at_s=START_S + n, kind=names.KIND_SWITCHING,
        address=257 + n, outcome=names.OUTCOME_CONFIRMED, from_phase=1, to_phase=2,
        command_id=n + 1, detail=WORDS,
    )  # fmt: skip


def state() -> State:
    """A State with every field."""
    return State(
        site=SITE, at_s=START_S, words=1, config_hash=bytes(8), window_s=300, rated_kva=250.0,
        phase_limit_a=360.0, homes=100, name="Mill Lane",
    )  # fmt: skip


def lora(sf: int, events: int, sites: int) -> dict[str, Any]:
    """One day over LoRa at a spreading factor."""
    config = RadioConfig(region="EU868", sf=sf, power_dbm=11)
    most = airlink.room(config)
    up_us = down_us = up_bytes = down_bytes = 0
    bodies = [brief.encode(summary(n), most - link.HEAD) for n in range(DAY_S // 300)]
    bodies += [brief.encode(event(n), most - link.HEAD) for n in range(events)]
    bodies.append(brief.encode(state(), most - link.HEAD))
    for body in bodies:
        frame = airlink.OVERHEAD + link.HEAD + len(body)
        # Each frame is answered; HQ's acknowledgement of an earlier message goes with it.
        answer = airlink.OVERHEAD + len(link.pack([link.held(1), link.stored([1])]))
        up_us += time_on_air_us(frame, sf, config.up[1])
        down_us += time_on_air_us(answer, sf, config.down[1])
        up_bytes += frame
        down_bytes += answer
    return {
        "link": f"LoRa SF{sf}", "frames": len(bodies), "up_bytes": up_bytes,
        "down_bytes": down_bytes, "site_s": round(up_us / 1e6, 1),
        "gateway_s": round(sites * down_us / 1e6, 1),
        "load": round(sites * up_us / 1e6 / DAY_S, 4),
    }  # fmt: skip


def lorawan(sf: int, events: int) -> dict[str, Any]:
    """One day over LoRaWAN at a spreading factor."""
    bodies = [brief.encode(summary(n)) for n in range(DAY_S // 900)]
    bodies += [brief.encode(event(n)) for n in range(events)]
    bodies.append(brief.encode(state()))
    up = [13 + len(body) for body in bodies]
    us = sum(time_on_air_us(size, sf, 125_000) for size in up)
    return {
        "link": f"LoRaWAN SF{sf}", "frames": len(up), "up_bytes": sum(up),
        "down_bytes": 12 * len(up), "site_s": round(us / 1e6, 1),
        "gateway_s": round(len(up) * time_on_air_us(12, sf, 125_000) / 1e6, 1),
        "load": round(us / 1e6 / DAY_S, 4),
    }  # fmt: skip


def play(args: argparse.Namespace) -> None:
    """Sites and gateway in virtual time, one line for each spreading factor."""
    limits = "of {site_limit_s:g}", "of {gateway_limit_s:g}"
    for sf in args.sf:
        case = played.Case(
            region=args.region, sf=sf, sites=args.sites, hours=args.hours, events=args.events,
            backlog=args.waiting,
        )  # fmt: skip
        row = played.hours(case)
        if args.json:
            print(json.dumps(row), flush=True)
            continue
        site, gateway = (
            text.format(**row) if row[key] else "no limit"
            for text, key in zip(limits, ("site_limit_s", "gateway_limit_s"), strict=True)
        )
        print(
            f"{row['region']} SF{sf}: {row['sites']} sites, {row['hours']:g} h: "
            f"{row['devices_born']} devices, {row['at_hq']} of {row['said']} messages at HQ, "
            f"summaries after {row['age_s']} s (most {row['age_most_s']}), "
            f"{row['orders_done']} of {row['orders']} orders answered after {row['order_s']} s "
            f"(most {row['order_most_s']}), {row['retries']} frames again; on the air within an "
            f"hour: a site {row['site_hour_s']} s {site}, the gateway "
            f"{row['gateway_hour_s']} s {gateway}; up channel {row['load']:.1%}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=50, help="switchings a day")
    parser.add_argument("--sites", type=int, default=20, help="behind one gateway")
    parser.add_argument("--played", action="store_true", help="play them in virtual time")
    parser.add_argument("--sf", type=int, nargs="+", default=[7, 9, 10], help="of --played")
    parser.add_argument("--region", default="EU868", help="of --played")
    parser.add_argument("--hours", type=float, default=2.0, help="of --played")
    parser.add_argument("--waiting", type=int, default=0, help="of --played: summaries of a site")
    args = parser.parse_args()
    if args.played:
        play(args)
        return
    rows = [lora(sf, args.events, args.sites) for sf in range(7, 12)]
    rows += [lorawan(sf, args.events) for sf in range(7, 13)]
    if args.json:
        print(json.dumps(rows))
        return
    print(f"a day of one site, {args.events} switchings; {args.sites} sites behind a gateway")
    print(f"{'link':<14}{'frames':>8}{'up kB':>8}{'down kB':>9}{'site s':>9}{'gateway s':>11}"
          f"{'load':>8}")  # fmt: skip
    for row in rows:
        print(f"{row['link']:<14}{row['frames']:>8}{row['up_bytes'] / 1000:>8.1f}"
              f"{row['down_bytes'] / 1000:>9.1f}{row['site_s']:>9}{row['gateway_s']:>11}"
              f"{row['load']:>8.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
