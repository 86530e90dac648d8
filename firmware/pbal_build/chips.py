"""What a chip's pins can do: data for the validator, with the source of each table.

ESP32: "ESP32 Series Datasheet", sections "Pin Overview" and "Strapping Pins", and the GPIO
summary of the ESP-IDF programming guide. ESP32-S3: "ESP32-S3 Series Datasheet", the same
sections. Chip ids and image offsets: "Firmware Image Format" of the esptool documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One chip family.

    `strapping` says what each strapping pin decides at reset and how it is pulled then;
    `boots_high` are pins that must not drive a relay, because they are pulled or driven high before
    any program runs. `adc2` is unusable for readings while the Wi-Fi radio is on.
    """

    name: str
    title: str
    source: str
    image_id: int
    image_offset: int
    pins: frozenset[int]
    input_only: frozenset[int]
    flash: Mapping[int, str]
    strapping: Mapping[int, str]
    boots_high: Mapping[int, str]
    adc1: Mapping[int, int]
    adc2: Mapping[int, int]
    console: Mapping[int, str]
    usb: Mapping[int, str]
    uarts: int
    no_pulls: frozenset[int]


def _span(*ranges: tuple[int, int]) -> frozenset[int]:
    return frozenset(pin for first, last in ranges for pin in range(first, last + 1))


CHIPS = {
    "esp32": Chip(
        name="esp32",
        title="ESP32",
        source="ESP32 Series Datasheet, 2 Pins",
        image_id=0,
        image_offset=0x1000,
        pins=_span((0, 19), (21, 23), (25, 27), (32, 39)),
        input_only=_span((34, 39)),
        flash=dict.fromkeys(range(6, 12), "SPI flash inside the module"),
        strapping={
            0: "low at reset starts the boot loader; pulled up",
            2: "must not be high when GPIO0 starts the boot loader; pulled down",
            5: "SDIO timing; pulled up",
            12: "high at reset gives the flash 1.8 V and the board does not start; pulled down",
            15: "low at reset silences the boot messages; pulled up",
        },
        boots_high={
            0: "pulled up at reset",
            1: "sends boot messages",
            3: "pulled up at reset",
            5: "pulled up at reset",
            14: "pulled up at reset",
            15: "pulled up at reset",
        },
        adc1={36: 0, 37: 1, 38: 2, 39: 3, 32: 4, 33: 5, 34: 6, 35: 7},
        adc2={4: 0, 0: 1, 2: 2, 15: 3, 13: 4, 12: 5, 14: 6, 27: 7, 25: 8, 26: 9},
        console={1: "console TX", 3: "console RX"},
        usb={},
        uarts=3,
        no_pulls=_span((34, 39)),
    ),
    "esp32s3": Chip(
        name="esp32s3",
        title="ESP32-S3",
        source="ESP32-S3 Series Datasheet, 2 Pins",
        image_id=9,
        image_offset=0x0,
        pins=_span((0, 21), (26, 48)),
        input_only=frozenset(),
        flash={
            **dict.fromkeys(range(26, 33), "SPI flash or PSRAM inside the module"),
            **dict.fromkeys(range(33, 38), "octal flash or PSRAM, where the module has it"),
        },
        strapping={
            0: "low at reset starts the boot loader; pulled up",
            3: "chooses the JTAG signal source; floating",
            45: "high at reset gives the flash 1.8 V and the board does not start; pulled down",
            46: "must be low for the boot loader and its messages; pulled down",
        },
        boots_high={
            0: "pulled up at reset",
            43: "sends boot messages",
            44: "pulled up at reset",
        },
        adc1={pin: pin - 1 for pin in range(1, 11)},
        adc2={pin: pin - 11 for pin in range(11, 21)},
        console={43: "console TX", 44: "console RX"},
        usb={19: "USB D-", 20: "USB D+"},
        uarts=3,
        no_pulls=frozenset(),
    ),
}
