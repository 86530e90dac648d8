"""An engine's process: awaited, weighed, and ended with everything it started, also by others."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pbal_engines import Missing, NotStarted, Service, free_port, http_answers, port_open

# Starts a child in the same session, says so, and ignores a polite request to end.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


def program(text):
    return [sys.executable, "-c", text]


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def child_of(service):
    service.wait(service.logged("child "), "child", 60)
    return int(service.tail().split()[1])


def test_stopping_ends_also_the_children_of_a_process_that_will_not_end(tmp_path):
    service = Service("s", program(STUBBORN), tmp_path / "s").start()
    child = child_of(service)
    assert service.weigh().processes == 2
    assert service.weigh().memory_mb > 1
    service.stop(grace_s=0.2)
    assert not service.is_running()
    assert not lives(child)


def test_children_that_outlive_their_parent_are_ended_too(tmp_path):
    text = STUBBORN.replace("time.sleep(600)\n", "", 1).replace("time.sleep(600)\n", "")
    service = Service("s", program(text), tmp_path / "s").start()
    until = time.monotonic() + 60
    while service.is_running() and time.monotonic() < until:
        time.sleep(0.05)
    child = int(service.tail().split()[1])
    assert lives(child)
    service.stop()
    assert not lives(child)


def test_what_does_not_start_says_why_with_the_end_of_its_log(tmp_path):
    service = Service("s", program("import sys; sys.exit('no such disk')"), tmp_path / "s").start()
    with pytest.raises(NotStarted, match="no such disk"):
        service.wait(lambda: False, "readiness", 60)
    slow = Service("slow", program("import time; time.sleep(60)"), tmp_path / "slow").start()
    with pytest.raises(NotStarted, match="no readiness within 0 s"):
        slow.wait(lambda: False, "readiness", 0.2)
    assert not slow.is_running()
    with pytest.raises(Missing, match="No such file"):
        Service("none", ["/no/such/program"], tmp_path / "none").start()


def test_what_an_earlier_life_logged_is_not_this_ones(tmp_path):
    text = "import os, sys\nif not os.path.exists('x'): open('x', 'w'); print('ready')"
    text += "\nsys.stdout.flush(); import time; time.sleep(60)"
    service = Service("s", program(text), tmp_path / "s").start()
    service.wait(service.logged("ready"), "word", 60)
    service.kill()
    service.start()
    with pytest.raises(NotStarted):
        service.wait(service.logged("ready"), "word", 1.0)


def test_a_port_and_a_page_are_waited_for(tmp_path):
    port = free_port()
    words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with Service("web", words, tmp_path / "web") as service:
        service.wait(port_open(port), "port", 60)
        service.wait(http_answers(f"http://127.0.0.1:{port}/"), "page", 60)
        assert not http_answers(f"http://127.0.0.1:{port}/none")()
        assert http_answers(f"http://127.0.0.1:{port}/none", 404)()
    assert not port_open(port)()


def test_a_service_outlives_the_thread_that_asked_for_it(tmp_path):
    service = Service("s", program("import time; time.sleep(600)"), tmp_path / "s")
    thread = threading.Thread(target=service.start)
    thread.start()
    thread.join()
    time.sleep(0.5)
    assert service.is_running()
    service.stop()


OUTER = """
import sys, time
from pathlib import Path
from pbal_engines import Service
s = Service("s", [sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]),
            lasting=sys.argv[2] == "lasting").start()
print(s.folder.joinpath("service.json").read_text(), flush=True)
if sys.argv[3] == "hang":
    time.sleep(600)
"""


def test_a_service_ends_with_its_starter_however_that_ends(tmp_path):
    words = [sys.executable, "-c", OUTER, str(tmp_path / "s"), "not", "hang"]
    outer = subprocess.Popen(words, stdout=subprocess.PIPE)
    outer.stdout.readline()
    found = Service.found("s", tmp_path / "s")
    assert found.is_running()
    outer.kill()
    outer.wait()
    until = time.monotonic() + 60
    while found.is_running() and time.monotonic() < until:
        time.sleep(0.05)
    assert not found.is_running()


def test_a_lasting_one_is_found_and_ended_by_a_later_command(tmp_path):
    words = [sys.executable, "-c", OUTER, str(tmp_path / "s"), "lasting", "end"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=60)
    found = Service.found("s", tmp_path / "s")
    assert found.is_running()
    assert found.weigh().processes == 1
    found.stop()
    assert not Service.found("s", tmp_path / "s").is_running()


def test_a_number_that_another_process_has_now_is_left_alone(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                             start_new_session=True)  # fmt: skip
    try:
        folder = tmp_path / "s"
        folder.mkdir()
        (folder / "service.json").write_text(f'{{"pid": {other.pid}, "born": 1}}')
        found = Service.found("s", folder)
        assert not found.is_running()
        assert found.weigh().processes == 0
        found.stop()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_paused_process_does_nothing_until_it_is_resumed(tmp_path):
    text = "import time\nwhile True: print('tick', flush=True); time.sleep(0.01)"
    with Service("s", program(text), tmp_path / "s") as service:
        service.wait(service.logged("tick"), "tick", 60)
        service.pause()
        time.sleep(0.2)
        size = service.log.stat().st_size
        time.sleep(0.3)
        assert service.log.stat().st_size == size
        service.resume()
        service.wait(lambda: service.log.stat().st_size > size, "tick", 60)


def test_root_names_a_user_that_is_not_there(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root starts programs as others")
    with pytest.raises(Missing, match="nobody made"):
        Service("s", program(""), tmp_path / "s", user="no-such-user-x").start()
