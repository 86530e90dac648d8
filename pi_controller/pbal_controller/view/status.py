"""The controller's state as plain JSON data: one shape for the API, the page and HQ.

docs/operations.md describes every key.
"""

from __future__ import annotations

import math
from typing import Any

from pbal_controller import __version__
from pbal_controller.homes import Home, Path
from pbal_controller.naming import version_text
from pbal_controller.view.site import SiteView
from pbal_protocol import flags, states


def home_dict(home: Home, now: float, *, full: bool = False) -> dict[str, Any]:
    """One home. With `full` also its hello, health and settings."""
    t = home.telemetry
    age = home.age_s(now)
    link = home.link
    item: dict[str, Any] = {
        "address": home.address,
        "unit": home.address & 0xFF,
        "bus": home.config.ways[0].bearer,
        "name": home.config.name,
        "alive": home.alive,
        "age_s": None if math.isinf(age) else round(age, 3),
        "phase": home.phase,
        "state": states.word(t.state) if t is not None else None,
        "flags": flags.words(home.flags),
        "immovable": home.immovable(now),
        "quarantined": home.quarantined,
        "doubted": home.doubted,
        "polls": link.polls,
        "answers": link.answers,
        "lost": link.lost,
        "auth_failed": link.auth_failed,
        "replayed": link.replayed,
        "malformed": link.malformed,
        "delayed": link.delayed,
    }
    if t is not None:
        item |= {
            "v": [t.va_v, t.vb_v, t.vc_v],
            "vout_v": t.vout_v,
            "current_a": t.current_a,
            "p_w": t.p_w,
            "q_var": t.q_var,
            "freq_hz": t.freq_hz,
            "e_import_wh": t.e_import_wh,
            "e_export_wh": t.e_export_wh,
            "dwell_left_s": t.dwell_left_s,
            "switches_today": t.switches_today,
        }
    path = next((path for path in home.paths if path.alive), None)
    item["path"] = path.bearer if path is not None else None
    radio = path if path is not None and path.quality else radio_path(home)
    item["radio"] = radio.quality if radio is not None else None
    if full:
        item["paths"] = [
            {
                "bearer": path.bearer,
                "alive": path.alive,
                "resting": path.resting,
                **({"radio": path.quality} if path.quality else {}),
            }
            for path in home.paths
        ]
        item["age_samples_s"] = [round(x, 3) for x in home.ages]
        item["settings"] = {str(key): value for key, value in sorted(home.settings.items())}
        item["health"] = home.health.as_dict() if home.health is not None else None
        if home.hello is not None:
            item["hello"] = home.hello.as_dict() | {"firmware": version_text(home.hello.fw_version)}
            item["hello"].pop("nonce", None)
    return item


def radio_path(home: Home) -> Path | None:
    """The first of its paths that a radio has heard it on."""
    return next((path for path in home.paths if path.quality), None)


def frames_dict(homes: list[Home]) -> dict[str, int]:
    """Sums of all links."""
    names = ("polls", "answers", "lost", "auth_failed", "replayed", "malformed", "delayed")
    return {name: sum(getattr(home.link, name) for home in homes) for name in names}


def summary_dict(c: SiteView) -> dict[str, Any]:
    """The site in a few numbers."""
    now = c.now()
    max_age = c.max_age_s
    sums = c.fleet.phase_sums(now, max_age)
    p95, worst = c.fleet.age_p95_s()
    homes = list(c.fleet)
    powers = [0.0, 0.0, 0.0]
    volts: list[list[float]] = [[], [], []]
    for home in homes:
        t = home.telemetry
        if t is None or home.age_s(now) > max_age:
            continue
        if home.phase:
            powers[home.phase - 1] += t.p_w
        for index, value in enumerate((t.va_v, t.vb_v, t.vc_v)):
            if value > 50:
                volts[index].append(value)
    heap = [home.health.heap_used_max for home in homes if home.health is not None]
    late = c.loops.late(now)
    why_not = c.moves.why_not(now)
    standby = None if c.standby is None else c.standby.as_dict()
    # One that follows orders nothing, and is well as long as it could take over.
    orders_well = not why_not if standby is None or standby["serving"] else standby["well"]
    return {
        "version": __version__,
        "site": {"id": c.site.id, "name": c.site.name},
        "time_s": round(c.wall(), 3),
        "uptime_s": round(now - c.started, 3),
        "healthy": not late and orders_well,
        "standby": standby,
        "late_loops": late,
        "commands": not why_not,
        "why_no_commands": why_not,
        "stands_down": c.standing.why_not(now),
        "homes_configured": len(homes),
        "homes_alive": sum(home.alive for home in homes),
        "homes_fresh": sum(home.age_s(now) <= max_age for home in homes),
        "homes_quarantined": sum(bool(home.quarantined) for home in homes),
        "homes_doubted": sum(bool(home.doubted) for home in homes),
        "firmware": c.firmware.as_dict(),
        "neutral_current_a": round(c.fleet.neutral_a(now, max_age), 3),
        "phase_phasors_a": [[round(s.real, 3), round(s.imag, 3)] for s in sums],
        "phase_limit_a": c.phase_limit_a,
        "phase_currents_a": [round(abs(s), 3) for s in sums],
        "phase_powers_w": [round(p, 1) for p in powers],
        "phase_voltages_v": [round(sum(v) / len(v), 2) if v else None for v in volts],
        "phase_homes": [sum(home.phase == p for home in homes) for p in (1, 2, 3)],
        "telemetry_age_p95_s": round(p95, 3),
        "telemetry_age_p95_worst_s": round(worst, 3),
        "switches": {
            "ordered": c.moves.ordered_total,
            "open": c.moves.open_count,
            **c.moves.finished_total,
        },
        "frames": frames_dict(homes),
        "node_events": c.moves.events_total,
        "node_heap_used_max_bytes": max(heap, default=None),
    }


def status_dict(c: SiteView) -> dict[str, Any]:
    """Everything: GET /api/status."""
    now = c.now()
    reading = c.transformer()
    return {
        **summary_dict(c),
        "neutral_history": [[round(t, 1), round(a, 3)] for t, a in c.neutral_history],
        "homes": [home_dict(home, now) for home in c.fleet],
        "buses": [
            bearer.as_dict()
            | {
                "cycle_s": round(c.rounds[name].last_cycle_s, 4),
                "group_frames": c.rounds[name].group_frames,
            }
            for name, bearer in c.bearers.items()
        ],
        "planner": c.planner.as_dict(),
        "group_key": c.group_keys.as_dict(),
        "doubts": c.doubts.history(),
        "updates": c.updates.as_dict(),
        "transformer": reading.as_dict() if reading is not None else None,
        "residual": c.residual.as_dict(),
        "uplink": c.uplink.as_dict(),
        "moves": list(c.moves.recent)[-20:],
        "loops": {
            loop.name: {
                "age_s": round(loop.age_s(now), 3),
                "limit_s": loop.limit_s,
                "restarts": loop.restarts,
                "failing": loop.failing,
            }
            for loop in c.loops.loops.values()
        },
    }
