"""What the screens show of a running controller, as plain data, and in one sentence.

`feed` fills a Picture from the controller's status; `view` draws it. Nothing here depends on HTTP
or terminals, so the texts can be tested alone.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

PHASES = ("A", "B", "C")
HISTORY = 600


@dataclass(frozen=True)
class HomeCell:
    """One home of the grid. `phase` is 0 for open or unknown, 1..3 for A..C.

    `age_s` is None while the home has never been heard.
    """

    name: str
    phase: int = 0
    power_w: float | None = None
    age_s: float | None = None
    moving: bool = False
    fixed: bool = False
    trouble: str = ""


@dataclass(frozen=True)
class MoveLine:
    """One ordered move: who, from where to where, why, and how it stands.

    `waiting`: the node has it and waits for a moment in which it may switch.
    """

    command_id: int
    time_s: float
    home: str
    from_phase: int
    to_phase: int
    reason: str
    state: str
    done: bool = False
    failed: bool = False
    waiting: bool = False


@dataclass(frozen=True)
class RadioLine:
    """How one home is heard over a radio; `spare_db`: above what its spreading factor needs."""

    home: str
    path: str  # the bearer that is in use, "" while the home is silent
    rssi_dbm: float
    snr_db: float
    spare_db: float | None
    sf: int  # 0 without a slot
    airtime_share: float


@dataclass(frozen=True)
class Link:
    """How well the homes are read."""

    fresh: int = 0
    known: int = 0
    age_p95_s: float | None = None
    frames_ok: int = 0
    frames_lost: int = 0
    frames_refused: int = 0
    frames_per_s: float | None = None
    group_key: str = ""  # a change that is under way, or homes that it left behind
    group_key_alarm: bool = False
    channel: str = ""  # what else is on a radio's channel
    channel_alarm: bool = False


@dataclass
class Picture:
    """Everything one screen shows. Currents in A, voltages in V, times in Unix seconds."""

    title: str
    stage: str = "connecting"
    note: str = ""
    phase_a: tuple[float, float, float] | None = None
    phase_v: tuple[float | None, float | None, float | None] = (None, None, None)
    neutral_a: float | None = None
    neutral_before_a: float | None = None
    history: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    homes: Sequence[HomeCell] = ()
    moves: Sequence[MoveLine] = ()
    link: Link = Link()
    radios: Sequence[RadioLine] = ()  # the worst heard first
    radios_only: bool = False  # in place of homes and moves
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    footer: str = ""
    fault: str = ""  # what was broken last, on purpose
    alarm: str = ""  # why the controller orders nothing
    down: Sequence[str] = ()  # buses and radios that cannot be used, and why
    url: str = ""
    told: list[str] = field(default_factory=list)  # what HQ received, a line each

    def record(self, time_s: float) -> None:
        """Adds the present neutral current to the history."""
        if self.neutral_a is not None:
            self.history.append((time_s, self.neutral_a))

    @property
    def cut(self) -> float | None:
        """The share by which the neutral current fell since the first move; None before it."""
        if not self.neutral_before_a or self.neutral_a is None:
            return None
        return 1.0 - self.neutral_a / self.neutral_before_a


def short_name(name: str) -> str:
    """A home's name in at most six characters: the part that all names share is left out."""
    for prefix in ("home_", "home-", "home "):
        name = name.removeprefix(prefix)
    return name[-6:]


def phase_letter(phase: int) -> str:
    """1..3 as A..C, anything else as a dash."""
    return PHASES[phase - 1] if 1 <= phase <= 3 else "-"


def sentence(picture: Picture) -> str:
    """What is happening now, in words for a new reader of the screen."""
    if picture.stage != "running":
        return picture.note or "Waiting for the controller."
    if picture.alarm:
        return f"Nothing is ordered: {picture.alarm}"
    if picture.down:
        return "; ".join(picture.down)
    moving = [move for move in picture.moves if not move.done and not move.waiting]
    if moving:
        return _moving_sentence(moving)
    heard = [home for home in picture.homes if home.age_s is not None]
    if picture.homes and not heard:
        return "Reading the homes for the first time."
    if heard and not any(home.phase for home in heard):
        return "The nodes see the mains return; each waits for 5 s of good voltage, then closes."
    confirmed = sum(move.done and not move.failed for move in picture.moves)
    cut = picture.cut
    if confirmed and cut is not None and picture.neutral_before_a is not None:
        return _result_sentence(picture, confirmed, cut)
    return _imbalance_sentence(picture)


def _moving_sentence(moving: Sequence[MoveLine]) -> str:
    first = moving[0]
    road = f"{phase_letter(first.from_phase)} to {phase_letter(first.to_phase)}"
    others = f" (and {len(moving) - 1} more)" if len(moving) > 1 else ""
    return f"Moving {first.home} from phase {road}{others}: {first.reason}"


def _result_sentence(picture: Picture, confirmed: int, cut: float) -> str:
    homes = "1 home was" if confirmed == 1 else f"{confirmed} homes were"
    before, after = picture.neutral_before_a, picture.neutral_a
    verb = "fell" if cut >= 0 else "rose"
    return (
        f"{homes} moved to another phase. The neutral current {verb} from "
        f"{before:.0f} A to {after:.0f} A ({-100 * cut:+.0f} %)."
    )


def _imbalance_sentence(picture: Picture) -> str:
    if picture.phase_a is None or picture.neutral_a is None:
        return "Reading the homes for the first time."
    by_load = sorted(range(3), key=lambda phase: picture.phase_a[phase])  # type: ignore[index]
    low, high = by_load[0], by_load[2]
    return (
        f"Phase {PHASES[high]} carries {picture.phase_a[high]:.0f} A, phase {PHASES[low]} only "
        f"{picture.phase_a[low]:.0f} A: {picture.neutral_a:.0f} A flow back through the neutral "
        "wire, doing nothing but heat."
    )
