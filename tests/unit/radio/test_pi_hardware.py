"""`pbal-controller check-config --hardware` on emulated SPI and GPIO: what is missing is one line.

The controller's own driver, rfm9x, is run as it is installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs import needs

from pbal_controller import cli
from pbal_controller.bearers.lora import drivers, load_hat
from pbal_sim.radio import Pi, Sx1276

from .conftest import Place

_HAT = "adafruit-rfm95w-bonnet"


@contextlib.contextmanager
def a_pi(place: Place, monkeypatch: pytest.MonkeyPatch, pi: Pi) -> Iterator[None]:
    """The drivers' modules, loaded afresh on this Pi, their time the virtual one."""
    needs.require_module("adafruit_rfm9x", "pi")

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "adafruit_rfm9x"]:
            del sys.modules[name]

    forget()
    place.clock.watch.append(pi.pump)
    time = place.clock.time_module()
    monkeypatch.setattr(drivers, "time", time)
    with pi.installed():
        import adafruit_rfm9x

        monkeypatch.setattr(adafruit_rfm9x, "time", time)
        yield
    place.clock.watch.remove(pi.pump)
    forget()


@dataclasses.dataclass
class Wiring:
    """How the hat is really wired; the defaults are those of the bonnet's file."""

    cs: int = 7
    reset: int = 25
    dio0: int = 22
    devices: tuple[tuple[int, int], ...] = ((0, 0), (0, 1))
    there: bool = True


def run(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    folder: Path, wiring: Wiring,
) -> tuple[int, str, str]:  # fmt: skip
    """The command's exit code, output and errors."""
    pi = Pi(place.clock.advance, devices=wiring.devices)
    chip = Sx1276(place.air, "pi")
    if wiring.there:
        pi.wire(
            chip, select_pin=wiring.cs, select=1, reset_pin=wiring.reset, dio_pins=(wiring.dio0,)
        )
    config = folder / "pbal.toml"
    config.write_text(
        f'[site]\nid = 1\n[keys]\nfile = "{folder / "keys.json"}"\n'
        f'[radio.village]\nregion = "IN865"\nhat = "{_HAT}"\n'
    )
    monkeypatch.setattr(cli, "check_keys", lambda *_: "")
    monkeypatch.setattr(sys, "argv", ["pbal-controller", "check-config", "--hardware", "--config",
                                      str(config)])  # fmt: skip
    with a_pi(place, monkeypatch, pi), pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert chip.transmitted == 0
    return int(ended.value.code or 0), told.out, told.err


def test_a_hat_as_its_file_has_it_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    code, out, err = run(place, monkeypatch, capsys, tmp_path, Wiring())
    assert code == 0, err
    assert "radio village: SX127x on Adafruit RFM95W bonnet" in out


@pytest.mark.parametrize(
    ("wiring", "said"),
    [
        (Wiring(there=False), "no radio answers on adafruit-rfm95w-bonnet"),
        (Wiring(cs=8), "no radio answers on adafruit-rfm95w-bonnet"),
        (Wiring(devices=()), "dtparam=spi=on"),
        (Wiring(dio0=24), "its DIO0 does not (BCM 22)"),
        (Wiring(reset=24), "not its reset pin (BCM 25)"),
    ],
    ids=["no hat", "another hat", "no SPI", "DIO0", "reset"],
)
def test_what_is_missing_is_one_line_and_an_exit_code(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, wiring: Wiring, said: str,
) -> None:  # fmt: skip
    code, out, err = run(place, monkeypatch, capsys, tmp_path, wiring)
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert code == 10
    assert "radio village" not in out


def test_the_shipped_hats_say_which_pins() -> None:
    assert (load_hat(_HAT).cs, load_hat(_HAT).reset, load_hat(_HAT).dio0) == (7, 25, 22)
