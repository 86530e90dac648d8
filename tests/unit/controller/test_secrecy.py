"""Keys and journals stay where they belong: no core file, and files for one user alone."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rigs import needs

from pbal_controller.journal import Journal
from pbal_controller.keys import KeyStore
from pbal_controller.secrecy import keep_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def umask(pid: int) -> int:
    """Of another process, as the kernel tells it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Umask:"))[6:], 8)


@pytest.fixture
def open_umask() -> object:
    """As in a shell, outside systemd."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_journal_is_for_its_owner_alone(tmp_path: Path, open_umask: object) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.quarantine(5, "x")
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        assert mode(tmp_path / name) == 0o600, name
    journal.close()


def test_a_journal_of_an_older_version_is_made_private(tmp_path: Path, open_umask: object) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE left_open (x)")
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (tmp_path / name).chmod(0o644)
    journal = Journal(path)
    try:
        for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
            assert mode(tmp_path / name) == 0o600, name
    finally:
        journal.close()
        db.close()


def test_a_key_store_that_was_copied_carelessly_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyStore.create(path, b"a passphrase", 7, log2_n=10)
    path.chmod(0o644)
    KeyStore.open(path, b"a passphrase")
    assert mode(path) == 0o600


def test_what_is_private_already_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("")
    path.chmod(0o400)
    keep_private(path)
    assert mode(path) == 0o400
    keep_private(tmp_path / "not there")


def test_every_file_of_the_command_is_private(tmp_path: Path, open_umask: object) -> None:
    """The whole program, started as a person starts it: keys, journal, and what lies beside."""
    (tmp_path / "keys.pass").write_text("a passphrase\n")
    (tmp_path / "keys.pass").chmod(0o600)
    (tmp_path / "pbal.toml").write_text(
        '[site]\nid = 7\n[keys]\nfile = "keys.json"\npassphrase_file = "keys.pass"\n'
        '[journal]\npath = "journal.db"\n[bus.a]\nport = "/dev/null"\n'
        '[[home]]\naddress = 5\nbus = "a"\n'
    )
    run = [sys.executable, "-c", "from pbal_controller.cli import main; main()"]
    config = ["--config", str(tmp_path / "pbal.toml")]
    subprocess.run([*run, "keys", "create", *config], check=True, timeout=60, capture_output=True)
    with (tmp_path.parent / "said").open("wb") as said:
        controller = subprocess.Popen([*run, "run", *config], stdout=said, stderr=said)
        try:
            for _ in range(600):
                if (tmp_path / "keys.json.journal").exists():
                    break
                assert controller.poll() is None, (tmp_path.parent / "said").read_text()
                time.sleep(0.1)
            # Each file above has a guard of its own; this is for those that have none.
            assert umask(controller.pid) == 0o077
        finally:
            controller.terminate()
            controller.wait(needs.PATIENCE_S)
    made = {p.name for p in tmp_path.iterdir()} - {"pbal.toml", "keys.pass"}
    assert {"keys.json", "journal.db"} <= made
    for name in made:
        assert not mode(tmp_path / name) & 0o077, name


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_who_opens_keys_leaves_no_core(tmp_path: Path) -> None:
    """Asked of the kernel, in a program that asked for the passphrase."""
    (tmp_path / "keys.pass").write_text("a passphrase\n")
    (tmp_path / "keys.pass").chmod(0o600)
    for ask in (
        "from pbal_tools.keystore import passphrase; passphrase(p)",
        "from types import SimpleNamespace as N; from pbal_controller.keys import passphrase;"
        "passphrase(N(keys=N(passphrase_file=p, credential='x')))",
    ):
        program = (
            "import ctypes, resource; from pathlib import Path; "
            f"p = Path({str(tmp_path / 'keys.pass')!r}); get = ctypes.CDLL(None).prctl; "
            "core = resource.RLIMIT_CORE; hard = resource.getrlimit(core)[1]; "
            "resource.setrlimit(core, (hard, hard)); "  # as where somebody looks for a defect
            f"before = get(3, 0, 0, 0, 0); {ask}; "
            "print(before, get(3, 0, 0, 0, 0), resource.getrlimit(core)[0])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.split() == ["1", "0", "0"]
