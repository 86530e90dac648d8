"""Compares the site file with the key store, the controller and the bus.

An error must be corrected before the site runs; a warning should be checked.
"""

from dataclasses import asdict, dataclass
from typing import Any

from pbal_controller.keys import KeyStore
from pbal_protocol import flags, records

from ..sitefile import Home, Site

PHASES = {0: "", 1: "A", 2: "B", 3: "C"}


@dataclass(frozen=True)
class Difference:
    """One difference from the file. `source` says where it was found; `level` is
    "error", "warning", or "note" for what is different and all right.
    """

    level: str
    source: str
    address: int | None
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True)
class Heard:
    """What a node reported on the bus: its plain registers, read with function 04."""

    unit: int
    phase: int
    state: int
    flags: int
    va_v: float
    vb_v: float
    vc_v: float
    board: str = ""
    name: str = ""
    crowd: tuple[str, str] | None = None  # two nodes answer: in words, and what to do


def against_keys(site: Site, store: KeyStore) -> list[Difference]:
    """Every home needs a key, for the node that is there."""
    out = []
    if store.site_id != site.site.id:
        out.append(
            Difference(
                "error", "keys", None,
                f"the key store is of site {store.site_id}, the file of site {site.site.id}",
                "Take the right key store.",
            )
        )  # fmt: skip
    known = set(store.addresses())
    for home in site.home:
        if home.address not in known:
            out.append(
                Difference(
                    "error", "keys", home.address, "has no key",
                    f"pbal provision add --address {home.address}",
                )
            )  # fmt: skip
            continue
        entry = store.node(home.address)
        if entry.revoked:
            out.append(
                Difference(
                    "error", "keys", home.address, "its key is revoked",
                    f"pbal provision add --address {home.address}",
                )
            )  # fmt: skip
        if home.eui and home.eui != entry.eui:
            out.append(
                Difference(
                    "error", "keys", home.address,
                    f"the file says EUI {home.eui}, the key store {entry.eui}",
                    "Read the label on the node.",
                )
            )  # fmt: skip
    listed = {home.address for home in site.home}
    out += [
        Difference(
            "warning", "keys", address, "has a key but is not in the site file",
            f"Add the home, or:  pbal provision revoke {address}",
        )
        for address in sorted(known - listed)
        if not store.node(address).revoked
    ]  # fmt: skip
    return out


def against_controller(site: Site, status: dict[str, Any]) -> list[Difference]:
    """The controller's view: GET /api/status."""
    out = []
    running = status.get("site", {})
    if running.get("id") != site.site.id:
        out.append(
            Difference(
                "error", "controller", None,
                f"the controller runs site {running.get('id')}, the file is site {site.site.id}",
                "Ask the right controller.",
            )
        )  # fmt: skip
    homes = {int(item["address"]): item for item in status.get("homes", [])}
    restart = "pbal site controller, then restart pbal-controller"
    for home in site.home:
        seen = homes.get(home.address)
        if seen is None:
            out.append(
                Difference("error", "controller", home.address, "the controller does not know it",
                           restart)
            )  # fmt: skip
            continue
        out += _home(home.address, home, seen, restart)
    for address in sorted(set(homes) - {home.address for home in site.home}):
        out.append(
            Difference("error", "controller", address, "is not in the site file",
                       "Add it, or take it out of pbal.toml.")
        )  # fmt: skip
    return out


def _home(address: int, home: Any, seen: dict[str, Any], restart: str) -> list[Difference]:
    def differ(level: str, text: str, remedy: str = "") -> Difference:
        return Difference(level, "controller", address, text, remedy)

    out = []
    if seen.get("bus") != home.bus:
        out.append(differ("error", f"is on bus {home.bus}, there on {seen.get('bus')}", restart))
    if not seen.get("alive"):
        out.append(differ("error", "does not answer", "Check its supply and the bus wiring."))
        return out
    told = seen.get("flags", [])
    if home.fixed and "fixed" not in told:
        # The node itself must refuse (S10): a mark in the controller alone is not enough.
        out.append(
            differ("error", "must never be moved, but the node is not marked fixed",
                   f"pbal node config set fixed 1 on site, or pbal provision add -a {address} "
                   "--fixed")
        )  # fmt: skip
    if not home.fixed and "fixed" in told:
        out.append(differ("warning", "the node is marked fixed, the file does not say so",
                          "Put fixed = true into the file if that is so."))  # fmt: skip
    out += [differ("error", flag.says, flag.remedy) for flag in flags.faults_of(told)]
    if seen.get("quarantined"):
        out.append(differ("error", f"is quarantined: {seen['quarantined']}", ""))
    hello = seen.get("hello") or {}
    eui = hello.get("eui")
    if home.eui and isinstance(eui, str) and eui.lower() != home.eui:
        out.append(
            differ("error", f"the node there is {eui}, the file says {home.eui}",
                   "Two nodes were swapped: read their labels.")
        )  # fmt: skip
    if home.name != seen.get("name", ""):
        out.append(differ("warning", f"is called {seen.get('name')!r} there", restart))
    return out


def _node(source: str, home: Home, told: Heard) -> list[Difference]:
    """Compares what a node reports on the bus with the file's entry of its home."""

    def differ(level: str, text: str, remedy: str = "") -> Difference:
        return Difference(level, source, home.address, text, remedy)

    out = []
    if home.fixed and not told.flags & records.FLAG_FIXED:
        out.append(differ("error", "must never be moved, but the node is not marked fixed",
                          "Provision it with --fixed."))  # fmt: skip
    out += [differ("error", flag.says, flag.remedy) for flag in flags.faults(told.flags)]
    if home.board and told.board and home.board != told.board:
        out.append(differ("error", f"the node is a {told.board}, the file says {home.board}",
                          "Two nodes were swapped, or the file is wrong."))  # fmt: skip
    if home.name and told.name and home.name != told.name:
        out.append(differ("warning", f"the node is called {told.name!r}, here {home.name!r}",
                          "Read its label: two nodes may be swapped."))  # fmt: skip
    if told.phase == 0:
        out.append(differ("warning", "the home is open: it has no supply",
                          "Look at its events and at its supply."))  # fmt: skip
    elif home.phase and PHASES.get(told.phase) != home.phase:
        # A home that may be moved can be on any phase; a fixed one must be where it was connected.
        words = f"is on phase {PHASES.get(told.phase, '?')}, the file says {home.phase}"
        out.append(
            differ("error", words, "It is fixed: somebody rewired it, or the file is wrong.")
            if home.fixed
            else differ("note", words, "It was moved since; the file says where it began.")
        )
    return out


def against_bus(site: Site, bus: str, heard: dict[int, Heard | None]) -> list[Difference]:
    """What answered on one bus; None for a unit that was asked and is silent."""
    out = []
    homes = {home.address & 0xFF: home for home in site.home if home.bus == bus}
    for unit, home in homes.items():
        told = heard.get(unit)
        if told is None:
            out.append(
                Difference("error", f"bus {bus}", home.address, f"unit {unit} does not answer",
                           "Check its supply, A and B, and whether it is provisioned.")
            )  # fmt: skip
        elif told.crowd is not None:
            out.append(Difference("error", f"bus {bus}", home.address, *told.crowd))
        else:
            out += _node(f"bus {bus}", home, told)
    for unit in sorted(set(heard) - set(homes)):
        if heard[unit] is None:
            continue
        crowd = getattr(heard[unit], "crowd", None)
        if crowd is not None and unit != 247:
            out.append(Difference("error", f"bus {bus}", None, *crowd))
            continue
        words = "an unprovisioned node answers" if unit == 247 else f"unit {unit} answers"
        out.append(
            Difference("error", f"bus {bus}", None, f"{words}, but no home has it",
                       "Add the home to the file, or provision the node.")
        )  # fmt: skip
    return out
