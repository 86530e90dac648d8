"""The `pbal-slots` command: versions of the controller side by side.

Exit codes: 0 done, 1 unexpected, 2 wrong use, 4 a slot cannot be made or is not there,
6 nothing to do, 12 the new version was taken back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from pbal_slots.layout import SlotError, Slots
from pbal_slots.service import Service, Systemd, ask_health
from pbal_slots.trial import Limits, Trials, restart, watch

ROOT = Path("/opt")
STATE = Path("/var/lib/pbal-slots")
UNIT = "pbal-controller.service"
_HELP = {
    "add": "put an environment in place as VERSION, without using it",
    "use": "use VERSION from the next start on, without a trial",
    "try": "use VERSION on trial: the version before comes back when it does not do well",
    "back": "go back to the version before",
    "watch": "bring a trial to its end (the unit pbal-trial does)",
    "before-start": "what the controller's unit calls before each start",
    "status": "which versions are here, and how the last trial ended",
    "remove-all": "take every version away (the package does, when it is removed)",
}


def _limits() -> Limits:
    """The limits, from the environment (/etc/default/pbal-controller). Raises SlotError."""
    found = []
    for name, least, usual in (("PBAL_TRIAL_S", 30.0, 300.0), ("PBAL_TRIAL_WELL_S", 5.0, 60.0)):
        text = os.environ.get(name, "")
        try:
            found.append(float(text) if text else usual)
        except ValueError:
            found.append(-1.0)
        if not least <= found[-1] <= 86400:
            raise SlotError(f"{name}={text}: must be {least:.0f}..86400 seconds")
    if found[1] >= found[0]:
        raise SlotError("PBAL_TRIAL_WELL_S must be less than PBAL_TRIAL_S")
    return Limits(limit_s=found[0], settle_s=found[1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pbal-slots", description="Versions of the controller side by side."
    )
    words = parser.add_subparsers(dest="word", required=True, metavar="COMMAND")
    for word, text in _HELP.items():
        sub = words.add_parser(word, help=text, description=text)
        if word == "add":
            sub.add_argument("payload", type=Path)
        if word in ("add", "use", "try"):
            sub.add_argument("version")
        if word == "status":
            sub.add_argument("--json", action="store_true")
        if word == "back":
            sub.add_argument("--why", default="by hand")
    return parser


def _health(slots: Slots) -> list[str]:
    return [str(slots.link / "bin" / "pbal-controller"), "health", "--json"]


def _status(slots: Slots, trials: Trials, as_json: bool) -> int:
    trial, last = trials.read(), trials.last()
    data = {
        "current": slots.current(), "versions": slots.versions(),
        "trial": trial.version if trial is not None else None, "last": last or None,
    }  # fmt: skip
    if as_json:
        print(json.dumps(data))
        return 0
    for version in slots.versions():
        marks = [word for word, here in (
            ("in use", version == slots.current()),
            ("on trial", trial is not None and version == trial.version),
        ) if here]  # fmt: skip
        print(f"{version:<20} {', '.join(marks)}".rstrip())
    if last:
        how = "was kept" if last.get("kept") else f"was taken back: {last.get('why')}"
        print(f"last trial: {last.get('version')} {how}")
    return 0


def run(words: list[str], slots: Slots, trials: Trials, service: Service) -> int:
    """One command; returns its exit code. Raises SlotError."""
    args = _parser().parse_args(words)
    if args.word == "status":
        return _status(slots, trials, args.json)
    if args.word == "add":
        print(slots.add(args.payload, args.version))
    elif args.word == "use":
        slots.use(args.version)
    elif args.word == "try":
        trial = trials.begin(args.version, ask_health(_health(slots)))
        print(f"version {trial.version} is tried at the next start; before it: {trial.back}")
    elif args.word == "before-start":
        print(trials.before_start())
    elif args.word == "back":
        version = trials.go_back(args.why)
        if service.running().state != "stopped":
            restart(service, version, trials.limits)
        trials.settle_back()
        print(f"back to version {version}")
    elif args.word == "watch":
        ended = watch(trials, service, lambda: ask_health(_health(slots)), say=print)
        return {True: 0, False: 12, None: 0}[ended]
    elif args.word == "remove-all":
        slots.remove_all()
    return 0


def main() -> None:
    """Entry point."""
    slots = Slots(ROOT)
    try:
        trials = Trials(STATE, slots, _limits())
        code = run(sys.argv[1:], slots, trials, Systemd(UNIT, slots.link))
    except SlotError as error:
        print(f"pbal-slots: {error}", file=sys.stderr)
        code = 4
    except OSError as error:
        print(f"pbal-slots: {error}; is this root?", file=sys.stderr)
        code = 4
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
