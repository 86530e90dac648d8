"""The Debian package in a Debian of its own: installed, upgraded, taken back, removed, purged.

The packages are built once, and the wheels in them are kept under build/deb for the next time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import deb
import debenv
import pytest
from rigs import needs
from rigs.booted import Booted, booted
from rigs.debian import CACHE, alone, ran
from rigs.debian import bare as debian_in_a_folder

from pbal_controller.keys import KeyStore

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

FIRST, SECOND = "0.1.0~first", "0.1.0~second"
CONFFILE = "etc/pbal/conf.d/50-site.toml"
MINE = '[site]\nname = "Edited by hand"\n'


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two packages: the second differs in its version, its build and the text of a conffile."""
    for tool in ("dpkg-deb", "gcc"):
        needs.require_tool(tool)
    folder = tmp_path_factory.mktemp("packages")
    began = time.monotonic()
    with alone():
        first = deb.build(folder, FIRST, CACHE)
    tree = folder / "tree"
    ran("dpkg-deb", "-R", first, tree)
    for path in (tree / "DEBIAN").iterdir():
        path.write_text(path.read_text().replace(FIRST, SECOND))
    (tree / deb.PAYLOAD / ".pbal-build").write_text("another build\n")
    with (tree / CONFFILE).open("a") as file:
        file.write("# What the second package adds.\n")
    second = deb.pack(tree, folder)
    shutil.rmtree(tree)
    print(f"two packages, {first.stat().st_size >> 20} MB each: {time.monotonic() - began:.0f} s")
    return {FIRST: first, SECOND: second}


@pytest.fixture(scope="module")
def bare() -> Path:
    """A small Debian as debootstrap makes it, with systemd."""
    return debian_in_a_folder()


class Debian:
    """A Debian in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str, code: int = 0) -> str:
        """A program in it; returns what it says."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}  # fmt: skip
        return ran(needs.require_tool("chroot", "coreutils"), self.root, *words, code=code, env=env)

    def install(self, package: Path) -> str:
        """dpkg's words; a conffile that was edited is kept, as apt does without a terminal."""
        shutil.copy(package, self.root / "tmp" / package.name)
        try:
            return self.run(
                "dpkg", "--force-confold", "--force-unsafe-io", "-i", f"/tmp/{package.name}"
            )
        finally:
            (self.root / "tmp" / package.name).unlink()

    def install_in(self, pi: Booted, package: Path) -> str:
        """The same while it is up."""
        shutil.copy(package, self.root / "root" / package.name)
        return pi.run("dpkg", "--force-confold", "--force-unsafe-io", "-i", f"/root/{package.name}")

    def slots(self) -> list[str]:
        """Which versions are there."""
        return sorted(path.name for path in (self.root / "opt").glob("pbal-*"))


@pytest.fixture
def debian(bare: Path, tmp_path: Path) -> Iterator[Debian]:
    root = tmp_path / "root"
    ran("cp", "-a", "--reflink=auto", bare, root)
    yield Debian(root)
    shutil.rmtree(root)


def bring_a_site(root: Path) -> None:
    """What a person brings to the Pi: configuration, keys, and the passphrase in his head."""
    folder = root / "root" / "site"
    folder.mkdir()
    store = KeyStore.create(folder / "keys.json", b"secret", 7, log2_n=12)
    store.add(257, "a4cf12fffe000011", bytes(range(32)))
    example = needs.ROOT / "pi_controller" / "debian" / "examples" / "pbal.toml"
    (folder / "pbal.toml").write_text(example.read_text())
    (folder / "secret").write_text("secret\n")
    (folder / "secret").chmod(0o600)


@contextlib.contextmanager
def at_work(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The controller in there, as its user; it has said that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        address = root / "tmp" / "notify"
        address.unlink(missing_ok=True)
        told.bind(str(address))
        address.chmod(0o777)
        told.settimeout(300)
        log = (root / "tmp" / "controller.log").open("wb")
        shutil.copy(root / "etc/pbal/keys.pass", root / "var/lib/pbal/pbal-keys")
        shutil.chown(root / "var/lib/pbal/pbal-keys", *_owner(root))
        process = subprocess.Popen(
            [needs.require_tool("chroot", "coreutils"), "--userspec=pbal:pbal", str(root),
             "/opt/pbal/bin/pbal-controller", "run"],
            stdout=log, stderr=log,
            env={"NOTIFY_SOCKET": "/tmp/notify", "CREDENTIALS_DIRECTORY": "/var/lib/pbal",
                 "PATH": "/usr/bin:/bin", "PBAL_HTTP__PORT": "0",
                 "PBAL_HTTP__PORT_FILE": "/var/lib/pbal/port"},
        )  # fmt: skip
        try:
            try:
                assert b"READY=1" in told.recv(1000)
            except TimeoutError:
                pytest.fail((root / "tmp" / "controller.log").read_text()[-2000:])
            yield process
        finally:
            process.terminate()
            process.wait(120)
            log.close()


def _owner(root: Path) -> tuple[int, int]:
    found = (root / "var/lib/pbal").stat()
    return found.st_uid, found.st_gid


def test_a_life(debian: Debian, packages: dict[str, Path]) -> None:
    """Install, set up, run, upgrade beside the running one, back, remove, purge."""
    root = debian.root
    debian.install(packages[FIRST])
    assert debian.slots() == [f"pbal-{FIRST}"]
    assert os.readlink(root / "opt/pbal") == f"pbal-{FIRST}"
    assert debian.run("pbal-controller", "--version").strip() == deb.project_version()
    assert "commission" in debian.run("pbal", "--help")
    assert debian.run("stat", "-c", "%U %a", "/var/lib/pbal").strip() == "pbal 700"
    assert "dialout" in debian.run("id", "-nG", "pbal")
    # Nothing in it belongs to this computer's folders.
    said = ran("grep", "-rlIF", "--exclude=*.pyc", str(needs.ROOT), root / "opt", code=1)
    assert said == ""

    assert "no such file" in debian.run("pbal-controller", "check-config", code=2)
    bring_a_site(root)
    debian.run("pbal-controller", "setup", "/root/site", "--passphrase-file", "/root/site/secret")
    said = debian.run("pbal-controller", "check-config", "--passphrase-file", "/etc/pbal/keys.pass")
    assert "Mill Lane" in said
    assert debian.run("stat", "-c", "%U %a", "/var/lib/pbal/keys.json").strip() == "pbal 600"
    assert debian.run("stat", "-c", "%U %a", "/etc/pbal/keys.pass").strip() == "root 600"
    (root / CONFFILE).write_text(MINE)
    keys = (root / "var/lib/pbal/keys.json").read_bytes()

    with at_work(root) as process:
        debian.install(packages[SECOND])
        assert process.poll() is None, "the upgrade ended the controller that ran"
        with (Path("/proc") / str(process.pid) / "cmdline").open("rb") as file:
            assert f"/opt/pbal-{FIRST}/bin/python".encode() in file.read()
    assert debian.slots() == [f"pbal-{FIRST}", f"pbal-{SECOND}"]
    assert os.readlink(root / "opt/pbal") == f"pbal-{SECOND}"
    assert f"{SECOND} " in debian.run("pbal-slots", "status")
    assert "on trial" in debian.run("pbal-slots", "status")
    assert (root / CONFFILE).read_text() == MINE
    assert (root / "var/lib/pbal/keys.json").read_bytes() == keys
    assert "Edited by hand" in debian.run(
        "pbal-controller", "check-config", "--passphrase-file", "/etc/pbal/keys.pass"
    )
    with at_work(root):
        pass

    debian.run("pbal-slots", "back")
    assert os.readlink(root / "opt/pbal") == f"pbal-{FIRST}"
    with at_work(root):
        pass
    # The same by the package: the older one is installed over the newer one.
    debian.install(packages[FIRST])
    assert os.readlink(root / "opt/pbal") == f"pbal-{FIRST}"
    assert (root / CONFFILE).read_text() == MINE

    debian.run("dpkg", "--remove", "pbal-controller")
    assert debian.slots() == []
    assert not (root / "opt/pbal").is_symlink()
    assert not (root / "usr/lib/pbal").exists()
    assert (root / CONFFILE).read_text() == MINE
    said = debian.run("dpkg", "--purge", "pbal-controller")
    assert "keys, journal and configuration are left" in said
    assert (root / "var/lib/pbal/keys.json").read_bytes() == keys
    assert not (root / CONFFILE).exists()
    assert not (root / "var/lib/pbal-slots").exists()


def test_a_purge_without_keys_leaves_nothing(debian: Debian, packages: dict[str, Path]) -> None:
    before = set(debian.run("find", "/etc", "/opt", "/usr", "-xdev").splitlines())
    debian.install(packages[FIRST])
    debian.run("dpkg", "--purge", "pbal-controller")
    left = set(debian.run("find", "/etc", "/opt", "/usr", "-xdev").splitlines()) - before
    assert {path for path in left if "pbal" in path} == set()
    assert "pbal" not in (debian.root / "etc/passwd").read_text()
    assert not (debian.root / "var/lib/pbal").exists()


UNIT = "pbal-controller"
SLOW_S = 600.0
PAGE = "http://127.0.0.1:8480"
#: Asks for a path of the status server; prints the status and what it says.
ASK = """\
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""
#: A second address of the loopback interface; SIOCSIFADDR.
ADDRESS = """\
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
    wanted = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton("192.0.2.1"))
    fcntl.ioctl(port, 0x8916, wanted)
"""
#: From within the unit's control group, as its process could: who is reached?
REACH = """\
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
with socket.create_server(("0.0.0.0", 0)) as server:
    for address in ("127.0.0.1", "192.0.2.1"):
        try:
            socket.create_connection((address, server.getsockname()[1]), timeout=3).close()
            print(address, "reached")
        except OSError as error:
            print(address, type(error).__name__)
"""


def asked(pi: Booted, path: str) -> str:
    """What the page's server says, once it is there."""
    return pi.run("python3", "-c", ASK, PAGE + path)


def is_well(found: dict[str, str]) -> bool:
    """With Type=notify: it has said that it is ready."""
    return found.get("ActiveState") == "active" and found.get("SubState") == "running"


def test_under_a_real_systemd(debian: Debian, packages: dict[str, Path]) -> None:
    """Booted: it starts with the credential, in its sandbox; killed, stuck, broken, upgraded."""
    root = debian.root
    debian.install(packages[FIRST])
    bring_a_site(root)
    debian.run("pbal-controller", "setup", "/root/site", "--passphrase-file", "/root/site/secret")
    debian.run("systemctl", "enable", UNIT)
    # Less than the watchdog's two minutes, and more patience with a busy computer.
    own = root / f"etc/systemd/system/{UNIT}.service.d"
    own.mkdir(parents=True)
    (own / "test.conf").write_text(
        "[Service]\nWatchdogSec=60\nTimeoutAbortSec=2\nTimeoutStartSec=600\n"
    )
    (root / "etc/default" / UNIT).write_text("PBAL_TRIAL_S=600\nPBAL_TRIAL_WELL_S=5\n")

    with booted(root) as pi:
        up_s = pi.until(UNIT, is_well, SLOW_S)
        assert asked(pi, "/healthz").startswith("200 ")
        assert "<html" in asked(pi, "/")
        in_its_sandbox(pi)
        for unit in (UNIT, "pbal-trial"):
            said = pi.run("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)
            print(said.strip().splitlines()[-1])

        first = pi.shown(UNIT, "MainPID")["MainPID"]
        pi.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
        killed_s = pi.until(
            UNIT, lambda found: is_well(found) and found["MainPID"] not in ("0", first), SLOW_S
        )
        assert asked(pi, "/healthz").startswith("200 ")
        second = pi.shown(UNIT, "MainPID")["MainPID"]
        pi.run("systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT)
        stuck_s = pi.until(
            UNIT, lambda found: is_well(found) and found["MainPID"] not in ("0", second), SLOW_S
        )
        assert b"Watchdog timeout" in pi.console  # process 1 speaks there
        assert pi.shown(UNIT, "NRestarts")["NRestarts"] == "2"
        print(f"up {up_s:.1f} s, after kill -9 {killed_s:.1f} s, after a hang {stuck_s:.1f} s")

        debian.install_in(pi, packages[SECOND])
        end = time.monotonic() + SLOW_S
        while "does well and is kept" not in pi.log("pbal-trial"):
            assert time.monotonic() < end, pi.log("pbal-trial") + pi.log(UNIT)
            time.sleep(0.5)
        pi.until(UNIT, is_well, SLOW_S)
        running = pi.run("cat", f"/proc/{pi.shown(UNIT, 'MainPID')['MainPID']}/cmdline")
        assert running.startswith(f"/opt/pbal-{SECOND}/")
        assert f"{SECOND} " in pi.run("pbal-slots", "status")

        # What only a person mends is not tried again and again.
        (root / "etc/pbal/pbal.toml").write_text("[site]\nid = -1\n")
        pi.run("systemctl", "restart", UNIT, code=None)
        pi.until(UNIT, lambda found: found["ActiveState"] == "failed", SLOW_S)
        assert "Traceback" not in pi.log(UNIT)


def in_its_sandbox(pi: Booted) -> None:
    """The running controller: its user, no privileges, its credential, what it may not reach."""
    shown = pi.shown(UNIT, "MainPID", "ControlGroup", "WatchdogUSec", "NRestarts")
    assert (shown["WatchdogUSec"], shown["NRestarts"]) == ("1min", "0")
    process = f"/proc/{shown['MainPID']}"
    status = dict(
        line.split(":\t", 1)
        for line in pi.run("cat", f"{process}/status").splitlines()
        if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid = pi.run("id", "-u", "pbal").strip()
    assert set(status["Uid"].split()) == {uid}
    inside = ("nsenter", "-t", shown["MainPID"], "-m")
    credential = f"/run/credentials/{UNIT}.service/pbal-keys"
    assert pi.run(*inside, "cat", credential) == "secret\n"
    assert credential.rpartition("/")[0] in pi.run("cat", f"{process}/environ")
    assert "Permission denied" in pi.run(
        "setpriv",
        "--reuid=pbal",
        "--regid=pbal",
        "--clear-groups",
        "cat",
        "/etc/pbal/keys.pass",
        code=1,
    )
    for path in ("/usr/new", "/etc/new", "/opt/new"):
        assert "Read-only file system" in pi.run(*inside, "touch", path, code=1)
    pi.run(*inside, "touch", "/var/lib/pbal/new")
    # An address that is not this computer's loopback, and is there all the same.
    pi.run("python3", "-c", ADDRESS)
    said = pi.run("python3", "-c", REACH, f"/sys/fs/cgroup{shown['ControlGroup']}")
    assert "127.0.0.1 reached" in said
    assert "192.0.2.1 reached" not in said


def test_the_wheel_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """What `pipx install pbal[pi]` does: a fresh environment, and the command works."""
    libraries, own = debenv.wheels(CACHE)
    ran(sys.executable, "-m", "venv", tmp_path / "venv")
    ran(tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", "--no-index",
        "--find-links", libraries, "--find-links", own.parent, "pbal[pi]")  # fmt: skip
    program = tmp_path / "venv/bin/pbal-controller"
    assert "check-config" in ran(program, "--help", cwd=tmp_path)
    assert ran(program, "--version", cwd=tmp_path).strip() == deb.project_version()
    ran(tmp_path / "venv/bin/python", "-c", "import importlib.metadata as m; "
        "m.version('adafruit-circuitpython-rfm9x')")  # fmt: skip
    (tmp_path / "pbal.toml").write_text(
        "[site]\nid = 7\n[keys]\nfile = 'keys.json'\n[bus.a]\nport = '/dev/ttyUSB0'\n"
        "[[home]]\naddress = 257\nbus = 'a'\n"
    )
    said = ran(program, "check-config", "--config", tmp_path / "pbal.toml", code=3, cwd=tmp_path)
    assert "keys.json: no such file" in said


def test_a_wrong_version_is_refused() -> None:
    said = ran(sys.executable, needs.ROOT / "tools/deb.py", "--version", "one two", code=4)
    assert "is no version" in said
