"""From a controller's status over HTTP to a Picture."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp

from pbal_controller.documents import load_json
from pbal_controller.naming import shown
from pbal_host import counted
from pbal_protocol import flags

from .errors import InputError, PeerError, UnreachableError
from .picture import HomeCell, Link, MoveLine, Picture, RadioLine

TIMEOUT_S = 5.0
RATE_WINDOW_S = 5.0
# A node with a command that has not ended after this long is waiting, not switching.
WAITING_AFTER_S = 4.0
FINAL_BAD = {"refused", "failed", "expired", "disagreed"}
STATE_WORDS = {
    "journaled": "written down",
    "sent": "on its way",
    "accepted": "accepted by the node",
    "done": "done, waiting for the measurement",
    "confirmed": "confirmed",
    "refused": "refused by the node",
    "failed": "failed",
    "expired": "expired",
    "disagreed": "measured otherwise than ordered",
}


def bearer(token_file: Path | None) -> dict[str, str]:
    """The header that shows the token in a file to a status server. Raises InputError."""
    if token_file is None:
        return {}
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            f"{token_file} cannot be read ({exc}).", "Name the file of the token."
        ) from None
    return {"Authorization": f"Bearer {token}"}


async def fetch(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """GET /api/status.

    Raises InputError for a malformed address, UnreachableError when nothing answers there, and
    PeerError when what answers is no pbal controller.
    """
    address = url.rstrip("/") + "/api/status"
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is no address.", "Example: http://127.0.0.1:8480")
    try:
        async with session.get(address, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as response:
            text = await response.text(errors="replace")
            status = response.status
    except aiohttp.InvalidURL:
        raise InputError(f"{url!r} is no address.", "Example: http://127.0.0.1:8480") from None
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as exc:
        raise UnreachableError(
            f"No controller answers at {url} ({reason(exc)}).",
            "Is pbal-controller running there? Its port is http.port in pbal.toml; from another "
            "computer use an SSH tunnel. A demo whose port is another one shows it on its screen.",
        ) from None
    try:
        data = load_json(text)
    except ValueError:
        data = None
    if status == 401:
        raise InputError(
            f"The controller at {url} asks for its token.",
            "Give --token-file, a copy of the file that http.token_file names in its pbal.toml.",
        )
    if status != 200 or not isinstance(data, dict) or "homes" not in data:
        raise PeerError(
            f"What answers at {url} is not a pbal controller (HTTP status {status}).",
            "Check the port: http.port in the controller's pbal.toml.",
        )
    return data


def reason(exc: BaseException) -> str:
    """Why a connection failed, in few words."""
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, aiohttp.ClientConnectorError):
        number = exc.os_error.errno
        return os.strerror(number) if number and number > 0 else str(exc.os_error)
    return str(exc) or type(exc).__name__


def home_cell(home: dict[str, Any], moving: set[int]) -> HomeCell:
    """One home of the status."""
    told = home.get("flags") or []
    trouble = home.get("quarantined") or home.get("doubted")
    trouble = trouble or next((flag.word for flag in flags.faults_of(told)), "")
    if home.get("age_s") is not None and not home.get("alive"):
        trouble = trouble or "silent"
    return HomeCell(
        name=shown(str(home.get("name") or home["address"])),
        phase=int(home.get("phase") or 0),
        power_w=home.get("p_w"),
        age_s=home.get("age_s"),
        moving=home["address"] in moving,
        fixed=any(f.word in told for f in flags.FLAGS if f.marked),
        trouble=str(trouble),
    )


# Least ratio of signal to noise of SF7, SF8, ..., dB (SX1276 data sheet, table 13).
_LEAST_DB = (-7.5, -10.0, -12.5, -15.0, -17.5, -20.0)


def spare_db(snr_db: float, sf: int) -> float | None:
    """Signal to noise above what a spreading factor needs; None for one that is none."""
    return snr_db - _LEAST_DB[sf - 7] if 7 <= sf <= 12 else None


def radio_lines(homes: list[dict[str, Any]]) -> list[RadioLine]:
    """The homes that a radio hears, the least spare first."""
    lines = []
    for home in homes:
        told = home.get("radio")
        if not told:
            continue
        sf = int(told.get("sf") or 0)
        snr_db = float(told["snr_db"])
        lines.append(
            RadioLine(
                home=shown(str(home.get("name") or home["address"])),
                path=shown(str(home.get("path") or "")),
                rssi_dbm=float(told["rssi_dbm"]),
                snr_db=snr_db,
                spare_db=spare_db(snr_db, sf),
                sf=sf,
                airtime_share=float(told["airtime_share"]),
            )
        )
    return sorted(lines, key=lambda line: (line.spare_db is not None, line.spare_db or 0.0))


def channel_note(buses: list[dict[str, Any]]) -> str:
    """What else is on the channels of the site's radios; empty when there is nothing."""
    words = []
    for bus in buses:
        name = shown(str(bus["name"]))
        if bus.get("jammed"):
            words.append(f"{name} is jammed")
        if bus.get("forged"):
            words.append(f"{name}: false beacons")
        if bus.get("neighbours"):
            words.append(f"{name}: {counted(int(bus['neighbours']), 'neighbour')}")
    return ", ".join(words)


def move_line(move: dict[str, Any], names: dict[int, str], now_s: float) -> MoveLine:
    """One move of the status; `now_s` is the controller's clock."""
    state = str(move["state"])
    words = STATE_WORDS.get(state, state)
    if state in FINAL_BAD and move.get("detail"):
        words += f": {move['detail']}"
    if state == "confirmed" and move.get("transfer_ms"):
        words += f", {move['transfer_ms']} ms off"
    waiting = state == "accepted" and now_s - float(move["issued_s"]) > WAITING_AFTER_S
    if waiting:
        words = "the node waits for a moment of less current"
    return MoveLine(
        command_id=int(move["id"]),
        time_s=float(move["issued_s"]),
        home=names.get(move["home"], str(move["home"])),
        from_phase=int(move["from"]),
        to_phase=int(move["to"]),
        reason=str(move["reason"]),
        state=words,
        done=state == "confirmed" or state in FINAL_BAD,
        failed=state in FINAL_BAD,
        waiting=waiting,
    )


def group_key_note(key: dict[str, Any]) -> str:
    """A note on the status' group key; empty while every home has the one in use."""
    if key.get("alarm"):
        return f"{len(key['alarm'])} without the group key"
    if key.get("next") is None:
        return ""
    having = int(key["homes_with_newest"])
    return f"group key {key['next']} at {having}/{having + len(key['homes_behind'])}"


class FrameRate:
    """Answers a second over the last few seconds, from a growing count."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def update(self, time_s: float, answers: int) -> float | None:
        """Takes the present count; returns the rate, None until there are two counts."""
        if self._seen and answers < self._seen[-1][1]:
            self._seen.clear()  # the controller was restarted
        self._seen = [item for item in self._seen if time_s - item[0] <= RATE_WINDOW_S]
        self._seen.append((time_s, answers))
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None


class Feed:
    """Fills a Picture from one status after another."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._rate = FrameRate()

    def apply(self, status: dict[str, Any], own_neutral: bool = True) -> None:
        """Takes one status. `own_neutral` False leaves the neutral current to another source."""
        picture = self.picture
        picture.stage = "running"
        picture.alarm = shown(str(status.get("why_no_commands") or ""))
        picture.down = [
            f"{shown(str(bus['name']))} cannot be used: {shown(str(bus['last_error']))}"
            for bus in status.get("buses", [])
            if bus.get("state") != "open" and bus.get("last_error")
        ]
        now_s = float(status["time_s"])
        names = {
            home["address"]: home.get("name") or str(home["address"]) for home in status["homes"]
        }
        picture.moves = [
            move_line(move, names, now_s) for move in reversed(status.get("moves", []))
        ]
        final = FINAL_BAD | {"confirmed"}
        moving = {move["home"] for move in status.get("moves", []) if move["state"] not in final}
        picture.homes = [home_cell(home, moving) for home in status["homes"]]
        picture.radios = radio_lines(status["homes"])
        frames = status.get("frames", {})
        picture.link = Link(
            fresh=int(status["homes_fresh"]),
            known=int(status["homes_configured"]),
            age_p95_s=status.get("telemetry_age_p95_s"),
            frames_ok=int(frames.get("answers", 0)),
            frames_lost=int(frames.get("lost", 0)),
            frames_refused=sum(
                int(frames.get(k, 0)) for k in ("auth_failed", "replayed", "malformed")
            ),
            frames_per_s=self._rate.update(now_s, int(frames.get("answers", 0))),
            group_key=group_key_note(status.get("group_key", {})),
            group_key_alarm=bool(status.get("group_key", {}).get("alarm")),
            channel=channel_note(status.get("buses", [])),
            channel_alarm=any(b.get("jammed") or b.get("forged") for b in status.get("buses", [])),
        )
        a, b, c = status["phase_currents_a"]
        picture.phase_a = (float(a), float(b), float(c))
        va, vb, vc = status["phase_voltages_v"]
        picture.phase_v = (va, vb, vc)
        if own_neutral:
            self._neutral(status)

    def _neutral(self, status: dict[str, Any]) -> None:
        """The neutral current and its history, as the controller knows them."""
        picture = self.picture
        picture.neutral_a = float(status["neutral_current_a"])
        picture.history.clear()
        picture.history.extend((float(t), float(a)) for t, a in status.get("neutral_history", []))
        confirmed = [m for m in status.get("moves", []) if m["state"] == "confirmed"]
        if not confirmed:
            picture.neutral_before_a = None
            return
        first = min(m["issued_s"] for m in confirmed)
        before = [a for t, a in picture.history if t <= first][-30:]
        picture.neutral_before_a = sum(before) / len(before) if before else None
