"""pbal's run in a second process: the same result, no orphan, no file left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pbal_study.errors import InputError, MissingError
from pbal_study.feeder.model import LoadPoint, ideal_feeder
from pbal_study.run import secondprocess
from pbal_study.run.comparison import run_controllers
from pbal_study.run.controllers import Loop, known_future, pbal
from pbal_study.run.street import Street
from pbal_tools.study.demo import home_watts, write_demo

ALL = np.ones(6, dtype=bool)
LOOP = Loop(price=20.0, budget_per_day=None)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the temporary folders go, to see that none is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def street(days: float = 0.2) -> Street:
    points = [LoadPoint(f"h{k}", "", k % 2) for k in range(6)]
    watts = home_watts(1 + days, 3, 6)[960 : 960 + round(days * 1440)]
    return Street(ideal_feeder(points, phase_ohm=0.05), watts, 60, "power")


def test_both_ways_give_the_same(scratch: Path) -> None:
    on, told = street(), []
    alone = pbal(on, ALL, LOOP)
    run = secondprocess.SecondProcess(on, ALL, LOOP, told.append)
    try:
        future = known_future(on, ALL, run.so_far, LOOP, ready=run.ready)
        found = run.finish()
    finally:
        run.close()
    assert (found.phases == alone.phases).all()
    assert found.facts["commands"] == alone.facts["commands"]
    assert sum(told) == len(on)
    assert (future.phases == known_future(on, ALL, alone, LOOP).phases).all()
    assert list(scratch.iterdir()) == []


def test_its_death_is_told(scratch: Path) -> None:
    run = secondprocess.SecondProcess(street(), ALL, LOOP, lambda _: None)
    assert run._process is not None
    run._process.kill()
    try:
        with pytest.raises(MissingError, match="ended by the system"):
            run.finish()
    finally:
        run.close()
    assert list(scratch.iterdir()) == []


@pytest.mark.timeout(120)
def test_it_clears_up_when_the_first_process_is_gone(scratch: Path) -> None:
    run = secondprocess.SecondProcess(street(2.0), ALL, LOOP, lambda _: None)
    process = run._process
    assert process is not None
    assert process.stdout is not None
    os.dup2(os.open(os.devnull, os.O_RDONLY), process.stdout.fileno())  # its reader is no more
    assert process.wait(90) == 0
    assert list(scratch.iterdir()) == []


def test_its_errors_cross_over(scratch: Path) -> None:
    on = street()
    on.flow.load_model = "magic"
    run = secondprocess.SecondProcess(on, ALL, LOOP, lambda _: None)
    try:
        with pytest.raises(InputError, match="Unknown load model 'magic'") as caught:
            run.finish()
    finally:
        run.close()
    assert "feeder" in caught.value.remedy


def test_a_short_run_or_one_processor_stays_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(secondprocess.start(street(), ALL, LOOP, lambda _: None)) is secondprocess.Inline
    monkeypatch.setattr(secondprocess, "WORTH_STEPS", 1)
    monkeypatch.setattr(secondprocess, "_processors", lambda: 1)
    assert type(secondprocess.start(street(), ALL, LOOP, lambda _: None)) is secondprocess.Inline


def test_outcomes_keep_their_order_whatever_runs_beside(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secondprocess, "WORTH_STEPS", 1)
    monkeypatch.setattr(secondprocess, "_processors", lambda: 2)
    names = ("as_built", "best_static", "pbal", "hindsight")
    stage = lambda name, total: lambda amount: None  # noqa: E731
    outcomes, extra = run_controllers(names, street(), ALL, LOOP, 20.0, stage, lambda _: 7)
    assert tuple(outcomes) == names
    assert extra == 7
    assert list(scratch.iterdir()) == []


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_both_and_leaves_nothing(tmp_path: Path) -> None:
    feeder, profiles = write_demo(tmp_path, 1, 1)
    (tmp_path / "tmp").mkdir()
    code = (
        # A test run in the background of a shell hands down that SIGINT is ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pbal_study.run import secondprocess; secondprocess._processors = lambda: 2;"
        "secondprocess.WORTH_STEPS = 1;"
        "from pbal_tools.cli import main; main()"
    )
    args = ["study", "--feeder", str(feeder), "--profiles", str(profiles)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args, "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        start_new_session=True,
    )
    job = None
    until = time.monotonic() + 200
    while time.monotonic() < until and process.poll() is None and job is None:
        job = next((tmp_path / "tmp").glob("pbal-study-*/stderr"), None)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert job is not None
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(job.parent) not in running
