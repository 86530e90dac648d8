"""The content of the report as plain data: from the record, evaluated, nothing measured anew."""

import time
from typing import Any

from ..sitefile import Site
from .evidence import PHASES
from .loadmoves import CONTRADICTED, UNDECIDED

TITLES = {
    "scan": "Nodes that are heard", "survey": "How well each home is heard",
    "contact": "Proof of each node",
    "phases": "Phase and current transformer", "calibrate": "Calibration",
    "transfer": "Transfer test", "report": "Report",
}  # fmt: skip


def content(site: Site, data: dict[str, Any], crew: str, remarks: str) -> dict[str, Any]:
    """The report of one segment's record. `ok` only when every home passed every step."""
    bus = str(data["bus"])
    homes = [_home(home, data["homes"].get(str(home.address), {})) for home in site.home
             if home.bus == bus]  # fmt: skip
    scan = data["steps"].get("scan", {})
    watch = data.get("watch", {})
    open_points = [f"{h['address']}: {words}" for h in homes for words in h["open"]]
    open_points += [
        f"{item['address']}: its link is {item['verdict']}"
        for item in (data.get("survey") or {}).get("homes", [])
        if item["verdict"] != "good"
    ]
    open_points += [
        f"node {node['eui']} is on the line and has no keys: pbal provision add"
        for node in scan.get("waiting", [])
    ]
    return {
        "format": "pbal-commissioning-report/1",
        "site": {"id": site.site.id, "name": site.site.name}, "bus": bus,
        "port": site.bus[bus].port if bus in site.bus else "",
        "radio": site.radio[bus].words if bus in site.radio else "",
        "survey": data.get("survey"),
        "begun_s": data["begun_s"], "reported_s": int(time.time()), "crew": crew,
        "remarks": remarks,
        "ok": bool(homes) and not open_points,
        "metered": bool(watch.get("metered")),
        "homes": homes, "waiting": scan.get("waiting", []), "open": open_points,
        "restore": data["restore"],
    }  # fmt: skip


def _home(home: Any, notes: dict[str, Any]) -> dict[str, Any]:
    contact, phases = notes.get("contact", {}), notes.get("phases", {})
    calibrate, transfer = notes.get("calibrate", {}), notes.get("transfer", {})
    left: list[str] = []
    if not contact:
        left.append("was not spoken to")
    left += contact.get("faults", [])
    if contact.get("ok"):
        if not phases:
            left.append("its phase was not measured")
        left += phases.get("faults", [])
        if phases and not phases.get("ok"):
            left += phases.get("todo", [])
        if phases.get("real_phase") and home.phase and phases["real_phase"] != home.phase:
            left.append(f"the site file has it on {home.phase}, measured is {phases['real_phase']}")
        if transfer.get("refused"):
            if not home.fixed:
                left.append(f"transfer test: {transfer['refused']}")
        elif not transfer:
            left.append("no transfer test")
        elif transfer.get("load", {}).get("verdict") == CONTRADICTED:
            left.append(f"transfer test: {transfer['load']['words']}: check the supply's wires")
        elif not transfer.get("ok"):
            left.append("the transfer test failed")
    return {
        "address": home.address, "name": home.name, "eui": contact.get("eui", home.eui),
        "board": contact.get("board", ""), "version": contact.get("version", ""),
        "fixed": home.fixed, "site_phase": home.phase,
        "node_phase": phases.get("node_phase", ""), "real_phase": phases.get("real_phase", ""),
        "pairing": phases.get("pairing", ""), "relative_to": phases.get("relative_to", ""),
        "direction": phases.get("direction", "unknown"),
        "witnesses": phases.get("verdicts", []),
        "calibration": None if calibrate.get("skipped") else calibrate or None,
        "moves": transfer.get("moves", []), "load": transfer.get("load"),
        "start": transfer.get("start", 0),
        "refused": transfer.get("refused", ""), "dwell_s": transfer.get("dwell_s"),
        "dwell_after_s": transfer.get("dwell_after_s"),
        "ok": not left, "open": left,
    }  # fmt: skip


def letter(phase: int) -> str:
    """A for 1, and so on; "open" for 0."""
    return PHASES[phase - 1] if phase else "open"


def stamp(seconds: int) -> str:
    """A time as the report writes it: local, with its zone."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(seconds))


def direction_words(direction: str) -> str:
    """The current transformer's direction in words."""
    return {
        "right": "right way round", "reversed": "REVERSED", "unknown": "not told",
        "no sign": "meter has no sign",
    }[direction]  # fmt: skip


def summary_rows(report: dict[str, Any]) -> list[list[str]]:
    """The table of homes: one row each, with its heading."""
    rows = [["home", "name", "node", "phase", "measured", "current transf.", "calibrated",
             "transfers, ms", "result"]]  # fmt: skip
    for home in report["homes"]:
        times = ", ".join(
            f"{m['from']}{m['to']} {m['transfer_ms'] if m['ok'] else 'failed'}"
            for m in home["moves"]
        )
        if not times:
            times = "not moved (fixed)" if home["fixed"] and home["refused"] else "-"
        rows.append([
            str(home["address"]), home["name"], home["eui"], home["site_phase"] or "-",
            home["real_phase"] or "?", direction_words(home["direction"]),
            "yes" if home["calibration"] else "no", times, "passed" if home["ok"] else "OPEN",
        ])  # fmt: skip
    return rows


def calibration_rows(home: dict[str, Any]) -> list[list[str]]:
    """The table of one home's calibration, with its heading."""
    rows = [["point", "node before", "reference", "node after"]]
    for what, point in home["calibration"]["points"].items():
        after = point.get("after")
        rows.append([
            what, f"{point['shown']:g}", f"{point['reference']:g}",
            "-" if after is None else f"{after:g}",
        ])  # fmt: skip
    return rows


def move_rows(home: dict[str, Any]) -> list[list[str]]:
    """The table of one home's transfers, with its heading."""
    rows = [["from", "to", "outcome", "dark for, ms", "output, V", "off input, V", "load, W",
             "at the transformer"]]  # fmt: skip
    rows += [
        [m["from"], m["to"], m["outcome"] + (f" ({m['reason']})" if m["reason"] != "none" else "")
         + (f", attempt {m['attempt']}" if "attempt" in m else ""),
         str(m["transfer_ms"]), f"{m['vout_v']:.1f}", f"{m['off_v']:.1f}", f"{m['load_w']:.0f}",
         _at_transformer(m)]
        for m in home["moves"]
    ]  # fmt: skip
    return rows


def _at_transformer(move: dict[str, Any]) -> str:
    """By how much its phases changed with a transfer."""
    phases_w = move.get("phases_w")
    if phases_w:
        return ", ".join(f"{p} {w:+d} W" for p, w in zip(PHASES, phases_w, strict=True))
    return str(move.get("load_moved", "-"))  # as records of before have it


def load_words(load: dict[str, Any] | None) -> str:
    """What the transformer's meter says of a home's transfers, "" where nothing was looked for."""
    if not load:
        return ""
    words = f"at the transformer: {load['verdict']}"
    if load["words"]:
        words += f" ({load['words']})"
    if load["verdict"] == UNDECIDED:
        words += "; measure again with a large load on: --again transfer"
    return words


def witness_words(witness: dict[str, Any]) -> str:
    """One witness in a line."""
    told = witness["phase"] or witness["pairing"] or "cannot tell"
    words = f"{witness['witness']}: {told}"
    figures = witness["figures"]
    if "shares" in figures:
        shares = ", ".join(f"{p} {s:.2f}" for p, s in zip(PHASES, figures["shares"], strict=True))
        words += f"; shares of {figures['steps']} steps {shares}"
    if "lead" in figures:
        words += (
            f"; leads the next pairing by {figures['lead']:.1f} (log odds), slope "
            f"{figures['slope']:.2f}, {figures['rounds']} rounds"
        )
    if "volts_per_kw" in figures:
        slopes = ", ".join(
            f"{p} {s:.2f}" for p, s in zip(PHASES, figures["volts_per_kw"], strict=True)
        )
        words += f"; V per kW {slopes}"
    if "off_v" in figures:
        words += "; output off inputs by " + ", ".join(f"{v:.1f}" for v in figures["off_v"]) + " V"
    return words + (f" ({witness['reason']})" if witness["reason"] else "")
