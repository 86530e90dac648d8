"""Asks the units of an RS-485 segment for their plain registers, as any Modbus tool may.

Only reading, function 04; the controller must not use the port meanwhile.
"""

from collections.abc import Callable, Iterable

from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient

from pbal_controller.bearers.line import is_pty
from pbal_controller.naming import shown

from ..errors import PeerError
from ..flash import ports
from .diff import Heard
from .model import Bus

TRIES = 3
SPANS = ((0, 5), (8, 4))  # (first register, count) of what every node shows without a key


def scan(
    name: str,
    bus: Bus,
    units: Iterable[int],
    progress: Callable[[str], None] = lambda words: None,
) -> dict[int, Heard | None]:
    """What each unit says, or None where it is silent after three tries.

    Raises the port errors, or PeerError where the driver refuses the port's settings.
    """
    ports.check(bus.port)
    client = ModbusSerialClient(
        bus.port,
        framer=FramerType.RTU,
        baudrate=bus.baud,
        parity="N" if is_pty(bus.port) else bus.parity,  # a terminal has none of its own
        stopbits=bus.stop_bits,
        timeout=max(bus.answer_timeout_ms / 1000, 0.05),
        retries=0,
    )
    if not client.connect():
        raise PeerError(
            f"{bus.port} of bus {name} does not open as a Modbus port.",
            "Check that it is an RS-485 adapter, and its settings in the site file.",
        )
    out: dict[int, Heard | None] = {}
    try:
        for unit in units:
            progress(f"bus {name}: unit {unit}")
            out[unit] = _ask(client, unit)
    finally:
        client.close()  # type: ignore[no-untyped-call]
    return out


def _ask(client: ModbusSerialClient, unit: int) -> Heard | None:
    words: dict[int, int] = {}
    for first, count in SPANS:
        told = _registers(client, unit, first, count)
        if told is None:
            return None
        words |= dict(enumerate(told, first))
    return Heard(
        unit, words[9], words[10], words[11], words[1] / 10, words[2] / 10, words[3] / 10,
        *_identification(client, unit),
    )  # fmt: skip


def _registers(client: ModbusSerialClient, unit: int, first: int, count: int) -> list[int] | None:
    for _ in range(TRIES):
        try:
            answer = client.read_input_registers(first, count=count, device_id=unit)
        except ModbusException:
            continue
        if not answer.isError() and len(answer.registers) == count:
            return list(answer.registers)
    return None


def _identification(client: ModbusSerialClient, unit: int) -> tuple[str, str]:
    """The node's board and name by Read Device Identification (43/14); "" for what is not told."""
    for _ in range(TRIES):
        try:
            answer = client.read_device_information(read_code=3, object_id=0, device_id=unit)
        except ModbusException:
            continue
        if not answer.isError():
            found: dict[int, bytes] = getattr(answer, "information", {})
            told = {k: shown(bytes(v).decode("utf-8", "replace")) for k, v in found.items()}
            return told.get(1, ""), told.get(6, "")
    return "", ""
