"""Commands for the Pi: a site's files in place, and how the running controller does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pbal_controller import onsite
from pbal_controller.errors import ConfigError, ControllerError, KeyStoreError
from pbal_controller.keys import KeyStore

app = typer.Typer()
app.command()(onsite.setup)
app.command()(onsite.health)


def call(*words: object) -> tuple[int, str]:
    """Exit code and words, as main() would give them."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, ControllerError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "brought"
    made.mkdir()
    store = KeyStore.create(made / "keys.json", b"secret", 7, log2_n=12)
    store.add(257, "a4cf12fffe000011", bytes(range(32)))
    (made / "pbal.toml").write_text(
        f"[site]\nid = 7\n[keys]\nfile = '{tmp_path}/lib/keys.json'\n[bus.a]\nport = '/nowhere'\n"
        "[[home]]\naddress = 257\nbus = 'a'\n"
    )
    (made / "secret").write_text("secret\n")
    return made


def set_up(folder: Path, secret: str = "secret") -> tuple[int, str]:
    return call(
        "setup", folder, "--config", folder.parent / "etc" / "pbal.toml",
        "--passphrase-file", folder / secret,
    )  # fmt: skip


def test_setup_puts_everything_in_place(folder: Path) -> None:
    code, said = set_up(folder)
    assert code == 0, said
    assert "1 node" in said
    there = folder.parent
    assert (there / "lib/keys.json").read_bytes() == (folder / "keys.json").read_bytes()
    assert (there / "etc/pbal.toml").read_text() == (folder / "pbal.toml").read_text()
    for name in ("lib/keys.json", "etc/keys.pass"):
        assert (there / name).stat().st_mode & 0o777 == 0o600
    # Once more is no harm: the key store is the same.
    assert set_up(folder)[0] == 0


def test_setup_writes_nothing_where_a_check_fails(folder: Path) -> None:
    (folder / "wrong").write_text("guess\n")
    assert set_up(folder, "wrong")[0] == KeyStoreError.exit_code
    (folder / "pbal.toml").write_text((folder / "pbal.toml").read_text().replace("257", "258"))
    code, said = set_up(folder)
    assert code == KeyStoreError.exit_code
    assert "no key for home 258" in said
    (folder / "pbal.toml").unlink()
    assert set_up(folder)[0] == ConfigError.exit_code
    assert not (folder.parent / "etc").exists()
    assert not (folder.parent / "lib").exists()


def test_setup_never_replaces_another_key_store(folder: Path) -> None:
    there = folder.parent / "lib" / "keys.json"
    there.parent.mkdir()
    there.write_text("the original\n")
    code, said = set_up(folder)
    assert code == KeyStoreError.exit_code
    assert "is there already" in said
    assert there.read_text() == "the original\n"


STATUS: dict[str, Any] = {
    "version": "9.9", "late_loops": [], "why_no_commands": "", "buses": [], "homes_configured": 3,
    "homes_alive": 2,
}  # fmt: skip


@pytest.fixture
def controller(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A status server that says what the test wants, and asks for the token."""
    status = dict(STATUS)
    token = "t" * 40

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {token}"
            body = json.dumps(status).encode()
            self.send_response(200 if allowed and self.path == "/api/status" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    (folder / "token").write_text(token)
    config = folder / "pbal.toml"
    config.write_text(
        config.read_text() + f"[http]\nport = {server.server_port}\ntoken_file = 'token'\n"
    )
    yield config, status
    server.shutdown()
    thread.join()
    server.server_close()


def test_health(controller: tuple[Path, dict[str, Any]]) -> None:
    config, status = controller
    code, said = call("health", "--config", config)
    assert (code, said) == (0, "ok\n2 of 3 homes answer\n")
    status["why_no_commands"] = "the clock is not set"
    code, said = call("health", "--config", config)
    assert code == 6
    assert "nothing is ordered: the clock is not set" in said
    status["late_loops"] = ["planner"]
    code, said = call("health", "--config", config, "--json")
    assert code == 6
    assert json.loads(said) == {
        "answers": True, "version": "9.9", "late": ["planner"], "homes": 3, "homes_alive": 2,
        "nothing_ordered": "the clock is not set", "follows": False, "bearers_down": {},
    }  # fmt: skip
    status["why_no_commands"], status["late_loops"] = "", []
    why = "/dev/ttyUSB0: no such file; check the cable"
    status["buses"] = [
        {"name": "south", "state": "open", "last_error": ""},
        {"name": "north", "state": "waiting", "last_error": why},
        {"name": "none", "kind": "null"},
    ]
    code, said = call("health", "--config", config)
    assert code == 6
    assert said == f"north cannot be used: {why}\n2 of 3 homes answer\n"
    status["buses"] = []
    # One that follows another orders nothing, and is well as long as it could take over.
    status["late_loops"] = []
    status["standby"] = {"serving": False, "why_not_ready": ""}
    code, said = call("health", "--config", config)
    assert code == 0
    assert "the other controller of this site is at work" in said
    status["standby"] = {"serving": False, "why_not_ready": "no copy"}
    assert call("health", "--config", config)[0] == 6


def test_health_of_none(folder: Path) -> None:
    config = folder / "pbal.toml"
    config.write_text(config.read_text() + "[http]\nport = 1\n")
    code, said = call("health", "--config", config)
    assert code == 5
    assert "no controller answers at http://127.0.0.1:1" in said
    code, said = call("health", "--config", config, "--json")
    assert code == 5
    assert json.loads(said)["answers"] is False
