"""Step 1: which nodes are on the line. Step 2: whether each home's node has our key."""

import time
from collections.abc import Iterable
from typing import Any

from pbal_controller.naming import shown, version_text
from pbal_protocol import discovery, flags, modbus, records

from ..errors import CliError
from .job import Job
from .line import Line
from .search import Search
from .sharedunit import Crowd, look

_SPANS = ((0, 5), (8, 4))  # (first register, count) of what every node shows without a key


def plain(line: Line, unit: int, tries: int) -> dict[str, Any] | None:
    """The plain registers and the identification of a unit, None where it is silent."""
    w: dict[int, int] = {}
    for first, count in _SPANS:
        pdu = bytes((modbus.READ_INPUT_REGISTERS, 0, first, 0, count))
        answer = line.request(unit, pdu, tries)
        if answer is None or len(answer) != 2 + 2 * count:
            return None
        w |= {first + k: answer[2 + 2 * k] << 8 | answer[3 + 2 * k] for k in range(count)}
        tries = max(tries, 2)  # it answers: one disturbance must not lose the rest
    vendor, board, version, name = identification(line, unit)
    return {
        "unit": unit, "vendor": vendor, "board": board, "version": version, "name": name,
        "v": [w[1] / 10, w[2] / 10, w[3] / 10], "vout_v": w[4] / 10,
        "phase": w[9], "state": w[10], "flags": w[11],
    }  # fmt: skip


def identification(line: Line, unit: int) -> tuple[str, str, str, str]:
    """Vendor, product code, revision and user's name (43/14); "" for what is not told."""
    told: dict[int, str] = {}
    ask = bytes((modbus.ENCAPSULATED, modbus.READ_DEVICE_ID, 3, 0))
    answer = line.request(unit, ask, 2)
    if answer and answer[0] == modbus.ENCAPSULATED and len(answer) > 7:
        at = 7
        for _ in range(answer[6]):
            if at + 2 > len(answer):
                break
            told[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]].decode("utf-8", "replace")
            told[answer[at]] = shown(told[answer[at]])
            at += 2 + answer[at + 1]
    vendor, board, version, name = (told.get(k, "") for k in (0, 1, 2, 6))
    return vendor, board, version, name


def scan(job: Job, units: range, keep: bool = False) -> dict[str, Any]:
    """Finds provisioned nodes by asking units, and waiting ones by their EUI.

    Bounded: each silent unit costs one answer time, each question of the search one window.
    """
    line = job.line
    begun = time.monotonic()
    line.listen()
    wanted = {home.address & 0xFF: home for home in job.homes}
    heard: dict[int, dict[str, Any]] = {}
    suspects: list[int] = []
    for unit in sorted(set(units) | set(wanted), key=lambda u: (u not in wanted, u)):
        if unit == modbus.UNPROVISIONED:
            continue
        job.note(f"unit {unit}")
        spoiled = line.garbled + line.extra
        found = plain(line, unit, 3 if unit in wanted else 1)
        if found is not None:
            heard[unit] = found
        if line.garbled + line.extra > spoiled:
            suspects.append(unit)
    crowded = crowds(line, suspects, heard)
    free = [u for u in range(246, 0, -1) if u not in heard and u not in wanted]
    window = discovery.WINDOW_MS / 1000 + line.answer_s
    search = Search(lambda pdu: line.broadcast(pdu, window), free, note=job.note)
    found_new = search.run()
    waiting = []
    for eui, unit in found_new.placed.items():
        about = plain(line, unit, 3) or {"unit": unit, "board": "", "version": ""}
        home = next((h for h in job.homes if h.eui == eui), None)
        waiting.append({**about, "eui": eui, "home": home.address if home else None})
    if not keep:
        line.broadcast(discovery.find_pdu(64, b"\xff" * 8, restart=True), window)
    absent = [
        home.address for unit, home in sorted(wanted.items())
        if unit not in heard and unit not in crowded
    ]  # fmt: skip
    strange = [unit for unit in heard if unit not in wanted]
    return {
        "provisioned": [
            {**told, "address": wanted[unit].address if unit in wanted else None}
            for unit, told in sorted(heard.items()) if unit not in crowded
        ],
        "crowded": [
            {"unit": unit, "address": wanted[unit].address if unit in wanted else None,
             "words": crowd.words, "remedy": crowd.remedy}
            for unit, crowd in sorted(crowded.items())
        ],
        "waiting": waiting, "placed": keep, "absent": absent, "strange": strange,
        "complete": found_new.complete and not found_new.unplaced,
        "unplaced": found_new.unplaced, "questions": found_new.questions,
        "collisions": found_new.collisions, "took_s": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def crowds(line: Line, suspects: list[int], heard: Iterable[int]) -> dict[int, Crowd]:
    """Units at which two nodes answer, among those with a damaged answer."""
    other = next((unit for unit in heard if unit not in suspects), None)
    found = {unit: look(line, unit, other) for unit in suspects}
    return {unit: crowd for unit, crowd in found.items() if crowd is not None}


def blink(line: Line, eui: bytes, seconds: int) -> bool:
    """Makes a waiting node blink; whether it confirmed that."""
    return _told(line, discovery.blink_pdu(eui, seconds), discovery.OP_BLINK, eui)


def place(line: Line, eui: bytes, unit: int) -> bool:
    """Puts a waiting node at a unit until it is reset; whether it confirmed that."""
    return _told(line, discovery.place_pdu(eui, unit), discovery.OP_PLACE, eui)


def _told(line: Line, pdu: bytes, op: int, eui: bytes) -> bool:
    from .search import answers

    window = discovery.WINDOW_MS / 1000 + line.answer_s
    return any(
        any(who == eui for who, _ in answers(line.broadcast(pdu, window), op)) for _ in range(4)
    )


def contact(job: Job) -> dict[str, Any]:
    """Contacts each home under its key; records what it is and what is wrong with it."""
    failed = {}
    for home in job.homes:
        notes = job.state.home(home.address)
        if notes.get("contact", {}).get("ok"):
            continue
        job.note(f"home {home.address}: asking for a proof")
        try:
            notes["contact"] = _contact(job, home.address, home.eui, home.fixed)
        except CliError as exc:
            notes["contact"] = {
                "ok": False, "faults": [exc.message], "todo": [exc.remedy],
                "code": int(exc.exit_code),
            }  # fmt: skip
        if not notes["contact"]["ok"]:
            failed[home.address] = notes["contact"]["faults"]
        job.state.save()
    return {"homes": len(job.homes), "failed": failed}


def _contact(job: Job, address: int, eui: str, fixed: bool) -> dict[str, Any]:
    talk = job.talk(address)
    hello = talk.hello
    assert hello is not None
    told = hello.eui.hex()
    faults = []
    if told != talk.eui:
        faults.append(f"the node says EUI {told}, the key store {talk.eui}")
    if eui and told != eui:
        faults.append(f"the node says EUI {told}, the site file {eui}: two nodes were swapped")
    reading = talk.reading()
    faults += [flag.says for flag in flags.faults(reading.flags)]
    if fixed and not reading.flags & records.FLAG_FIXED:
        faults.append("must never be moved, but the node is not marked fixed")
    settings = talk.settings()
    talk.until(
        lambda: talk.health is not None, "its health", records.StatusGet(what=records.WHAT_HEALTH)
    )
    health = talk.health
    assert health is not None
    if isinstance(job.medium, Line):
        _, board, version, name = identification(job.line, address & 0xFF)
    else:  # a radio has no registers: what the site file says
        board, version, name = job.home(address).board, version_text(hello.fw_version), ""
    return {
        "ok": not faults, "faults": faults, "eui": told, "board": board, "version": version,
        "name": name, "boots": hello.boots, "phase": reading.phase, "state": reading.state,
        "flags": reading.flags, "settings": settings, "lifetime_switches": health.lifetime_switches,
        "uptime_s": health.uptime_s, "at_s": int(time.time()),
    }  # fmt: skip
