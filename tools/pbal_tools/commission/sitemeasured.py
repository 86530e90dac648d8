"""The site file as it was measured: phases, EUIs and boards as the commissioning found them.

It goes into the record's folder. The crew's own file, with its comments, is never changed.
"""

from pathlib import Path

from pbal_controller.keys import atomic_write

from ..sitefile import Home, Site, dump
from .job import Job

FILE = "site.toml"


def measured(site: Site, job: Job) -> Site:
    """The site with what is known of this bus's or radio's homes; what is not known stays."""
    return site.model_copy(update={"home": tuple(_home(home, job) for home in site.home)})


def _home(home: Home, job: Job) -> Home:
    if home.bus != job.bus_name:
        return home
    notes = job.state.home(home.address)
    contact, phases = notes.get("contact", {}), notes.get("phases", {})
    transfer = notes.get("transfer", {})
    found = {}
    if contact.get("ok"):
        found = {"eui": contact["eui"], "board": contact["board"] or home.board}
    if phases.get("ok") and phases.get("relative_to") == "transformer":
        found["phase"] = phases["real_phase"]
        if transfer.get("ok") and phases.get("pairing"):
            # An earlier test that was cut short may have left it on another than was measured.
            found["phase"] = phases["pairing"][transfer["end"] - 1]
    return home.model_copy(update=found)


def write_site(job: Job) -> Path:
    """Writes it; returns where."""
    path = job.state.folder / FILE
    atomic_write(path, dump(measured(job.site, job)).encode())
    return path
