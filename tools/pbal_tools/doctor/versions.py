"""Which version of the controller is in use, and whether a newer one was taken back."""

from collections.abc import Iterator

from pbal_controller.documents import load_json
from pbal_host import Finding

from .system import Machine


def versions(machine: Machine) -> Iterator[Finding]:
    """What pbal-slots knows; nothing where the controller was installed without it."""
    said = machine.run(["/usr/lib/pbal/pbal-slots", "status", "--json"])
    if said is None:
        return
    try:
        told = load_json(said)
        current, trial, last = told["current"], told["trial"], told["last"] or {}
    except (ValueError, KeyError, TypeError):
        yield Finding(
            "version", "warning", "pbal-slots says what is not understood",
            "Install the package again.",
        )  # fmt: skip
        return
    if trial:
        yield Finding("version", "note", f"{trial} is on trial", "pbal-slots status")
    elif last and not last.get("kept") and last.get("back") == current:
        yield Finding(
            "version", "warning",
            f"{current} is in use: {last.get('version')} was taken back ({last.get('why')})",
            "Look into journalctl -u pbal-controller of that time; a corrected package is tried "
            "when it is installed.",
        )  # fmt: skip
    else:
        yield Finding("version", "ok", f"{current} is in use")
