"""The same with real processes: a watch killed at random moments, a stand-in for systemd."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pbal_slots import Limits, Slots, Trials

WATCH = textwrap.dedent("""
    import json, sys, time
    from pathlib import Path
    from pbal_slots import Limits, Running, Slots, Trials, watch
    from pbal_slots.service import ask_health

    folder = Path(sys.argv[1])
    slots = Slots(folder / "opt")
    limits = Limits(limit_s=float(sys.argv[2]), settle_s=0.3, watches=1000, poll_s=0.02)

    class Manager:
        def running(self):
            return Running(**json.loads((folder / "running.json").read_text()))
        def restart(self):
            (folder / "restart").touch()
            while (folder / "restart").exists():
                time.sleep(0.01)

    program = [str(slots.link / "bin" / "pbal-controller"), "health"]
    ended = watch(Trials(folder / "state", slots, limits), Manager(), lambda: ask_health(program))
    sys.exit({True: 0, False: 12, None: 6}[ended])
""")
SCRIPT = """#!/bin/sh
if [ "$1" = health ]; then
    echo '{"answers": true, "late": [%s], "nothing_ordered": "", "homes_alive": 1}'
else
    %s
fi
"""


class Manager(threading.Thread):
    """Runs the program behind the link; starts it again unless it ended with 4."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.slots = Slots(folder / "opt")
        self.trials = Trials(folder / "state", self.slots, Limits(starts=1000))
        self.over = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.slot = ""

    def _tell(self, state: str) -> None:
        fresh = self.folder / "running.new"
        fresh.write_text(json.dumps({"state": state, "slot": self.slot}))
        fresh.replace(self.folder / "running.json")

    def _start(self) -> None:
        self.slot = self.trials.before_start()
        self.process = subprocess.Popen(
            [str(self.slots.link / "bin" / "pbal-controller"), "run"], stdin=subprocess.PIPE
        )
        self._tell("active")

    def _stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.kill()
            self.process.wait()
        self.process = None

    def run(self) -> None:
        self._start()
        while not self.over.wait(0.01):
            if (self.folder / "restart").exists():
                self._stop()
                self._start()
                (self.folder / "restart").unlink()
            elif self.process is not None and self.process.poll() is not None:
                code = self.process.returncode
                self._stop()
                self.slot = ""
                if code == 4:
                    self._tell("failed")
                else:
                    self._tell("starting")
                    self._start()
        self._stop()


def slot(folder: Path, version: str, run: str, late: str = "") -> None:
    made = folder / f"payload-{version}" / "bin"
    made.mkdir(parents=True)
    (made.parent / ".pbal-build").write_text(version)
    (made / "pbal-controller").write_text(SCRIPT % (late, run))
    (made / "pbal-controller").chmod(0o755)
    Slots(folder / "opt").add(made.parent, version)


@pytest.mark.parametrize(
    ("run", "late", "kept", "limit_s"),
    [
        ("read line", "", True, 300.0),
        ("exit 4", "", False, 300.0),
        ("sleep 0.1; exit 1", '"planner"', False, 1.5),
        ("read line", '"planner"', False, 1.5),
    ],
)
def test_a_watch_that_is_killed_again_and_again(
    tmp_path: Path, run: str, late: str, kept: bool, limit_s: float
) -> None:
    rng = random.Random(run)
    slot(tmp_path, "1.0", "read line")
    slot(tmp_path, "2.0", run, late)
    slots = Slots(tmp_path / "opt")
    slots.use("1.0")
    manager = Manager(tmp_path)
    manager.start()
    kills = 0
    try:
        end = time.monotonic() + 60
        while manager.slot != "1.0" or not (tmp_path / "running.json").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        manager.trials.begin("2.0", None)
        code = None
        while code is None:
            words = [sys.executable, "-S", "-c", WATCH, str(tmp_path), str(limit_s)]
            with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": _path()}) as process:
                # The later kills give it time to come to an end.
                wait = rng.uniform(0.0, 1.0) if kills < 6 else 100
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(wait)
                if code is None:
                    process.kill()
                    kills += 1
        end = time.monotonic() + 60
        wanted = "2.0" if kept else "1.0"
        while manager.slot != wanted and time.monotonic() < end:
            time.sleep(0.01)
        # 6: the one that was killed had come to the end, and the next found nothing to do.
        assert code in (0 if kept else 12, 6)
        assert (manager.slot, slots.current()) == (wanted, wanted)
        assert manager.trials.last()["kept"] is kept
        assert manager.trials.read() is None
    finally:
        manager.over.set()
        manager.join()
    print(f"killed {kills} times")


def _path() -> str:
    import pbal_slots

    return str(Path(pbal_slots.__file__).parents[1])
