"""The figures of a finished run, its failures, and notes for the reader."""

from typing import Any

from pbal_host import counted

from .streetoptions import DECISION_S, DWELL_S, SCENARIOS, SWITCHING_PRICE_A2, RunOptions

_NAMED = 3  # homes that are named while they are waited for


def result_of(
    options: RunOptions,
    status: dict[str, Any],
    truth: dict[str, Any],
    elapsed_s: float,
    controller_s: float,
) -> dict[str, Any]:
    """The result for `--json`: from the controller's last status and the twin's own report.
    `controller_s`: when its controller ran.
    """
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
        "why_no_move": "" if truth["transfers"] else why_no_move(status),
        "telemetry_age_p95_s": status["telemetry_age_p95_s"],
        "frames_answered": frames["answers"],
        "frames_lost": frames["lost"],
        "frames_refused": frames["auth_failed"] + frames["replayed"] + frames["malformed"],
        "node_heap_peak_bytes": truth["node_heap_peak_bytes"],
        "homes_fresh": status["homes_fresh"],
        "homes_never_read": never_read(status),
        "incidents": truth["incidents"],
        "node_crashes": truth["node_crashes"],
        "watchdog_bites": truth["watchdog_bites"],
        "boot_s": truth["boot_s"],
        "controller_s": controller_s,
        "seconds": elapsed_s,
        "speed": options.speed,
        "hour": options.hour,
        "scenario": options.scenario,
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


def never_read(status: dict[str, Any]) -> list[str]:
    """The names of homes of which the controller had no reading since its start."""
    return [str(home["name"]) for home in status["homes"] if home.get("age_s") is None]


def why_no_move(status: dict[str, Any]) -> str:
    """Why no home was moved: what kept the controller from it, or that none was worth it."""
    planner, switches = status["planner"], status["switches"]
    decisions = planner["decisions"]
    if switches["ordered"]:
        ends = [f"{n} {end}" for end, n in switches.items() if n and end != "ordered"]
        return f"{counted(switches['ordered'], 'move')} ordered, none made ({', '.join(ends)})"
    if not planner["enabled"]:
        return "the planner is off"
    if status["why_no_commands"]:
        return f"nothing may be ordered: {status['why_no_commands']}"
    if planner["dry_run"] is not None:
        return "a dry run orders nothing"
    if not decisions:
        skipped = planner["last"].get("skipped")
        return f"no decision: {skipped}" if skipped else "it ended before the first decision"
    told = f"{counted(decisions, 'decision')} made, "
    still = sorted({home["immovable"] for home in status["homes"]})
    if still and "" not in still:
        return f"{told}no home may be moved now: {', '.join(still)}"
    if planner["held_back"]:
        held = counted(planner["held_back"], "move")
        return f"{told}{held} held back that would hang on one home's word"
    return f"{told}no move was worth a switching"


def start_note(status: dict[str, Any], supplied: int) -> str:
    """What a street waits for until all homes are read and supplied."""
    homes, unread = status["homes_configured"], never_read(status)
    told = f"{status['homes_fresh']} of {homes} homes are read, {supplied} are supplied"
    if supplied < homes:
        return f"{told}: after power returns a node waits for 5 s of good voltage."
    if 0 < len(unread) <= _NAMED:
        return f"{told}: not yet read {', '.join(unread)}."
    return f"{told}."


def problems(result: dict[str, Any]) -> list[str]:
    """What went wrong in a run, in words; empty when nothing did."""
    found = []
    if result["incidents"]:
        found.append(f"the witness saw {result['incidents']}")
    if not result["faults"]:
        settled = result["seconds"] - result["controller_s"] >= SCENARIOS[result["scenario"]].join_s
        if settled and result["homes_fresh"] < result["homes"]:
            unread = result["homes_never_read"]
            told = f", never read: {', '.join(unread)}" if unread else ""
            found.append(f"only {result['homes_fresh']} of {result['homes']} homes are fresh{told}")
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
    unread = result["homes_never_read"]
    join_s = SCENARIOS[result["scenario"]].join_s
    if unread and result["seconds"] - result["controller_s"] < join_s:
        found.append(
            f"{', '.join(unread)}: not read yet; in this scenario all are within {join_s:.0f} s"
        )
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
