"""The command: exit codes, words for people, and no traceback for a user's mistake."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from pbal_controller.cli import main
from pbal_controller.errors import ConfigError, JournalError, JournalUnavailable, KeyStoreError
from pbal_controller.journal import Journal, add_audit
from pbal_controller.keys import KeyStore
from pbal_controller.updates import store as rollout_store

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


@pytest.fixture
def keyed(site: Path) -> Path:
    """The same with a key store that knows its home."""
    store = KeyStore.create(site / "keys.json", b"secret", 7, log2_n=10)
    store.add(257, EUI)
    return site


def test_check_config(keyed: Path) -> None:
    site = keyed
    done = call("check-config", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 0
    assert "site 7 'Mill Lane'" in done.stdout
    assert "home 257: bus a, unit 1" in done.stdout
    assert "0 baud, 8E1, 1 home\n" in done.stdout
    assert "keys.json, 1 node" in done.stdout
    usual = (
        "wear: 3 switchings a day for each home in the mean; of one home at most 6 in 24 h, 30 min"
    )
    assert usual in done.stdout
    assert "other than usual" not in done.stdout
    as_json = call("check-config", "-c", "pbal.toml", "--json", cwd=site)
    assert json.loads(as_json.stdout)["site"]["id"] == 7


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prise = 3", "planner.core.prise: is not a known key"),
        ("prise = 3", 'did you mean "price"?'),
        ("price = 'x'", 'must be a number (it is "x")'),
        ("price = true", "must be a number (it is true)"),
    ],
)
def test_check_config_also_checks_the_core(site: Path, line: str, words: str) -> None:
    (site / "conf.d").mkdir()
    (site / "conf.d" / "20-core.toml").write_text(f"[planner.core]\n{line}\n")
    done = call("check-config", "-c", "pbal.toml", cwd=site)
    assert done.returncode == 2
    assert "conf.d/20-core.toml: planner.core.pri" in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("words", [("version",), ("check-config", "-c", "pbal.toml")])
def test_a_full_disk_behind_the_output_is_one_line(keyed: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", CODE, *words], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False, cwd=keyed,
        )  # fmt: skip
    assert done.returncode == 11
    assert done.stderr.startswith("pbal-controller: the system refused: [Errno 28]")
    assert len(done.stderr.splitlines()) == 1


def test_check_config_opens_the_ports_where_it_is_asked_to(keyed: Path) -> None:
    done = call("check-config", "-c", "pbal.toml", "--hardware", cwd=keyed)
    assert done.returncode == 5
    assert "bus a: /nowhere cannot be opened" in done.stderr
    assert "check the cable, the path" in done.stderr
    ours, theirs = pty.openpty()
    try:
        main_file = keyed / "pbal.toml"
        main_file.write_text(main_file.read_text().replace("/nowhere", os.ttyname(theirs)))
        done = call("check-config", "-c", "pbal.toml", "--hardware", cwd=keyed)
        assert done.returncode == 0, done.stderr
        assert f"bus a: {os.ttyname(theirs)} opens\n" in done.stdout
    finally:
        os.close(ours)
        os.close(theirs)


def test_check_config_tells_by_what_homes_are_chosen(keyed: Path) -> None:
    (keyed / "conf.d").mkdir()
    core = "wear_budget_per_day = 1\nlimits_a = [100, 100, 80]\nhorizon_min = 20\n"
    (keyed / "conf.d" / "20-core.toml").write_text(f"[planner.core]\n{core}")
    done = call("check-config", "-c", "pbal.toml", cwd=keyed)
    assert done.returncode == 0, done.stderr
    assert "  wear: 1 switching a day for each home" in done.stdout
    assert "  phase limit: 100, 100, 80 A\n" in done.stdout
    assert "  other than usual: horizon_min = 20.0\n" in done.stdout


def test_check_config_tells_of_a_strict_bound(keyed: Path) -> None:
    (keyed / "conf.d").mkdir()
    (keyed / "conf.d" / "20-strict.toml").write_text("[plausibility]\nstrict = true\n")
    done = call("check-config", "-c", "pbal.toml", cwd=keyed)
    assert done.returncode == 0, done.stderr
    assert "one home's word: bounded against every earlier moment" in done.stdout


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
    Journal(site / "j.db").close()
    assert call("keys", "history", "-c", "pbal.toml", cwd=site).stdout == ""
    journal = Journal(site / "j.db")
    add_audit(journal, 1_800_000_000.0, "group key drawn", "2", "ann", "node 9 revoked")
    add_audit(journal, 1_800_000_000.0, "group key drawn", "2", "ann", "node 9 revoked")
    add_audit(journal, 1_800_000_060.0, "group key in use", "2", "controller", "homes: none")
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
        (["lift", "5", "-c", "pbal.toml"], 9, "no journal here"),
        (["lift", "9" * 30, "-c", "pbal.toml"], 2, "outside 1..65535"),
        (["adopt", "-c", "pbal.toml"], 9, "journal.path"),
        (["backup", "copy.db", "-c", "pbal.toml"], 9, "no journal here"),
        (["rollout", "-c", "pbal.toml"], 9, "no journal here"),
        (["keys", "history", "-c", "pbal.toml"], 9, "no journal here"),
        (["keys", "add", "5", EUI, "--root-file", "/dev/zero", "-c", "pbal.toml"], 3, "64 hex"),
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


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("'keys.json'", "'none.json'", 3, "no such file"),
        ("'keys.pass'", "'other.pass'", 3, "passphrase does not open it"),
        ("'keys.pass'", "'none.pass'", 3, "umask 077"),
        ("id = 7", "id = 8", 3, "belongs to site 7"),
        ("257", "258", 3, "no key for home 258"),
        ("[bus.a]", "[bus.b]\nport = '/nowhere'\n[bus.a]", 2, "bus b and bus a are on one port"),
        ("[bus.a]", "[bus.b]\nport = 'link'\n[bus.a]", 2, "on one port"),
        ("[bus.a]", "[transformer.meter]\nkind='sdm630'\nport = '/nowhere'\n[bus.a]", 2,
         "port of bus a"),
        ("[bus.a]", "[http]\nhost = '0.0.0.0'\n[bus.a]", 2, "every network"),
        ("[bus.a]", "[http]\nhost = '::'\n[bus.a]", 2, "every network"),
        ("[bus.a]", "[http]\nhost = '192.0.2.7'\n[bus.a]", 2, "set token_file"),
        ("[bus.a]", "[http]\ntoken_file = '/nowhere'\n[bus.a]", 2, "openssl rand"),
        ("[bus.a]", "[transformer.meter]\nkind='modbus'\nprofile='sdm1'\nport='/x'\n[bus.a]", 2,
         "no meter profile 'sdm1'"),
    ],
)  # fmt: skip
def test_check_config_passes_nothing_that_will_not_run(
    keyed: Path, old: str, new: str, code: int, words: str
) -> None:
    """What `run` would end with, or what nobody can want."""
    (keyed / "other.pass").write_text("another")
    (keyed / "other.pass").chmod(0o600)
    (keyed / "link").symlink_to("/nowhere")
    text = (keyed / "pbal.toml").read_text().replace(old, new).replace("'link'", f"'{keyed}/link'")
    (keyed / "pbal.toml").write_text(text)
    done = call("check-config", "-c", "pbal.toml", cwd=keyed)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""


def test_check_config_with_the_passphrase_at_systemd(keyed: Path) -> None:
    text = (keyed / "pbal.toml").read_text().replace("passphrase_file = 'keys.pass'\n", "")
    (keyed / "pbal.toml").write_text(text + "[http]\nhost = '192.0.2.7'\ntoken_file = 'token'\n")
    (keyed / "token").write_text("0123456789abcdef" * 3)
    done = call("check-config", "-c", "pbal.toml", cwd=keyed)
    assert done.returncode == 0, done.stderr
    assert "not opened" in done.stdout
    assert "readers show the token in" in done.stdout
    more = ("--passphrase-file", "keys.pass")
    assert "1 node" in call("check-config", "-c", "pbal.toml", *more, cwd=keyed).stdout


def test_a_key_that_no_node_has_is_called_that(site: Path) -> None:
    call("keys", "create", "-c", "pbal.toml", cwd=site)
    drawn = call("keys", "add", "257", EUI, "-c", "pbal.toml", cwd=site)
    assert "No node has this key" in drawn.stdout
    assert "pbal provision add --address 257" in drawn.stdout
    (site / "root").write_text("ab" * 32)
    given = call("keys", "add", "258", EUI, "--root-file", "root", "-c", "pbal.toml", cwd=site)
    assert given.returncode == 0
    assert "No node" not in given.stdout


def test_version_and_short_help(site: Path) -> None:
    assert call("--version", cwd=site).stdout == call("version", cwd=site).stdout != ""
    assert "check-config" in call("-h", cwd=site).stdout
    assert "rotate-group" in call("keys", "-h", cwd=site).stdout


def test_what_may_pass_and_what_only_a_person_mends(site: Path) -> None:
    """systemd tries again after the one, and leaves the unit failed after the other."""
    unit = Path(__file__).parents[3] / "pi_controller" / "systemd" / "pbal-controller.service"
    (line,) = [x for x in unit.read_text().splitlines() if x.startswith("RestartPreventExit")]
    final = {int(code) for code in line.partition("=")[2].split()}
    assert final == {ConfigError.exit_code, KeyStoreError.exit_code, JournalError.exit_code}
    (site / "j.db").mkdir()  # as good as a disk that is not there
    call("keys", "create", "-c", "pbal.toml", cwd=site)
    done = call("run", "-c", "pbal.toml", cwd=site)
    assert done.returncode == JournalUnavailable.exit_code
    assert done.returncode not in final
    assert "cannot be opened" in done.stderr


def test_a_command_makes_no_journal(site: Path) -> None:
    """A backup of it, or a release in it, would seem to have worked."""
    for words in (["adopt"], ["backup", "copy.db"], ["lift", "5"], ["rollout"]):
        assert call(*words, "-c", "pbal.toml", cwd=site).returncode == 9
    assert not (site / "j.db").exists()
    assert not (site / "copy.db").exists()


def test_nothing_to_do(site: Path) -> None:
    Journal(site / "j.db").close()
    for address, why in (
        ("257", "not in quarantine and not in doubt"),
        ("99", "not in the config"),
    ):
        done = call("lift", address, "-c", "pbal.toml", cwd=site)
        assert done.returncode == 6
        assert f"home {address} is {why}" in done.stderr
    done = call("rollout", "--json", "-c", "pbal.toml", cwd=site)
    assert (done.returncode, json.loads(done.stdout)) == (6, [])


def test_what_is_asked_of_a_rollout_is_json_when_asked_so(site: Path) -> None:
    journal = Journal(site / "j.db")
    rollout_store.add(journal, "ab", "1.2.3", "x.pbal", "running")
    journal.close()
    done = call("rollout", "pause", "--json", "-c", "pbal.toml", cwd=site)
    assert json.loads(done.stdout) == {"version": "1.2.3", "asked": "pause"}
