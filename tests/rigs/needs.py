"""What a test may need from the computer it runs on, and what happens where it is missing.

With CI=true a missing program or package is a failure: there everything should be installed.
Elsewhere the test skips and says what would make it run. The reference data beside the
checkout is not part of the project, so tests that use it skip wherever it is absent.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV_BIN = ROOT / ".venv" / "bin"
# For what comes within a moment on a quiet computer. Tests run at idle priority beside others that
# run in real time, so a shorter wait fails without a defect.
PATIENCE_S = 120.0


def in_ci() -> bool:
    """True where a missing component is a failure."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def long_tests() -> bool:
    """True where the tests that take long run, too."""
    return in_ci() or os.environ.get("PBAL_LONG", "") not in ("", "0")


def campaign(variable: str, full: int) -> int:
    """Size of a random campaign: as the variable says; `full` where long tests run, else 1/5."""
    return int(os.environ.get(variable, str(full if long_tests() else full // 5)))


def missing(what: str, remedy: str) -> None:
    """Fails the test in CI and skips it elsewhere."""
    if in_ci():
        pytest.fail(f"{what} is missing, and CI=true asks for it. {remedy}")
    pytest.skip(f"{what} is missing. {remedy}")


def require_tool(name: str, package: str = "") -> str:
    """The path of a program, from the environment's own folder or from PATH."""
    own = VENV_BIN / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        missing(f"the program {name}", f"Debian package: {package or name}.")
    assert found is not None
    return found


def require_module(name: str, extra: str) -> None:
    """Goes on only where an optional Python package is installed."""
    if importlib.util.find_spec(name) is None:
        missing(f"the package {name}", f"Extra: pbal[{extra}].")


def require_file(path: str | Path, package: str) -> Path:
    """Goes on only where a file of a Debian package is installed."""
    if not Path(path).exists():
        missing(f"the file {path}", f"Debian package: {package}.")
    return Path(path)


def require_shared(*parts: str) -> Path:
    """A file or folder of the reference data beside the checkout, else the test skips."""
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"the reference data {'/'.join(parts)} is not beside this checkout")
    return path
