"""Radio boards for a Raspberry Pi are data: `boards/hats/` of a checkout or an installation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pydantic import Field, ValidationError

from pbal_controller.documents import DocumentError, read_toml
from pbal_host.tables import Table, complaint

_CHECKOUT = Path(__file__).resolve().parents[4]


class Hat(Table):
    """How a radio is wired. Pins are BCM numbers of the Pi's header."""

    name: str
    title: str
    source: str
    spi: int = Field(default=0, ge=0, le=1)
    # The chip select: a pin, and its number on the SPI bus (None: not one of the bus's own).
    cs: int = Field(ge=0, le=27)
    reset: int = Field(ge=0, le=27)
    dio0: int | None = Field(default=None, ge=0, le=27)
    band_mhz: tuple[float, float] = (862.0, 1020.0)
    baud: int = Field(default=5_000_000, ge=100_000, le=10_000_000)
    # Line of /boot/firmware/config.txt without which the radio is not there.
    overlay: str = "dtparam=spi=on"

    def check_band(self, hz: int) -> None:
        """Raises ValueError for a frequency that its module is not made for."""
        low, high = self.band_mhz
        if not low <= hz / 1e6 <= high:
            raise ValueError(
                f"{hz / 1e6:.3f} MHz: the radio of {self.name} is made for {low:g} to {high:g}; "
                "choose another region or hat"
            )


def folder() -> Path:
    """Where the hats are. Raises ValueError."""
    here = _CHECKOUT / "boards" / "hats"
    if here.is_dir():
        return here
    spec = importlib.util.find_spec("pbal_boards")
    for where in (spec.submodule_search_locations or []) if spec else []:
        if (Path(where) / "hats").is_dir():
            return Path(where) / "hats"
    raise ValueError("the hats' files are not installed; install pbal again")


def load_hat(name: str) -> Hat:
    """A hat by its name, or by the path of a file that ends in `.toml`. Raises ValueError."""
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    try:
        return Hat.model_validate(read_toml(path))
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in folder().glob("*.toml")))
        raise ValueError(
            f"there is no hat {name!r}; known: {known}, or the path of a file of your own (copy "
            "boards/hats/plain-rfm95.toml)"
        ) from None
    except (OSError, DocumentError) as error:
        raise ValueError(f"{path}: not a hat: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{path}: {complaint(first, Hat, 'hat')}") from None
