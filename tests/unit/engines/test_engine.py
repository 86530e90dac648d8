"""What engines have in common: started together or not at all, ports that stay, runs that end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pbal_engines import NotStarted, Service, Services, kept_ports, run_once


def program(text):
    return [sys.executable, "-c", text]


class Two(Services):
    def start(self, wait):
        sleeper = program("import time; print('up', flush=True); time.sleep(600)")
        self.services = [Service(name, sleeper, self.folder / name) for name in ("a", "b")]
        self.start_all(wait)


def test_all_run_or_none(tmp_path):
    engine = Two(tmp_path)
    seen = []

    def wait():
        seen.extend(service.is_running() for service in engine.services)
        raise NotStarted("not ready")

    with pytest.raises(NotStarted, match="not ready"):
        engine.start(wait)
    assert seen == [True, True]
    assert not any(service.is_running() for service in engine.services)
    engine.start(lambda: engine.services[1].wait(engine.services[1].logged("up"), "word", 60))
    assert all(service.is_running() for service in engine.services)
    engine.stop()
    assert not any(service.is_running() for service in engine.services)


def test_ports_stay_and_more_are_added(tmp_path):
    two = kept_ports(tmp_path / "new", 2)
    assert len(set(two)) == 2
    assert kept_ports(tmp_path / "new", 2) == two
    five = kept_ports(tmp_path / "new", 5)
    assert five[:2] == two
    assert len(set(five)) == 5
    assert kept_ports(tmp_path / "new", 2) == two
    assert kept_ports(tmp_path / "new", 5) == five


@pytest.mark.parametrize("left", ["", "{", '{"rpc": 1}', "[[1, 2, 3]]"])
def test_a_file_that_is_none_of_ports_is_drawn_anew(tmp_path, left):
    (tmp_path / "ports.json").write_text(left)
    assert kept_ports(tmp_path, 2) == json.loads((tmp_path / "ports.json").read_text())


def test_what_a_run_said_is_in_the_error():
    assert run_once(program("print('made')"), "it failed", 60) == "made\n"
    with pytest.raises(NotStarted, match="it failed: no disk"):
        run_once(program("import sys; sys.exit('no disk')"), "it failed", 60)
    with pytest.raises(NotStarted, match=r"it failed: it took more than 0 s"):
        run_once(program("import time; time.sleep(60)"), "it failed", 0.2)


# Starts a child that leaves a grandchild behind, and says its number. It is seen by
# nobody's wait but the reaper's.
ORPHAN = """
import subprocess, sys, time
leave = "import subprocess; print(subprocess.Popen(['true']).pid, flush=True)"
subprocess.run([sys.executable, "-c", leave])
time.sleep(600)
"""


def test_the_reaper_buries_orphans_and_passes_on_how_it_ended(tmp_path):
    words = [sys.executable, "-m", "pbal_engines.reaper"]
    with Service("r", [*words, *program(ORPHAN)], tmp_path) as service:
        service.wait(lambda: service.tail().endswith("\n"), "orphan", 60)
        orphan = Path("/proc", service.tail().strip())
        service.wait(lambda: not orphan.exists(), "burial", 60)
    assert subprocess.run([*words, *program("import sys; sys.exit(7)")]).returncode == 7
