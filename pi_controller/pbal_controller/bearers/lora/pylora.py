"""pyLoRa behind the drivers' interface. It is AGPL and only installed when it is asked for by name:
pip install 'pbal[pylora]'.

It reads and writes through its own SpiDev and its own pins (its BOARD: SPI 0.0, DIO0 on BCM 4,
reset on BCM 22), so only the module's band is read from the hat's file.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from pbal_controller.bearers.lora.driver import REG_RSSI_VALUE, Received, checked
from pbal_controller.bearers.lora.hats import Hat
from pbal_controller.bearers.lora.settings import RadioConfig
from pbal_controller.errors import BearerError, RadioError
from pbal_protocol.radio.airtime import BANDWIDTHS, low_data_rate, time_on_air_us

_SLACK_S = 0.5
_LOOK_S = 0.0005
_RSSI_OFFSET = 157
_REG_SNR = 0x19


class PyLora:
    """See drivers.Driver."""

    def __init__(self, config: RadioConfig, hat: Hat) -> None:
        try:
            names: Any = importlib.import_module("SX127x.constants")
            board: Any = importlib.import_module("SX127x.board_config").BOARD
            board.setup()
            board.reset()
            board.low_band = False
            # It opens the SPI device while it is imported.
            module: Any = importlib.import_module("SX127x.LoRa")
            radio = module.LoRa(verbose=False)
            if radio.get_version() != 0x12:
                raise RadioError("no radio answers on SPI 0.0; is the hat wired as pyLoRa has it?")
        except ImportError as error:
            raise BearerError(
                f"pyLoRa is not installed ({error}); it is AGPL: pip install 'pbal[pylora]', or "
                'driver = "rfm9x"'
            ) from None
        except FileNotFoundError as error:
            raise RadioError(
                f"no SPI device ({error}); add {hat.overlay} to /boot/firmware/config.txt and "
                "start the computer again"
            ) from None
        except PermissionError:
            raise BearerError(
                "SPI or GPIO may not be opened; put the user into the groups spi and gpio"
            ) from None
        except (OSError, RuntimeError) as error:
            raise RadioError(
                f"this computer has no SPI and GPIO that pyLoRa knows ({error}); the hat belongs "
                "on a Raspberry Pi"
            ) from None
        self._names, self._board, self._hat, self._radio = names, board, hat, radio
        hz, bw_hz = config.up
        self._hz, self._sf, self._bw_hz = 0, 0, bw_hz
        radio.set_mode(names.MODE.STDBY)
        radio.set_pa_config(pa_select=1, max_power=7, output_power=config.power_dbm - 2)
        radio.set_bw(BANDWIDTHS.index(bw_hz))
        radio.set_coding_rate(names.CODING_RATE.CR4_5)
        radio.set_rx_crc(True)
        radio.set_agc_auto_on(True)
        radio.set_fifo_tx_base_addr(0)
        radio.set_fifo_rx_base_addr(0)
        self.tune(hz, config.sf)

    def _set(self, hz: int, sf: int) -> None:
        radio = self._radio
        radio.mode = None  # it does not notice that a transmission ended
        radio.set_mode(self._names.MODE.STDBY)
        if hz != self._hz:
            radio.set_freq(hz / 1e6)
            self._hz = hz
        if sf != self._sf:
            radio.set_spreading_factor(sf)
            radio.set_low_data_rate_optim(low_data_rate(sf, self._bw_hz))
            self._sf = sf

    def _clear(self) -> None:
        self._radio.clear_irq_flags(RxDone=1, TxDone=1, PayloadCrcError=1, ValidHeader=1)

    def tune(self, hz: int, sf: int) -> None:
        self._set(hz, sf)
        self._radio.reset_ptr_rx()
        self._clear()
        self._radio.set_mode(self._names.MODE.RXCONT)

    def send(self, frame: bytes, hz: int, sf: int) -> float:
        checked(frame)
        self._set(hz, sf)
        radio = self._radio
        self._clear()
        radio.write_payload(list(frame))
        radio.set_mode(self._names.MODE.TX)
        us = time_on_air_us(len(frame), sf, self._bw_hz)
        latest = time.monotonic() + us / 1e6 + _SLACK_S
        while not radio.get_irq_flags()["tx_done"]:
            if time.monotonic() > latest:
                raise BearerError("the radio does not end a transmission; is its supply good?")
            time.sleep(_LOOK_S)
        end_s = time.monotonic()
        self._clear()
        return end_s

    def ready(self) -> bool:
        return bool(self._radio.get_irq_flags()["rx_done"])

    def take(self) -> Received | None:
        end_s = time.monotonic()
        radio = self._radio
        damaged = radio.get_irq_flags()["crc_error"]
        self._clear()
        frame = bytes(radio.read_payload(nocheck=True))
        if damaged:
            return None
        # The driver's own figure is wrong above 0 dB: the register is in two's complement.
        raw = radio.spi.xfer([_REG_SNR, 0])[1]
        snr = (raw - 256 if raw > 127 else raw) / 4
        rssi = radio.get_pkt_rssi_value() + min(0.0, snr)
        return Received(frame, end_s, rssi, snr, self._sf)

    def power_dbm(self) -> float:
        return float(self._radio.spi.xfer([REG_RSSI_VALUE, 0])[1] - _RSSI_OFFSET)

    def describe(self) -> str:
        return f"SX127x on SPI 0.0 by pyLoRa, {self._hz / 1e6:.4f} MHz"

    def check(self) -> None:
        """It uses no pin but its own reset, which its opening has used."""

    def close(self) -> None:
        self._radio.set_mode(self._names.MODE.SLEEP)
        self._board.teardown()
        # It opens the device once for each import: the next one is to open it anew.
        for name in [name for name in sys.modules if name.split(".")[0] == "SX127x"]:
            del sys.modules[name]
