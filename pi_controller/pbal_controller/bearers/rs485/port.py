"""Opening the serial port of a segment: the same for the controller, commissioning and scans."""

from __future__ import annotations

import os
import termios
from typing import Any

import serial


def is_pty(port: str) -> bool:
    """Whether a port is a pseudo-terminal (also through a symbolic link)."""
    return os.path.realpath(port).startswith("/dev/pts/")


def open_port(
    port: str,
    *,
    baud: int,
    parity: str,
    stop_bits: float,
    timeout_s: float,
    write_timeout_s: float,
    rts_de: bool = False,
) -> Any:
    """A device or a pyserial URL, opened for this process alone, its input empty.

    `timeout_s`, `write_timeout_s`: how long a read or write may block; 0: not at all. `rts_de`: RTS
    switches the driver. Raises OSError: it does not open, or refuses the settings. Blocks while a
    URL connects. Returns pyserial's port.
    """
    try:
        opened = serial.serial_for_url(
            port,
            baudrate=baud,
            bytesize=8,
            # A pseudo-terminal has no parity bit, and refuses to be asked for one.
            parity="N" if is_pty(port) else parity,
            stopbits=stop_bits,
            timeout=timeout_s,
            # An RFC 2217 port knows no such time, and refuses to be given one.
            write_timeout=None if port.startswith("rfc2217://") else write_timeout_s,
            exclusive=True,
        )
        if rts_de:
            from serial.rs485 import RS485Settings

            opened.rs485_mode = RS485Settings()
        opened.reset_input_buffer()
    except (ValueError, termios.error) as error:
        raise OSError(str(error)) from error
    return opened
