"""The radio's drivers, each as its project publishes it, behind one small interface.

rfm9x is adafruit-circuitpython-rfm9x (MIT). What it calls its header are a frame's first four
bytes; it keeps one received frame, so its owner polls it often (radio.py). pyLoRa is AGPL: it is
loaded only where the configuration names it.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from pbal_controller.bearers.lora.driver import REG_RSSI_VALUE, Driver, Received, checked
from pbal_controller.bearers.lora.hats import Hat
from pbal_controller.bearers.lora.settings import RadioConfig
from pbal_controller.errors import BearerError, RadioError
from pbal_protocol.radio.airtime import low_data_rate, time_on_air_us

_HEADER = 4
# rfm9x counts 3 dB too much below 21: its tx_power of 20 are 17 dBm (data sheet, section 5.4.2).
_TX_POWER_ABOVE_DB = 3
_XMIT_SLACK_S = 0.5
# Values of RegOpMode and of DIO0's bits in RegDioMapping1.
_CAD, _CAD_DONE = 0b111, 0b10
# A search takes two symbols: 33 ms at SF11.
_CAD_S, _CAD_LOOK_S = 0.3, 0.001


def opened(config: RadioConfig, hat: Hat) -> Driver:
    """The configured driver on its chip. Raises BearerError: one line, with the remedy."""
    try:
        for hz, _bw_hz in (config.up, config.down):
            hat.check_band(hz)
    except ValueError as error:
        raise BearerError(str(error)) from None
    if config.driver == "pylora":
        from pbal_controller.bearers.lora.pylora import PyLora

        return PyLora(config, hat)
    return Rfm9x(config, hat)


def _not_permitted() -> BearerError:
    return BearerError("SPI or GPIO may not be opened; put the user into the groups spi and gpio")


class Rfm9x:
    """adafruit-circuitpython-rfm9x on Blinka's busio and digitalio."""

    def __init__(self, config: RadioConfig, hat: Hat) -> None:
        try:
            adafruit_rfm9x: Any = importlib.import_module("adafruit_rfm9x")
            board: Any = importlib.import_module("board")
            busio: Any = importlib.import_module("busio")
            digitalio: Any = importlib.import_module("digitalio")
        except ImportError as error:
            raise BearerError(
                f"the radio's driver is not installed ({error}); pip install 'pbal[pi]'"
            ) from None
        except (NotImplementedError, RuntimeError, OSError) as error:
            raise RadioError(
                f"this computer has no SPI and GPIO that the radio's driver knows ({error}); the "
                "hat belongs on a Raspberry Pi"
            ) from None
        self._config, self._hat = config, hat
        self._pins: list[Any] = []
        self._spi: Any = None
        hz, bw_hz = config.up

        def pin(number: int) -> Any:
            made = digitalio.DigitalInOut(getattr(board, f"D{number}"))
            self._pins.append(made)
            return made

        try:
            self._spi = busio.SPI(board.SCK, MOSI=board.MOSI, MISO=board.MISO)
        except PermissionError:
            raise _not_permitted() from None
        except (OSError, ValueError, AttributeError) as error:
            # Blinka says of a device that is not there that it "does not exist", without a number.
            raise RadioError(
                f"no SPI device for {hat.name} ({error}); add {hat.overlay} to "
                "/boot/firmware/config.txt and start the computer again"
            ) from None
        try:
            self._radio = adafruit_rfm9x.RFM9x(
                self._spi, pin(hat.cs), pin(hat.reset), hz / 1e6, preamble_length=8,
                baudrate=hat.baud, agc=True, crc=True,
            )  # fmt: skip
            self._dio0 = None if hat.dio0 is None else pin(hat.dio0)
            if self._dio0 is not None:
                self._dio0.switch_to_input()
        except PermissionError:
            self.close()
            raise _not_permitted() from None
        except (RuntimeError, OSError, ValueError, AttributeError) as error:
            self.close()
            raise RadioError(
                f"no radio answers on {hat.name}: chip select BCM {hat.cs}, reset BCM {hat.reset} "
                f"({error}); is the hat on, and is it this one? (hat = ... in [radio.*])"
            ) from None
        self._radio.signal_bandwidth = bw_hz
        self._radio.coding_rate = 5
        self._radio.tx_power = config.power_dbm + _TX_POWER_ABOVE_DB
        self._bw_hz = bw_hz
        self._sf = 0
        self._hz = hz
        self.tune(hz, config.sf)

    def _set(self, hz: int, sf: int) -> None:
        radio = self._radio
        radio.idle()
        if hz != self._hz:
            radio.frequency_mhz = hz / 1e6
            self._hz = hz
        if sf != self._sf:
            radio.spreading_factor = sf
            # The driver leaves it as it is; frames of SF11 and SF12 need it.
            radio.low_datarate_optimize = 1 if low_data_rate(sf, self._bw_hz) else 0
            self._sf = sf

    def tune(self, hz: int, sf: int) -> None:
        if (hz, sf) == (self._hz, self._sf):
            self._radio.listen()
            return
        self._set(hz, sf)
        self._radio.listen()

    def send(self, frame: bytes, hz: int, sf: int) -> float:
        checked(frame)
        self._set(hz, sf)
        us = time_on_air_us(len(frame), sf, self._bw_hz)
        self._radio.xmit_timeout = us / 1e6 + _XMIT_SLACK_S
        to, node, identifier, flags = frame[:_HEADER]
        sent = self._radio.send(
            frame[_HEADER:], destination=to, node=node, identifier=identifier, flags=flags
        )
        end_s = time.monotonic()
        if not sent:
            raise BearerError("the radio does not end a transmission; is its supply good?")
        return end_s

    def ready(self) -> bool:
        return bool(self._radio.rx_done() if self._dio0 is None else self._dio0.value)

    def take(self) -> Received | None:
        end_s = time.monotonic()
        frame = self._radio.receive(with_header=True, timeout=0)
        if frame is None:
            return None
        snr = self._radio.last_snr
        # The driver's RSSI leaves out that below the noise the ratio counts (section 5.5.5).
        rssi = self._radio.last_rssi + min(0.0, snr)
        return Received(bytes(frame), end_s, rssi, snr, self._sf)

    def power_dbm(self) -> float:
        radio = self._radio
        offset = 164 if radio.low_frequency_mode else 157
        return float(radio._read_u8(REG_RSSI_VALUE) - offset)

    def describe(self) -> str:
        hat = self._hat
        return f"SX127x on {hat.title} (chip select BCM {hat.cs}), {self._hz / 1e6:.4f} MHz"

    def check(self) -> None:
        """Nothing is sent: a search for activity on the channel ends with CadDone, which DIO0 shows
        where it is mapped to it (data sheet, 4.1.2.3 and table 18); a reset leaves LoRa mode.
        """
        radio, hat = self._radio, self._hat
        radio.idle()
        if self._dio0 is not None:
            radio.dio0_mapping = _CAD_DONE
            if self._dio0.value:
                raise RadioError(
                    f"DIO0 of {hat.name} (BCM {hat.dio0}) is high though the radio rests; another "
                    "pin is wired there (dio0 = ... in the hat's file)"
                )
            radio.operation_mode = _CAD
            end_s = time.monotonic() + _CAD_S
            while not self._dio0.value:
                if time.monotonic() > end_s:
                    raise RadioError(
                        f"the radio answers on {hat.name}, but its DIO0 does not (BCM {hat.dio0}); "
                        "look at that wire, or at dio0 = ... in the hat's file"
                    )
                time.sleep(_CAD_LOOK_S)
        radio.reset()
        if radio.long_range_mode:
            raise RadioError(
                f"the radio answers on {hat.name}, but not its reset pin (BCM {hat.reset}); look "
                "at that wire, or at reset = ... in the hat's file"
            )

    def close(self) -> None:
        for each in [*self._pins, self._spi]:
            release = getattr(each, "deinit", None)
            if release is not None:
                release()
