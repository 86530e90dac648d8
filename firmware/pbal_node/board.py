"""The board file (/board.json) turned into pins and ports. A board is data."""

import json
import os
import sys

import machine

from pbal_node.drive import Aux, HeldDrive, LatchingDrive

_ATTEN = {
    0: machine.ADC.ATTN_0DB,
    2.5: machine.ADC.ATTN_2_5DB,
    6: machine.ADC.ATTN_6DB,
    11: machine.ADC.ATTN_11DB,
}
PHASES = ("a", "b", "c")

missing: list = []  # parts that could not be opened


def load(path: str = "/board.json") -> dict:
    """The board file's tables. OSError when it is missing, ValueError when it is damaged."""
    with open(path) as f:
        return json.load(f)


def _off_pins(names, table, off: int) -> list:
    return [machine.Pin(table[n], machine.Pin.OUT, value=off) for n in names]


def drive(board: dict):
    """The selector's coils, all off."""
    t = board["selector"]
    on = t.get("on_level", 1)
    if t["kind"] == "latching":
        set_pins = _off_pins([p + "_set" for p in PHASES], t, 1 - on)
        reset_pins = _off_pins([p + "_reset" for p in PHASES], t, 1 - on)
        return LatchingDrive(set_pins, reset_pins, on, t.get("pulse_ms", 50))
    return HeldDrive(_off_pins(PHASES, t, 1 - on), on)


def forget_unused(*used) -> None:
    """Free the code of the drives that this board does not have: `used` are those it has."""
    module = sys.modules.pop("pbal_node.drive")
    kinds = [type(part) for part in used]
    for kind in (HeldDrive, LatchingDrive, Aux):
        if kind not in kinds:
            delattr(module, kind.__name__)


def aux(board: dict):
    """The auxiliary contacts, None on a board without them. They pull their pin to ground."""
    t = board["selector"]
    if "aux_a" not in t:
        return None
    pins = [machine.Pin(t["aux_" + p], machine.Pin.IN, machine.Pin.PULL_UP) for p in PHASES]
    return Aux(pins, t.get("aux_closed_level", 0))


def adc(board: dict, name: str):
    """The ADC channel of a [sense] entry."""
    t = board["sense"]
    return machine.ADC(machine.Pin(t[name]), atten=_ATTEN[t.get("atten_db", 11)])


def rs485_driver(board: dict):
    """The pin of the transceiver's driver, off."""
    return machine.Pin(board["uart"]["rs485"]["de"], machine.Pin.OUT, value=0)


# The chip's UART driver refuses buffers of up to 128 bytes, the size of its FIFO.


def uart_rs485(board: dict):
    """8E1 as Modbus has it."""
    t = board["uart"]["rs485"]
    return machine.UART(
        t["id"],
        baudrate=t.get("baud", 115200),
        bits=8,
        parity=0,
        stop=1,
        tx=t["tx"],
        rx=t["rx"],
        txbuf=512,
        rxbuf=1024,
        timeout=0,
        timeout_char=0,
    )


def uart_meter(board: dict):
    """The meter's UART: 9600 8N1."""
    t = board["uart"]["meter"]
    return machine.UART(
        t["id"],
        baudrate=t.get("baud", 9600),
        bits=8,
        parity=None,
        stop=1,
        tx=t["tx"],
        rx=t["rx"],
        txbuf=256,
        rxbuf=256,
        timeout=0,
        timeout_char=0,
    )


def per_channel(board: dict, name: str, default: float) -> list:
    """A [sense] value that is one number, or one per channel (vout, va, vb, vc)."""
    value = board["sense"].get(name, default)
    return list(value) if isinstance(value, list) else [value] * 4


def part(name: str, make, instead: str):
    """make(), or a placeholder for a part that is missing: a fault to report, not a crash."""
    try:
        return make()
    except (OSError, ValueError, RuntimeError) as e:
        print("pbal: %s does not work: %r" % (name, e))
        missing.append(name)
        from pbal_node import placeholders

        return getattr(placeholders, instead)()


def tell_missing(stats) -> None:
    """/log/missing.txt says which parts could not be opened; there is none while all could."""
    path = "/log/missing.txt"
    text = "\n".join(missing)
    try:
        with open(path) as f:
            before = f.read()
    except OSError:
        before = ""
    try:
        if text and text != before:
            with open(path, "w") as f:
                f.write(text)
        elif before and not text:
            os.remove(path)
    except OSError:
        stats.errors += 1
