"""The steps of a commissioning without a bus: what --go-on passes, what --again leaves alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_tools.commission import guide, questions
from pbal_tools.commission.guide import Guide
from pbal_tools.commission.line import Line
from pbal_tools.commission.questions import Asker
from pbal_tools.commission.state import State
from pbal_tools.errors import CheckFailed, InputError

SWAPPED = "inputs A, B, C of this node are phases B, A, C: swap the wires at its supply terminals"


class Crew(Asker):
    """Answers everything, and keeps what was asked."""

    headless = False

    def __init__(self, **answers: str) -> None:
        super().__init__(None)
        self.answers = answers
        self.asked: list[str] = []

    def _get(self, key: str, words: str, default: str | None) -> str:
        self.asked.append(key)
        return self.answers.get(key.replace(".", "_"), "yes")

    def ready(self, key: str, words: str) -> None:
        self.asked.append(key)


class Rig:
    """Homes 1 and 2 are well, home 3 has swapped wires."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moved: list[int] = []
        self.calibrated: list[int] = []
        self.said: list[str] = []
        self.state = State.open(folder / "record", 7, "north")
        self.crew = Crew()
        for address in (1, 2, 3):
            self.state.home(address)["contact"] = {"ok": True, "faults": []}
        self.state.step("scan", True)
        self.state.step("contact", True)
        monkeypatch.setattr(guide, "restore_all", lambda job: [])
        monkeypatch.setattr(guide, "identify", self.identify)
        monkeypatch.setattr(guide, "calibrate_home", self.calibrate)
        monkeypatch.setattr(guide, "tour", self.tour)
        monkeypatch.setattr(guide.content, "move_rows", lambda told: [])
        monkeypatch.setattr(guide.content, "calibration_rows", lambda told: [])
        monkeypatch.setattr(guide, "write_report", self.report)
        monkeypatch.setattr(guide, "write_site", lambda job: Path("site.toml"))

    def identify(self, job: Any, watch_s: float, every_s: float) -> dict[str, Any]:
        for address in (1, 2, 3):
            bad = [SWAPPED] if address == 3 else []
            self.state.home(address)["phases"] = {
                "ok": not bad, "faults": bad, "todo": [], "real_phase": "A", "direction": "right",
                "verdicts": [],
            }  # fmt: skip
        return {"faults": {3: [SWAPPED]}, "unsure": {}, "sure": [1, 2]}

    def calibrate(self, job: Any, address: int, between: Any) -> None:
        self.calibrated.append(address)
        self.state.home(address)["calibrate"] = {"ok": True}

    def tour(self, job: Any, address: int) -> dict[str, Any]:
        self.moved.append(address)
        self.state.home(address)["transfer"] = {"ok": True}
        return {"ok": True, "load": None}

    def report(self, job: Any, secret: bytes) -> tuple[dict[str, Any], Path]:
        return {"ok": False, "open": ["3: swapped"]}, Path("report-1")

    def run(self, go_on: bool = True, again: str | None = None) -> None:
        homes = [SimpleNamespace(address=a, name="", fixed=False) for a in (1, 2, 3)]
        job: Any = SimpleNamespace(
            state=self.state, homes=homes, ask=self.crew, reached=lambda: [1, 2, 3],
            home=lambda a: homes[a - 1], store=SimpleNamespace(path=Path("keys.json")),
            medium=SimpleNamespace(steps=Line.steps),
        )  # fmt: skip
        if again:
            self.state.forget(again)
        self.said = []
        Guide(job, b"", range(1, 4), (5, 1), go_on, self.said.extend, again=again).run("report")


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def test_without_go_on_it_ends_at_the_swapped_wires(rig: Rig) -> None:
    with pytest.raises(CheckFailed, match="swap the wires"):
        rig.run(go_on=False)
    assert rig.moved == []


def test_a_home_with_an_open_point_is_not_moved(rig: Rig) -> None:
    with pytest.raises(CheckFailed, match="1 open points"):
        rig.run()
    assert rig.moved == rig.calibrated == [1, 2]
    assert any("home 3 is left out: inputs A, B, C" in line for line in rig.said)
    # Somebody had the time to read it, and it stands at the end as well.
    assert "phases.read" in rig.crew.asked
    last = rig.said.index("Open points:")
    assert any(f"home 3: {SWAPPED}" in line for line in rig.said[last:])
    assert last > max(n for n, line in enumerate(rig.said) if line.startswith("Step"))


def test_the_report_again_moves_nobody(rig: Rig) -> None:
    with pytest.raises(CheckFailed, match="open points"):
        rig.run()
    assert not rig.state.done("transfer"), "home 3 was not tested"
    rig.moved.clear()
    rig.crew.asked.clear()
    with pytest.raises(CheckFailed, match="The report is written"):
        rig.run(go_on=False, again="report")
    assert rig.moved == []
    assert "transfer.consent" not in rig.crew.asked


def test_a_mistyped_value_is_asked_for_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def mistyped(job: Any, address: int, between: Any) -> None:
        tries.append(address)
        if len(tries) == 1:
            raise CheckFailed("23.0 V is no matter of calibration.", "Read it again.")
        rig.calibrate(job, address, between)

    monkeypatch.setattr(guide, "calibrate_home", mistyped)
    with pytest.raises(CheckFailed, match="open points"):
        rig.run()
    assert tries == [1, 1, 2]
    assert any("23.0 V" in line for line in rig.said)


def test_a_typo_and_a_closed_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(("yess", "y", "23,0x", "23,5"))
    monkeypatch.setattr("builtins.input", lambda words: next(typed))
    monkeypatch.setattr(questions.sys.stdin, "isatty", lambda: True, raising=False)
    ask = Asker(None)
    assert ask.yes("a", "Sure?")
    assert ask.number("b", "volts", 20, 300) == 23.5
    told = capsys.readouterr().out
    assert "'yess' is neither yes nor no" in told
    assert "'23.0x' is not 20..300" in told

    def closed(words: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    with pytest.raises(InputError, match="terminal was closed"):
        ask.yes("a", "Sure?")
