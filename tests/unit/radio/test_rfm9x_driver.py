"""rfm9x as the controller's driver: unmodified, on an emulated chip, in virtual time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from rigs import needs

from pbal_controller.bearers.lora import RadioConfig, drivers, load_hat
from pbal_controller.errors import BearerError
from pbal_sim.radio import Pi, Sx1276

from .conftest import Place

HZ = 865_062_500
HAT = "adafruit-rfm95w-bonnet"


def forget() -> None:
    """So that it is imported on the next Pi."""
    for name in [name for name in sys.modules if name.split(".")[0] == "adafruit_rfm9x"]:
        del sys.modules[name]


@pytest.fixture
def make(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., drivers.Rfm9x]]:
    """Opens the driver on a Pi with the bonnet, with some settings of the radio."""
    needs.require_module("adafruit_rfm9x", "pi")
    pi = Pi(place.clock.advance, devices=((0, 0), (0, 1)))
    pi.wire(Sx1276(place.air, "pi"), select_pin=7, select=1, reset_pin=25, dio_pins=(22,))
    forget()
    place.clock.watch.append(pi.pump)
    time = place.clock.time_module()
    monkeypatch.setattr(drivers, "time", time)
    made: list[drivers.Rfm9x] = []
    with pi.installed():
        import adafruit_rfm9x

        monkeypatch.setattr(adafruit_rfm9x, "time", time)

        def opened(**settings: object) -> drivers.Rfm9x:
            config = RadioConfig(region="IN865", hat=HAT, **settings)  # type: ignore[arg-type]
            made.append(drivers.Rfm9x(config, load_hat(HAT)))
            return made[-1]

        yield opened
        for each in made:
            each.close()
    place.clock.watch.remove(pi.pump)
    forget()


@pytest.mark.parametrize("dbm", range(5, 18))
def test_it_sends_with_the_power_that_is_set(
    place: Place, make: Callable[..., drivers.Rfm9x], dbm: int
) -> None:
    """rfm9x's own scale ends 3 dB lower: homes at the rim would not hear their beacons."""
    make(power_dbm=dbm).send(bytes(20), HZ, 9)
    assert place.air.sent[-1].power_dbm == pytest.approx(dbm)


@pytest.mark.parametrize("size", [0, 4, 256, 300])
def test_a_frame_that_is_none_is_refused_and_nothing_is_sent(
    place: Place, make: Callable[..., drivers.Rfm9x], size: int
) -> None:
    driver = make()
    other = place.chip("other", 100.0)
    with pytest.raises(BearerError, match=f"a frame of {size} bytes: a LoRa frame has 5 to 255"):
        driver.send(bytes(size), HZ, 9)
    assert place.air.total == 0
    # It goes on as if nothing had been: the longest frame is sent, and heard.
    other.tune(HZ, 7)
    other.listen()
    longest = bytes(range(255))
    driver.send(longest, HZ, 7)
    assert place.air.total == 1
    assert other.received() == longest
