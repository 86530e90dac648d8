"""Prometheus text exposition of the status (format 0.0.4): prefix pbal_, base units."""

from __future__ import annotations

import asyncio
import math

from pbal_controller.meters import RESIDUAL_KINDS
from pbal_controller.view.site import SiteView
from pbal_controller.view.status import frames_dict, radio_path, summary_dict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Exposition:
    """Collects metrics and renders them, each family once."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._families: set[str] = set()

    def add(
        self, name: str, type_: str, text: str, value: float | None, /, **labels: object
    ) -> None:
        """One sample of family `name` (without the prefix). None is left out."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return
        name = f"pbal_{name}"
        if name not in self._families:
            self._families.add(name)
            self._lines += [f"# HELP {name} {text}", f"# TYPE {name} {type_}"]
        body = ",".join(f'{key}="{_escape(str(item))}"' for key, item in labels.items())
        shown = "+Inf" if value == math.inf else repr(value)
        self._lines.append(f"{name}{{{body}}} {shown}" if body else f"{name} {shown}")

    def render(self) -> str:
        """The whole text."""
        return "\n".join(self._lines) + "\n"


def _tasks() -> int | None:
    """How many tasks there are; None outside of an event loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return None


# Of a home's link over a radio: figures as its bearer gives them.
_RADIO = {
    "rssi_dbm": "Strength at which the home is heard, mean of some thirty frames.",
    "snr_db": "Ratio of signal to noise, mean of some thirty frames.",
    "sf": "Spreading factor of the home's slot, 0 without one.",
    "airtime_share": "Share of the time in which the home sends.",
}


def _uplink(out: Exposition, c: SiteView) -> None:
    """The link to HQ, where one is configured."""
    uplink = c.uplink.as_dict()
    if uplink["configured"]:
        out.add("uplink_online", "gauge", "1 while HQ can hear this site.", int(uplink["online"]))
        out.add("uplink_acknowledged_total", "counter", "Messages that HQ has stored.",
                uplink["acknowledged"])  # fmt: skip


def _standby(out: Exposition, c: SiteView) -> None:
    """Where this controller is one of two."""
    if c.standby is None:
        return
    s = c.standby.as_dict()
    out.add("standby_serving", "gauge", "1 while this controller has the lease of the buses.",
            int(s["serving"]))  # fmt: skip
    out.add("standby_ready", "gauge", "1 while it is at work or could take over.", int(s["well"]))
    out.add("standby_term", "gauge", "Number of the latest lease that it knows.", s["term"])
    if s["peer_age_s"] is not None:
        out.add("standby_peer_age_seconds", "gauge", "Since the other controller's last word.",
                s["peer_age_s"])  # fmt: skip
    out.add("standby_clock_offset_seconds", "gauge", "The other's clock before this one's.",
            s["clock_off_s"])  # fmt: skip
    if s["took_over_s"] is not None:
        out.add("standby_takeover_seconds", "gauge",
                "From the buses' last sound to its own first poll, at the latest take-over.",
                s["took_over_s"])  # fmt: skip


def _transformer(out: Exposition, c: SiteView) -> None:
    """The transformer's meter, while it is heard, and its difference from the homes."""
    reading = c.transformer()
    if reading is None:
        return
    said, differs = reading.as_dict(), c.residual.as_dict()
    for name, key, text in (
        ("transformer_voltage_volts", "v", "Phase to neutral, by the transformer's meter."),
        ("transformer_current_amperes", "i_a", "By the transformer's meter."),
        ("transformer_power_watts", "p_w", "Active power, by the transformer's meter."),
    ):
        for phase, value in zip("ABC", said[key], strict=True):
            out.add(name, "gauge", text, value, phase=phase)
    for phase, value in zip("ABC", differs["residual_a"], strict=True):
        out.add("transformer_residual_amperes", "gauge",
                "What the meter sees beside the homes, mean of a minute.",
                value, phase=phase)  # fmt: skip
    kinds: dict[str, int] = {}
    for alarm in differs["alarms"]:
        kinds[alarm["kind"]] = kinds.get(alarm["kind"], 0) + 1
    for kind in RESIDUAL_KINDS:
        out.add("transformer_residual_alarms", "gauge",
                "Lasting differences of the meter and the homes, by kind.",
                kinds.get(kind, 0), kind=kind)  # fmt: skip


def render(c: SiteView) -> str:
    """All metrics of the controller."""
    out = Exposition()
    now = c.now()
    s = summary_dict(c)
    out.add("build_info", "gauge", "Version of the controller.", 1, version=s["version"])
    out.add("uptime_seconds", "gauge", "Time since start.", s["uptime_s"])
    out.add("tasks", "gauge", "Tasks of the controller's event loop.", _tasks())
    out.add(
        "healthy",
        "gauge",
        "1 while every essential loop is on time and moves can be ordered.",
        int(s["healthy"]),
    )
    out.add("commands_allowed", "gauge", "0 while nothing can be ordered.", int(s["commands"]))
    out.add("homes", "gauge", "Configured homes.", s["homes_configured"])
    out.add("homes_alive", "gauge", "Homes that answer.", s["homes_alive"])
    out.add("homes_fresh", "gauge", "Homes fresh enough to plan with.", s["homes_fresh"])
    out.add("homes_quarantined", "gauge", "Homes in quarantine.", s["homes_quarantined"])
    out.add("homes_doubted", "gauge", "Homes whose word does not fit: not in plans.",
            s["homes_doubted"])  # fmt: skip
    for version, count in s["firmware"]["versions"].items():
        out.add("homes_firmware", "gauge", "Homes by the firmware they run.", count,
                version=version)  # fmt: skip
    out.add("homes_firmware_differing", "gauge", "Homes with another firmware than most.",
            len(s["firmware"]["differing"]))  # fmt: skip
    out.add("homes_firmware_lacking", "gauge", "Homes whose firmware is older than a record.",
            len(s["firmware"]["lacking"]))  # fmt: skip
    out.add("neutral_current_amperes", "gauge", "Phasor sum over fresh homes.",
            s["neutral_current_a"])  # fmt: skip
    for index, name in enumerate("ABC"):
        out.add("phase_current_amperes", "gauge", "Sum of the homes' currents on a phase.",
                s["phase_currents_a"][index], phase=name)  # fmt: skip
    for index, name in enumerate("ABC"):
        out.add("phase_homes", "gauge", "Homes on a phase.", s["phase_homes"][index], phase=name)
    out.add("telemetry_age_p95_seconds", "gauge", "95th percentile of reading age, living homes.",
            s["telemetry_age_p95_s"])  # fmt: skip
    out.add("telemetry_age_p95_worst_seconds", "gauge", "The same, of the worst living home.",
            s["telemetry_age_p95_worst_s"])  # fmt: skip
    out.add("moves_ordered_total", "counter", "Moves ordered.", s["switches"]["ordered"])
    out.add("moves_open", "gauge", "Moves whose end is not known.", s["switches"]["open"])
    for state, count in c.moves.finished_total.items():
        out.add("moves_ended_total", "counter", "Moves by their end.", count, state=state)
    out.add("decisions_total", "counter", "Decisions made.", c.planner.decisions_total)
    out.add("decisions_skipped_total", "counter", "Decisions not made (stale, busy).",
            c.planner.skipped_total)  # fmt: skip
    out.add("moves_held_back_total", "counter",
            "Moves not ordered because they would hang on one home's word.",
            c.planner.held_back_total)  # fmt: skip
    out.add("decision_seconds", "gauge", "Duration of the last decision.",
            c.planner.last_decide_s)  # fmt: skip
    out.add("node_events_total", "counter", "Events stored.", c.moves.events_total)
    out.add("node_events_put_off_total", "counter",
            "Events and results above their home's share of the journal; it says them again.",
            c.moves.put_off_total)  # fmt: skip
    out.add("inbox_dropped_total", "counter", "Facts dropped because the journal was slow.",
            c.facts_dropped())  # fmt: skip
    for kind, count in frames_dict(list(c.fleet)).items():
        out.add("frames_total", "counter", "Polls and what came of them.", count, kind=kind)
    for name, bearer in c.bearers.items():
        out.add("bus_up", "gauge", "1 while the port is open.",
                int(bearer.up), bus=name)  # fmt: skip
    for name, bearer in c.bearers.items():
        out.add("bus_reconnects_total", "counter", "Times the port was lost.",
                bearer.reconnects, bus=name)  # fmt: skip
    for name, bearer in c.bearers.items():
        for kind, count in bearer.counts().items():
            out.add("bus_transactions_total", "counter", "Of the segment, by outcome.",
                    count, bus=name, kind=kind)  # fmt: skip
    for name, rounds in c.rounds.items():
        out.add("bus_cycle_seconds", "gauge", "Duration of the last round.",
                rounds.last_cycle_s, bus=name)  # fmt: skip
    for loop in c.loops.loops.values():
        out.add("loop_last_success_age_seconds", "gauge", "Age of a loop's last success.",
                loop.age_s(now), loop=loop.name)  # fmt: skip
    for loop in c.loops.loops.values():
        out.add("loop_restarts_total", "counter", "Restarts of a loop.", loop.restarts,
                loop=loop.name)  # fmt: skip
    key = c.group_keys.as_dict()
    out.add("group_key_number", "gauge", "The group key in use.", key["number"])
    out.add("group_key_homes_behind", "gauge", "Homes that have not proven the newest group key.",
            len(key["homes_behind"]))  # fmt: skip
    out.add("group_key_alarm_homes", "gauge", "Living homes that had their time and did not.",
            len(key["alarm"]))  # fmt: skip
    if key["made_s"]:
        out.add("group_key_age_seconds", "gauge", "Since the newest group key was drawn.",
                round(c.wall() - key["made_s"], 3))  # fmt: skip
    _uplink(out, c)
    _standby(out, c)
    _transformer(out, c)
    if c.updates_on:
        out.add("update_bytes_total", "counter", "Bytes of releases sent to homes.",
                c.updates.bytes_total)  # fmt: skip
        for step, count in c.updates.steps().items():
            out.add("update_homes", "gauge", "Homes of the rollout under way, by step.",
                    count, step=step)  # fmt: skip
    for home in c.fleet:
        out.add("home_up", "gauge", "1 while the home answers.", int(home.alive),
                home=home.address)  # fmt: skip
    for home in c.fleet:
        out.add("home_reading_age_seconds", "gauge", "Age of the latest reading.",
                home.age_s(now), home=home.address)  # fmt: skip
    for home in c.fleet:
        for way in home.paths:
            out.add("home_path_up", "gauge", "1 while the home answers over this bearer.",
                    int(way.alive), home=home.address, bearer=way.bearer)  # fmt: skip
    for name, text in _RADIO.items():
        for home in c.fleet:
            path = radio_path(home)
            if path is not None:
                out.add(f"home_radio_{name}", "gauge", text, path.quality[name],
                        home=home.address, bearer=path.bearer)  # fmt: skip
    for home in c.fleet:
        out.add("home_phase", "gauge", "0 open, 1 A, 2 B, 3 C.", home.phase, home=home.address)
    for home in c.fleet:
        out.add("home_doubted", "gauge", "1 while its word does not fit.", int(bool(home.doubted)),
                home=home.address)  # fmt: skip
    for home in c.fleet:
        if home.telemetry is not None:
            out.add("home_power_watts", "gauge", "Active power.", home.telemetry.p_w,
                    home=home.address)  # fmt: skip
    return out.render()
