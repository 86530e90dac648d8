"""Checks a board file against the chip: what would not work, and what could be dangerous.

An error means the board must not be built so; a warning names something to consider.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .chips import CHIPS, Chip
from .schema import Board


@dataclass(frozen=True)
class Use:
    """One pin's use in the file. `role` is "out", "in", "analog" or "relay"."""

    where: str
    pin: int
    role: str


@dataclass(frozen=True)
class Finding:
    """One finding: `level` is "error" or "warning", `where` the key in the file."""

    level: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.text}"


# Which keys of which table are pins, and what each is used as. A table may repeat one level down
# ([uart.rs485]). Tables not named here hold no pins, or the rule below finds them.
PIN_KEYS: dict[str, dict[str, str]] = {
    "uart": {"tx": "out", "rx": "in", "de": "out", "re": "out"},
    "sense": {"va": "analog", "vb": "analog", "vc": "analog", "vout": "analog", "ct": "analog"},
    "selector": {
        "a": "relay",
        "b": "relay",
        "c": "relay",
        "a_set": "relay",
        "b_set": "relay",
        "c_set": "relay",
        "a_reset": "relay",
        "b_reset": "relay",
        "c_reset": "relay",
        "set_a": "relay",
        "set_b": "relay",
        "set_c": "relay",
        "reset_a": "relay",
        "reset_b": "relay",
        "reset_c": "relay",
        "reset": "relay",
        "a_off": "relay",
        "b_off": "relay",
        "c_off": "relay",
        "aux_a": "in",
        "aux_b": "in",
        "aux_c": "in",
        "enable": "relay",
    },
    "led": {"pin": "out"},
    "button": {"pin": "button"},
    "radio": {
        "sck": "out",
        "mosi": "out",
        "miso": "in",
        "cs": "out",
        "nss": "out",
        "ss": "out",
        "reset": "out",
        "rst": "out",
        "dio0": "in",
        "dio1": "in",
        "dio2": "in",
        "dio3": "in",
        "busy": "in",
        "tcxo": "out",
        "rxen": "out",
        "txen": "out",
    },
    "lora": {},
    "spi": {"sck": "out", "mosi": "out", "miso": "in", "cs": "out"},
    "i2c": {"scl": "out", "sda": "out"},
    "display": {"scl": "out", "sda": "out", "reset": "out"},
}
PIN_KEYS["lora"] = PIN_KEYS["radio"]


def uses(board: Board) -> list[Use]:
    """Every pin the file uses, in file order."""
    return list(_uses(board.tables))


def _uses(tables: dict[str, Any]) -> Iterator[Use]:
    for name, table in tables.items():
        keys = PIN_KEYS.get(name)
        if keys is None or not isinstance(table, dict):
            continue
        for key, value in table.items():
            if isinstance(value, dict):
                for inner, pin in value.items():
                    if inner in keys:
                        yield from _one(f"{name}.{key}.{inner}", pin, keys[inner])
                    elif key in keys:  # [selector.a] set = 18
                        yield from _one(f"{name}.{key}.{inner}", pin, keys[key])
            elif key in keys:
                yield from _one(f"{name}.{key}", value, keys[key])


def _one(where: str, value: Any, role: str) -> Iterator[Use]:
    for pin in value if isinstance(value, list) else [value]:
        if isinstance(pin, int) and not isinstance(pin, bool) and pin >= 0:
            yield Use(where, pin, role)


def check(board: Board) -> list[Finding]:
    """All findings about a board, errors first."""
    chip = CHIPS.get(board.board.chip)
    if chip is None:
        known = ", ".join(CHIPS)
        return [Finding("error", "board.chip", f"{board.board.chip!r} is not known ({known})")]
    found = [
        *_each_pin(board, chip),
        *_conflicts(board),
        *_selector(board),
        *_uart_ids(board, chip),
        *_complete(board),
        *_image(board),
    ]
    return sorted(found, key=lambda item: item.level != "error")


def _each_pin(board: Board, chip: Chip) -> Iterator[Finding]:
    wifi = _uses_wifi(board.tables)
    for use in uses(board):
        pin, where = use.pin, use.where
        if pin not in chip.pins:
            yield Finding("error", where, f"the {chip.title} has no GPIO{pin}")
            continue
        drives = use.role in ("out", "relay")
        if pin in chip.flash:
            sure = pin <= 32 or chip.name != "esp32s3"
            yield Finding(
                "error" if sure else "warning", where, f"GPIO{pin} carries {chip.flash[pin]}"
            )
        if drives and pin in chip.input_only:
            yield Finding("error", where, f"GPIO{pin} can only be an input")
        if use.role == "button" and pin in chip.no_pulls:
            yield Finding("warning", where, f"GPIO{pin} has no pull-up: wire one")
        if use.role == "analog":
            yield from _analog(use, chip, wifi)
        if use.role == "relay":
            yield from _relay(use, chip, board)
        elif use.role != "button" and pin in chip.strapping:
            yield Finding("warning", where, f"GPIO{pin} is a strapping pin: {chip.strapping[pin]}")
        if pin in chip.console:
            yield Finding(
                "error", where, f"GPIO{pin} is the {chip.console[pin]}: boot text and the REPL"
            )
        if pin in chip.usb:
            yield Finding("warning", where, f"GPIO{pin} is {chip.usb[pin]}")


def _analog(use: Use, chip: Chip, wifi: bool) -> Iterator[Finding]:
    if use.pin in chip.adc1:
        return
    if use.pin not in chip.adc2:
        yield Finding("error", use.where, f"GPIO{use.pin} has no analogue input")
    elif wifi:
        yield Finding(
            "error", use.where, f"GPIO{use.pin} is on ADC2, which cannot be read while Wi-Fi runs"
        )
    else:
        yield Finding(
            "warning", use.where, f"GPIO{use.pin} is on ADC2: no Wi-Fi on this board, ever"
        )


def _relay(use: Use, chip: Chip, board: Board) -> Iterator[Finding]:
    # Safety rule S1: nothing may close a contact before the program runs.
    on_level = board.tables.get("selector", {}).get("on_level", 1)
    if use.pin in chip.strapping:
        yield Finding(
            "error",
            use.where,
            f"a relay on strapping pin GPIO{use.pin}: {chip.strapping[use.pin]}",
        )
    elif on_level == 1 and use.pin in chip.boots_high:
        yield Finding(
            "error",
            use.where,
            f"a relay on GPIO{use.pin}, which is high before any program runs "
            f"({chip.boots_high[use.pin]})",
        )
    if on_level == 0:
        yield Finding(
            "warning",
            use.where,
            f"the relay closes on low: give GPIO{use.pin} a pull-up, so that reset opens it",
        )


def _uses_wifi(tables: dict[str, Any]) -> bool:
    wifi = tables.get("wifi")
    if isinstance(wifi, dict):
        return bool(wifi.get("enabled", True))
    radio = tables.get("radio")
    # A board whose only radio is LoRa keeps Wi-Fi off; any other may turn it on for updates.
    return not (isinstance(radio, dict) and radio.get("kind", "").lower() not in ("", "wifi"))


def _conflicts(board: Board) -> Iterator[Finding]:
    seen: dict[int, Use] = {}
    for use in uses(board):
        first = seen.setdefault(use.pin, use)
        if first is use or _may_share(first, use):
            continue
        yield Finding("error", use.where, f"GPIO{use.pin} is already {first.where}")


def _may_share(first: Use, second: Use) -> bool:
    """True for lines of one bus that several devices share, and DE with /RE tied together."""
    last = {first.where.rsplit(".", 1)[-1], second.where.rsplit(".", 1)[-1]}
    if last == {"de", "re"}:
        return first.where.rsplit(".", 1)[0] == second.where.rsplit(".", 1)[0]
    tables = {first.where.split(".")[0], second.where.split(".")[0]}
    return len(last) == 1 and last <= {"sck", "mosi", "miso", "scl", "sda"} and len(tables) == 2


def _selector(board: Board) -> Iterator[Finding]:
    selector = board.tables.get("selector")
    if not isinstance(selector, dict):
        yield Finding("error", "selector", "is missing: the board cannot switch")
        return
    kind = selector.get("kind")
    kinds = ("non-latching", "latching", "contactor")
    if kind not in kinds:
        yield Finding("error", "selector.kind", f"is {kind!r}, not one of {', '.join(kinds)}")
    phases = {
        phase
        for use in uses(board)
        if use.role == "relay"
        for phase in "abc"
        if phase in use.where.removeprefix("selector.").replace(".", "_").split("_")
    }
    if phases != set("abc"):
        missing = ", ".join(sorted(set("abc") - phases))
        yield Finding("error", "selector", f"no pin for phase {missing}")
    for key, least in (("operate_ms", 1), ("release_ms", 1), ("dead_time_ms", 1)):
        value = selector.get(key)
        if not isinstance(value, (int, float)) or value < least:
            yield Finding("error", f"selector.{key}", f"is {value!r}; at least {least} ms")
    release, dead = selector.get("release_ms"), selector.get("dead_time_ms")
    if isinstance(release, (int, float)) and isinstance(dead, (int, float)) and dead < release:
        yield Finding(
            "error",
            "selector.dead_time_ms",
            f"{dead} ms is shorter than the relay's release time of {release} ms",
        )
    if selector.get("interlock") in (None, "", "none"):
        yield Finding(
            "error",
            "selector.interlock",
            "is missing: the board must interlock one of three in hardware; say how",
        )


def _uart_ids(board: Board, chip: Chip) -> Iterator[Finding]:
    seen: dict[int, str] = {}
    for name, uart in board.tables.get("uart", {}).items():
        if not isinstance(uart, dict):
            continue
        number = uart.get("id")
        where = f"uart.{name}.id"
        if not isinstance(number, int) or not 0 <= number < chip.uarts:
            yield Finding(
                "error", where, f"is {number!r}; the {chip.title} has UART 0..{chip.uarts - 1}"
            )
        elif number == 0:
            yield Finding("error", where, "UART 0 is the console")
        elif number in seen:
            yield Finding("error", where, f"UART {number} is already {seen[number]}")
        else:
            seen[number] = f"uart.{name}"


def _complete(board: Board) -> Iterator[Finding]:
    """What the node cannot start without (firmware/pbal_node/board.py and build.py)."""
    tables = board.tables
    kind = tables.get("meter", {}).get("kind", "pzem")
    latching = tables.get("selector", {}).get("kind") == "latching"
    if kind not in ("pzem", "adc"):
        yield Finding("error", "meter.kind", f"is {kind!r}, not one of pzem, adc")
    needs = {
        "uart.rs485": ["id", "tx", "rx", "de"],
        "sense": ["va", "vb", "vc", "vout", "bias_v"],
        "selector": [p + end for p in "abc" for end in (("_set", "_reset") if latching else ("",))],
    }
    if kind == "adc":
        needs["sense"] += ["ct", "amps_per_volt"]
    else:
        needs["uart.meter"] = ["id", "tx", "rx"]
    for where, keys in needs.items():
        table: Any = tables
        for word in where.split("."):
            table = table.get(word, {}) if isinstance(table, dict) else {}
        for key in keys:
            value = table.get(key) if isinstance(table, dict) else None
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                said = "is missing" if value is None else f"is {value!r}, not a number"
                yield Finding("error", f"{where}.{key}", f"{said}: the node does not start")
    atten = tables.get("sense", {}).get("atten_db", 11)
    if atten not in (0, 2.5, 6, 11):
        yield Finding("error", "sense.atten_db", f"is {atten!r}, not one of 0, 2.5, 6, 11")


def _image(board: Board) -> Iterator[Finding]:
    pin = board.flash
    if pin is not None and pin.image_url and not pin.image_sha256:
        yield Finding(
            "warning", "flash.image_sha256", "is missing: `pbal flash` needs --image FILE"
        )
