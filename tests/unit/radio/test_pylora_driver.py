"""pyLoRa as the controller's driver: unmodified, on an emulated chip, in virtual time.

It is AGPL: never installed unless asked for by name, so this skips wherever it is not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator

import pytest

from pbal_controller.bearers.lora import RadioConfig, load_hat
from pbal_controller.bearers.lora import pylora as ours
from pbal_controller.errors import BearerError
from pbal_sim.radio import Pi, Sx1276

from .conftest import Place

HZ = 865_062_500
FRAME = bytes(range(1, 40))

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("SX127x") is None,
    reason="pyLoRa is not installed (AGPL, only when asked for): pip install 'pbal[pylora]'",
)


def config(**more: object) -> RadioConfig:
    return RadioConfig(region="IN865", sf=9, driver="pylora", **more)  # type: ignore[arg-type]


@contextlib.contextmanager
def on_a_pi(place: Place, monkeypatch: pytest.MonkeyPatch, pi: Pi) -> Iterator[None]:
    """pyLoRa's modules, loaded afresh on this Pi, and virtual time for both."""
    place.clock.watch.append(pi.pump)
    monkeypatch.setattr(ours, "time", place.clock.time_module())
    for name in [name for name in sys.modules if name.split(".")[0] == "SX127x"]:
        monkeypatch.delitem(sys.modules, name)
    with pi.installed():
        # Its reset waits; also where it is imported again.
        monkeypatch.setattr(time, "sleep", place.clock.time_module().sleep)
        yield
    place.clock.watch.remove(pi.pump)
    for name in [name for name in sys.modules if name.split(".")[0] == "SX127x"]:
        del sys.modules[name]


@pytest.fixture
def driver(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[ours.PyLora]:
    pi = Pi(place.clock.advance)
    pi.wire(Sx1276(place.air, "pi"))
    with on_a_pi(place, monkeypatch, pi):
        made = ours.PyLora(config(power_dbm=14), load_hat("plain-rfm95"))
        yield made
        made.close()


def test_it_hears_what_is_sent_while_it_listens(place: Place, driver: ours.PyLora) -> None:
    other = place.chip("other", 200.0)
    for sf, size in ((9, 39), (7, 110), (10, 20)):
        driver.tune(HZ, sf)
        place.clock.advance(2000)
        assert not driver.ready()
        other.tune(HZ, sf)
        data = bytes((i * 3 + size) & 0xFF for i in range(size))
        other.send(data)
        place.clock.advance(3_000_000)
        assert driver.ready()
        heard = driver.take()
        assert heard is not None
        assert (heard.frame, heard.sf) == (data, sf)
        # Not the driver's own figure, which is wrong above 0 dB.
        assert heard.snr_db == 12.0
        assert -90 < heard.rssi_dbm < -20
        assert not driver.ready()
        # It goes on listening.
        other.send(data[::-1])
        place.clock.advance(3_000_000)
        again = driver.take()
        assert again is not None
        assert again.frame == data[::-1]


def test_it_sends_and_says_when_the_frame_ended(place: Place, driver: ours.PyLora) -> None:
    other = place.chip("other", 200.0)
    for sf in (7, 9):
        other.tune(HZ, sf)
        other.listen()
        end_s = driver.send(FRAME, HZ, sf)
        sent = place.air.sent[-1]
        assert (sent.payload, sent.tuning.sf, sent.tuning.hz) == (
            FRAME,
            sf,
            pytest.approx(HZ, abs=62),
        )
        assert end_s == pytest.approx(sent.end_us / 1e6, abs=0.005)
        assert sent.power_dbm == pytest.approx(14.0)
        assert other.received() == FRAME


def test_a_frame_too_long_is_refused_and_nothing_is_sent(place: Place, driver: ours.PyLora) -> None:
    before = place.air.total
    with pytest.raises(BearerError, match="a frame of 256 bytes: a LoRa frame has 5 to 255"):
        driver.send(bytes(256), HZ, 9)
    assert place.air.total == before


def test_it_can_be_opened_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the bearer does after a fault."""
    pi = Pi(place.clock.advance)
    pi.wire(Sx1276(place.air, "pi"))
    other = place.chip("other", 200.0)
    other.tune(HZ, 9)
    with on_a_pi(place, monkeypatch, pi):
        for _ in range(2):
            made = ours.PyLora(config(), load_hat("plain-rfm95"))
            other.listen()
            made.send(FRAME, HZ, 9)
            assert other.received() == FRAME
            made.close()


def test_a_damaged_frame_is_none(place: Place, driver: ours.PyLora) -> None:
    driver.tune(HZ, 7)
    place.clock.advance(2000)
    one, two = place.chip("one", -100.0), place.chip("two", 100.0)
    for each in (one, two):
        each.tune(HZ, 7)
    one.send(bytes(60))
    place.clock.advance(60_000)
    two.send(bytes(60))
    place.clock.advance(200_000)
    assert driver.ready()
    assert driver.take() is None
    assert not driver.ready()


def test_no_spi_and_no_hat_are_one_line_each(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_pi(place, monkeypatch, Pi(place.clock.advance, devices=())):
        with pytest.raises(BearerError, match=r"no SPI device .*dtparam=spi=on") as failure:
            ours.PyLora(config(), load_hat("plain-rfm95"))
        assert "\n" not in str(failure.value)
    with on_a_pi(place, monkeypatch, Pi(place.clock.advance)):
        with pytest.raises(BearerError, match=r"no radio answers on SPI 0\.0") as failure:
            ours.PyLora(config(), load_hat("plain-rfm95"))
        assert "\n" not in str(failure.value)
