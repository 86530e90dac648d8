"""Radios in the configuration: what is refused, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbal_controller.bearers.lora import RadioConfig, load_hat, probe
from pbal_controller.config import HomeConfig, load
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.homes import Fleet, Home

from .test_bearers import home, write
from .test_lora import RADIO


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('region = "EU433"', "no radio plan 'EU433'"),
        ('region = "IN865"\nchannel = 3', "IN865 has 0 to 2"),
        ('region = "AS923"\npower_dbm = 17', "16.00 dBm EIRP"),
        ('region = "AS923"\npower_dbm = 13\nsf = 10', "use a lower sf"),
        ('region = "IN865"\nhat = "nobody"', "there is no hat 'nobody'; known: adafruit"),
        ('region = "IN865"\nsf = 12', "must be at most 11"),
    ],
)
def test_what_no_radio_can_do_is_refused(tmp_path: Path, table: str, words: str) -> None:
    path = write(tmp_path, f"[radio.air]\n{table}", home(1, '{ bearer = "air" }'))
    with pytest.raises(ConfigError, match=words):
        load(path, {})


def test_two_radios_need_two_hats(tmp_path: Path) -> None:
    tables = "".join(f'[radio.{name}]\nregion = "IN865"\n' for name in ("a", "b"))
    with pytest.raises(ConfigError, match="radio a and radio b are on one chip select"):
        load(write(tmp_path, tables, home(1, '{ bearer = "a" }')), {})


def radios(folder: Path, *channels: int) -> str:
    """So many radios, each on a hat of its own."""
    hats = ("adafruit-rfm95w-bonnet", "dragino-lora-gps", "plain-rfm95")
    tables = ""
    for number, channel in enumerate(channels):
        hat = hats[number]
        if number >= 2:
            hat = str(folder / f"hat{number}.toml")
        tables += f'[radio.r{number}]\nregion = "AS923"\npower_dbm = 13\nsf = 7\n'
        tables += f'channel = {channel}\nhat = "{hat}"\n'
    return tables


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ((0, 0), "radio r0 and radio r1 are both on channel 0 of AS923.*free are 1"),
        ((0, 1, 1), "radio r1 and radio r2 are both on channel 1 .*AS923 has no other left"),
    ],
)
def test_two_radios_on_one_channel_are_refused(
    tmp_path: Path, channels: tuple[int, ...], words: str
) -> None:
    (tmp_path / "hat2.toml").write_text(
        'name = "mine"\ntitle = "mine"\nsource = "mine"\ncs = 8\nreset = 24\n'
    )
    path = write(tmp_path, radios(tmp_path, *channels), home(1, '{ bearer = "r0" }'))
    with pytest.raises(ConfigError, match=words):
        load(path, {})


def test_a_module_for_another_band_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    hat = tmp_path / "hat.toml"
    hat.write_text(
        'name = "low"\ntitle = "a 433 MHz module"\nsource = "mine"\ncs = 8\nreset = 24\n'
        "band_mhz = [410.0, 525.0]\n"
    )
    table = f'[radio.air]\nregion = "IN865"\nhat = "{hat}"\n'
    words = "865.062 MHz: the radio of low is made for 410 to 525; choose another region or hat"
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path, table, home(1, '{ bearer = "air" }')), {})
    for driver in ("rfm9x", "pylora"):
        with pytest.raises(BearerError, match=words):
            probe(RadioConfig(region="IN865", hat=str(hat), driver=driver))


def test_one_address_for_two_homes_on_a_radio_is_refused(tmp_path: Path) -> None:
    both = home(1, '{ bearer = "air" }') * 2
    with pytest.raises(ConfigError, match="address 1"):
        load(write(tmp_path, RADIO, both), {})


def test_every_hat_can_be_loaded_and_a_radio_that_is_not_there_is_one_line() -> None:
    for name in ("adafruit-rfm95w-bonnet", "dragino-lora-gps", "plain-rfm95"):
        assert load_hat(name).name == name
        with pytest.raises(BearerError) as failure:
            probe(RadioConfig(region="IN865", hat=name))
        assert "\n" not in str(failure.value)


def test_a_home_that_was_heard_and_not_read_has_no_age() -> None:
    """It made the 95 % of all ages infinite, which JSON cannot say: shown as "?"."""
    read, heard = (
        Home(HomeConfig(address=a, paths=[{"bearer": "air"}]), None, alive=True) for a in (1, 2)
    )
    read.sampled_at = 100.0
    fleet = Fleet([read, heard])
    fleet.sample_ages(102.0)
    assert fleet.age_p95_s() == (2.0, 2.0)
