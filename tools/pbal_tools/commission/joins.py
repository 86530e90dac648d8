"""Step 1 over a radio: which homes ask to join, and who else is heard.

A node that has power and hears a beacon of its site asks to join by itself. An address is a claim
until a frame opens under its key: so a home counts as heard when one did.
"""

import time
from typing import Any

from pbal_controller.naming import version_text
from pbal_host import counted

from .air import Air
from .job import Job

_LOOK_S = 0.2
# So many rounds are listened to at least, also when all homes were heard: strangers take turns too.
_ROUNDS = 2
DEFAULT_S = 60.0


def listen_s(air: Air) -> float:
    """How long a node may take to find the beacon, to join and to be heard."""
    return DEFAULT_S + 10 * air.turn_s


def hear(job: Job, seconds: float) -> dict[str, Any]:
    """Waits until each home of the radio was heard, `seconds` at most."""
    air = job.air
    begun = time.monotonic()
    least = begun + _ROUNDS * air.turn_s
    talks = [job.opened(home.address) for home in job.homes if job.has_key(home.address)]
    while True:
        heard = [talk for talk in talks if talk.hello is not None]
        now = time.monotonic()
        job.note(
            f"{len(heard)} of {len(job.homes)} homes heard, {begun + seconds - now:.0f} s left"
        )
        if now >= begun + seconds or (len(heard) == len(job.homes) and now >= least):
            break
        air.check()
        time.sleep(_LOOK_S)
    links = {item["address"]: item["radio"] for item in air.status()["homes"]}
    strangers = [one for bus in air.status()["buses"] for one in bus["strangers"]]
    known = {talk.address for talk in heard}
    names = {home.address: home.name for home in job.homes}
    nodes = []
    for talk in heard:
        hello, link = talk.hello, links[talk.address] or {}
        assert hello is not None
        nodes.append({
            "address": talk.address, "name": names[talk.address], "eui": hello.eui.hex(),
            "version": version_text(hello.fw_version), "rssi_dbm": link.get("rssi_dbm"),
            "snr_db": link.get("snr_db"), "sf": link.get("sf"),
        })  # fmt: skip
    return {
        "heard": nodes,
        "absent": [a for a in names if a not in known and not _claimed(a, strangers)],
        "other_key": [a for a in names if a not in known and _claimed(a, strangers)],
        "no_key": [a for a in names if not job.has_key(a)],
        "strangers": [one for one in strangers if one["address"] not in names],
        "took_s": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def _claimed(address: int, strangers: list[dict[str, Any]]) -> bool:
    return any(one["address"] == address for one in strangers)


def lines(found: dict[str, Any]) -> list[str]:
    """For a person."""
    out = []
    for n in found["heard"]:
        link = f"{n['rssi_dbm']:.0f} dBm" if n["rssi_dbm"] is not None else ""
        out.append(
            f"  home {n['address']:>5}  {n['eui']}  {n['version']:<8} {link:>9}  {n['name']}"
        )
    out += [f"  home {a:>5}  is not heard" for a in found["absent"]]
    out += [f"  home {a:>5}  is heard, with ANOTHER KEY" for a in found["other_key"]]
    out += [
        f"  {one['address']:>10}  at {one['rssi_dbm']:.0f} dBm   NOT IN THE SITE FILE"
        for one in found["strangers"]
    ]
    out.append(f"  {counted(len(found['heard']), 'home')} in {found['took_s']} s")
    return out


def open_points(found: dict[str, Any]) -> tuple[list[str], str]:
    """What is not as it should be, in words, and what to do first."""
    words, remedy = [], ""
    for key, said, do in (
        ("no_key", "not in the key store", "Provision it over its cable: pbal provision add."),
        ("other_key", "heard with another key",
         "Read the label; provision it anew: pbal provision add --radio."),
        ("absent", "not heard",
         "Check supply and antenna; it may have another region or channel, or be out of reach: "
         "pbal radio plan. Where a controller ran here before, give its --journal."),
        ("strangers", "heard and not in the site file",
         "Add it to the site file; an address is a claim, no proof."),
    ):  # fmt: skip
        who = [one["address"] if isinstance(one, dict) else one for one in found[key]]
        if who:
            words.append(f"{said}: {', '.join(str(a) for a in who)}")
            remedy = remedy or do
    return words, remedy
