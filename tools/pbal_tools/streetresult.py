"""The figures of a finished run, its failures, and notes for the reader."""

from typing import Any

from .streetoptions import DECISION_S, DWELL_S, SWITCHING_PRICE_A2, RunOptions

# From the boot of the last home until every home has been read, on a busy computer.
SETTLED_S = 15.0


def result_of(
    options: RunOptions, status: dict[str, Any], truth: dict[str, Any], elapsed_s: float
) -> dict[str, Any]:
    """The result for `--json`: from the controller's last status and the twin's own report."""
    switches, frames = status["switches"], status["frames"]
    result = {
        "homes": options.homes,
        "interpreter": truth["interpreter"],
        "neutral_current_before_a": truth["neutral_before_a"],
        "neutral_current_after_a": truth["neutral_after_a"],
        "neutral_current_without_a": truth["neutral_without_a"],
        "switches_ordered": switches["ordered"],
        "switches_confirmed": switches["confirmed"],
        "switches_open": switches["open"],
        # A refusal by the node's rules (S1..S12) is no failure of the run; a failed switching is.
        "switches_refused": switches["refused"] + switches["expired"],
        "switches_failed": switches["failed"] + switches["disagreed"],
        "switches_seen_by_the_twin": truth["transfers"],
        "telemetry_age_p95_s": status["telemetry_age_p95_s"],
        "frames_answered": frames["answers"],
        "frames_lost": frames["lost"],
        "frames_refused": frames["auth_failed"] + frames["replayed"] + frames["malformed"],
        "node_heap_peak_bytes": truth["node_heap_peak_bytes"],
        "homes_fresh": status["homes_fresh"],
        "incidents": truth["incidents"],
        "node_crashes": truth["node_crashes"],
        "watchdog_bites": truth["watchdog_bites"],
        "boot_s": truth["boot_s"],
        "seconds": elapsed_s,
        "speed": options.speed,
        "hour": options.hour,
        "seed": options.seed,
        "profiles": str(options.profiles) if options.profiles else "built-in household generator",
        "faults": list(options.faults),
        "decision_every_s": DECISION_S,
        "dwell_s": DWELL_S,
        "switching_price_a2": SWITCHING_PRICE_A2,
        "moves": status["moves"],
    }
    result["notes"] = notes(result)
    result["problems"] = problems(result)
    return result


def problems(result: dict[str, Any]) -> list[str]:
    """What went wrong in a run, in words; empty when nothing did."""
    found = []
    if result["incidents"]:
        found.append(f"the witness saw {result['incidents']}")
    if not result["faults"]:
        settled = result["seconds"] - result["boot_s"] >= SETTLED_S
        if settled and result["homes_fresh"] < result["homes"]:
            found.append(f"only {result['homes_fresh']} of {result['homes']} homes are fresh")
        if result["node_crashes"] or result["watchdog_bites"]:
            found.append(
                f"{result['node_crashes']} nodes crashed, {result['watchdog_bites']} watchdogs bit"
            )
        if result["switches_failed"]:
            found.append(f"{result['switches_failed']} switchings failed")
    return found


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the figures should know, although nothing failed."""
    found = []
    after, without = result["neutral_current_after_a"], result["neutral_current_without_a"]
    if result["neutral_current_before_a"] is None:
        found.append(
            f"{result['seconds']:.0f} s were too short to measure anything: starting up and the "
            "first 5 s of good voltage take about 15 s"
        )
    elif result["switches_confirmed"] and after and without and after > without:
        found.append(
            "the loads changed faster than they could be followed: without any switching the "
            f"neutral current would be {without:.1f} A now, not {after:.1f} A"
        )
    return found
