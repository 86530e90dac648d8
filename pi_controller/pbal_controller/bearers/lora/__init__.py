"""LoRa: homes that take turns on one channel, behind one radio on the computer's SPI.

Importing this package loads no driver; making a bearer does.
"""

from __future__ import annotations

from pbal_controller.bearers.base import Bearer, Traffic
from pbal_controller.bearers.kinds import Kind
from pbal_controller.bearers.lora.driver import Received
from pbal_controller.bearers.lora.hats import load_hat
from pbal_controller.bearers.lora.neighbours import Neighbours
from pbal_controller.bearers.lora.radio import RadioThread
from pbal_controller.bearers.lora.settings import ANSWER_BYTES, SLOWEST, RadioConfig, locate
from pbal_controller.errors import BearerError


def make(name: str, config: RadioConfig, traffic: Traffic) -> Bearer:
    """The owner of one radio. Opens nothing."""
    from pbal_controller.bearers.lora.bearer import LoraBearer

    return LoraBearer(name, config, traffic)


def probe(config: RadioConfig) -> str:
    """Open the radio, look at its pins, and say what was found; raises BearerError with what is
    wrong."""
    from pbal_controller.bearers.lora.drivers import opened

    try:
        driver = opened(config, load_hat(config.hat))
    except ValueError as error:
        raise BearerError(str(error)) from None
    try:
        driver.check()
        return driver.describe()
    finally:
        driver.close()


def radio_of(config: RadioConfig) -> RadioThread:
    """A radio without a bearer, for a link between sites. Nothing is opened before `start`."""
    from pbal_controller.bearers.lora.drivers import opened

    return RadioThread(lambda: opened(config, load_hat(config.hat)), config.queue)


KIND = Kind("lora", RadioConfig, locate, make)

__all__ = [
    "ANSWER_BYTES",
    "KIND",
    "SLOWEST",
    "Neighbours",
    "RadioConfig",
    "RadioThread",
    "Received",
    "load_hat",
    "probe",
    "radio_of",
]
