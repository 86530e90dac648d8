"""The command: exit codes, words for people, and no traceback for a user's mistake."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from pbal_controller.cli import main
from pbal_controller.journal import Journal
from pbal_controller.keystore import KeyStore

CODE = "from pbal_controller.cli import main; main()"
EUI = "a4cf12fffe000011"


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as a person starts it; `run` takes over logging, so it gets a process."""
    if words[0] != "run":
        return here(*words, cwd=cwd)
    return subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, timeout=60, cwd=cwd
    )


def here(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same without a new process, which takes seconds on a busy machine."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["pbal-controller", *words]),
        pytest.raises(SystemExit) as caught,
    ):
        main()
    code = caught.value.code if isinstance(caught.value.code, int) else 1
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "keys.pass").write_text("secret")
    (tmp_path / "keys.pass").chmod(0o600)
    (tmp_path / "pbal.toml").write_text(
        "[site]\nid = 7\nname = 'Mill Lane'\n[bus.a]\nport = '/nowhere'\n"
        "[[home]]\naddress = 257\nbus = 'a'\n[journal]\npath = 'j.db'\n"
        "[keys]\nfile = 'keys.json'\npassphrase_file = 'keys.pass'\n"
    )
    return tmp_path


def test_check_config(site: Path) -> None:
    done = call("check-config", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 0
    assert "site 7 'Mill Lane'" in done.stdout
    assert "home 257: bus a, unit 1" in done.stdout
    as_json = call("check-config", "-c", "pbal.toml", "--json", cwd=site)
    assert json.loads(as_json.stdout)["site"]["id"] == 7


@pytest.mark.parametrize(
    ("line", "words"),
    [("prise = 3", "planner.core.prise: is not a known key"), ("price = 'x'", "must be a number")],
)
def test_check_config_also_checks_the_core(site: Path, line: str, words: str) -> None:
    (site / "conf.d").mkdir()
    (site / "conf.d" / "20-core.toml").write_text(f"[planner.core]\n{line}\n")
    done = call("check-config", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 2
    assert "conf.d/20-core.toml: planner.core.pri" in done.stderr
    assert words in done.stderr


def test_keys(site: Path) -> None:
    assert call("keys", "create", "-c", "pbal.toml", cwd=site).returncode == 0
    (site / "root").write_text("ab" * 32)
    added = call("keys", "add", "257", EUI, "--root-file", "root", "-c", "pbal.toml", cwd=site)
    assert added.returncode == 0, added.stderr
    listed = call("keys", "list", "--json", "-c", "pbal.toml", cwd=site)
    assert json.loads(listed.stdout)["nodes"][0]["eui"] == EUI
    for done in (added, listed):
        assert "ab" * 32 not in done.stdout + done.stderr
    again = call("keys", "add", "257", EUI, "-c", "pbal.toml", cwd=site)
    assert again.returncode == 3
    revoked = call("keys", "revoke", "257", "-c", "pbal.toml", cwd=site)
    assert revoked.returncode == 0
    assert "group key 1 in use; 2, drawn" in revoked.stdout
    assert "(node 257 revoked) is on its way" in revoked.stdout
    again = call("keys", "revoke", "257", "-c", "pbal.toml", "--json", cwd=site)
    assert json.loads(again.stdout)["already"]
    assert json.loads(again.stdout)["group_key"]["next"] == 2
    assert "revoked" in call("keys", "list", "-c", "pbal.toml", cwd=site).stdout


def test_a_new_group_key_by_hand(site: Path) -> None:
    missing = call("keys", "rotate-group", "-c", "pbal.toml", cwd=site)
    assert missing.returncode == 3
    assert "keys create" in missing.stderr
    call("keys", "create", "-c", "pbal.toml", cwd=site)
    first = KeyStore.open(site / "keys.json", b"secret").newest
    done = call(
        "keys", "rotate-group", "--why", "lost laptop", "-c", "pbal.toml", "--json", cwd=site
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["number"], told["next"], told["why"]) == (1, 2, "lost laptop")
    store = KeyStore.open(site / "keys.json", b"secret")
    assert store.active == first
    assert store.newest.number == 2
    text = call("keys", "list", "-c", "pbal.toml", cwd=site).stdout
    assert "(lost laptop) is on its way to the nodes" in text
    for secret in (first.root, store.newest.root):
        assert secret.hex() not in done.stdout + text


def test_the_history_of_the_group_key(site: Path) -> None:
    assert call("keys", "history", "-c", "pbal.toml", cwd=site).stdout == ""
    journal = Journal(site / "j.db")
    journal.add_audit(1_800_000_000.0, "group key drawn", "2", "ann", "node 9 revoked")
    journal.add_audit(1_800_000_000.0, "group key drawn", "2", "ann", "node 9 revoked")
    journal.add_audit(1_800_000_060.0, "group key in use", "2", "controller", "homes: none")
    journal.close()
    text = call("keys", "history", "-c", "pbal.toml", cwd=site).stdout
    assert text.count("\n") == 2
    assert "group key drawn 2  ann  node 9 revoked" in text.splitlines()[1]
    rows = json.loads(call("keys", "history", "--json", "-c", "pbal.toml", cwd=site).stdout)
    assert [row["who"] for row in rows] == ["controller", "ann"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["run", "-c", "none.toml"], 2, "no such file"),
        (["run", "-c", "pbal.toml"], 3, "keys create"),
        (["release", "5", "-c", "pbal.toml"], 6, "not in quarantine"),
        (["dance"], 2, "dance"),
    ],
)
def test_mistakes(site: Path, words: list[str], code: int, text: str) -> None:
    done = call(*words, cwd=site)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_another_site_is_refused(site: Path) -> None:
    call("keys", "create", "-c", "pbal.toml", cwd=site)
    text = (site / "pbal.toml").read_text().replace("id = 7", "id = 8")
    (site / "pbal.toml").write_text(text)
    done = call("run", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 3
    assert "site 7" in done.stderr


def test_a_journal_that_cannot_be_opened(site: Path) -> None:
    call("keys", "create", "-c", "pbal.toml", cwd=site)
    (site / "j.db").write_bytes(b"not a database at all" * 100)
    done = call("run", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 4, done.stderr
    assert "move the file away" in done.stderr
    assert "Traceback" not in done.stderr
