"""Serial ports: which there are, and whether one can be opened, in one line each."""

import errno
import glob
import os
import socket
import stat
from urllib.parse import urlsplit

import serial
import serial.tools.list_ports

from ..errors import InputError, PortBusy, PortDenied, PortMissing

# USB makers found on ESP32 boards: Espressif, Silicon Labs, WCH, FTDI, Arduino, Prolific.
BOARD_VENDORS = {0x303A, 0x10C4, 0x1A86, 0x0403, 0x2341, 0x067B}
CONNECT_TIMEOUT_S = 5.0


def is_url(port: str) -> bool:
    """True for a pyserial URL such as socket://host:port, false for a device name."""
    return "://" in port


def has_control_lines(port: str) -> bool:
    """True if DTR and RTS can reach the board through this port, as automatic reset needs."""
    if is_url(port):
        return port.startswith("rfc2217://")
    try:
        return os.major(os.stat(port).st_rdev) != 136  # a pseudo-terminal
    except OSError:
        return True


def found() -> list[str]:
    """Ports of boards plugged in over USB, in a stable order."""
    return sorted(
        port.device for port in serial.tools.list_ports.comports() if port.vid in BOARD_VENDORS
    )


def expand(given: list[str], every: bool) -> list[str]:
    """The ports to work on: those given (patterns allowed), or those plugged in.

    Raises PortMissing if that is none, InputError if it is several and `every` was not asked.
    """
    ports: list[str] = []
    for item in given:
        if is_url(item) or not glob.has_magic(item):
            ports.append(item)
        else:
            ports += sorted(glob.glob(item))
    if not given:
        ports = found()
    ports = list(dict.fromkeys(ports))
    if not ports:
        raise PortMissing(
            f"No port matches {' '.join(given)}." if given else "No board is plugged in.",
            "Plug the board in with a data cable (many USB cables only charge), or name its port "
            "with --port.",
        )
    if len(ports) > 1 and not every and len(given) != len(ports):
        raise InputError(
            f"{len(ports)} boards are plugged in: {', '.join(ports)}.",
            "Choose one with --port, or flash them all with --all.",
        )
    return ports


def check(port: str, opening: bool = True) -> None:
    """Opens and closes a port, so that an error is reported in plain words before any work.

    Without `opening` it only looks whether it is there: the edges of DTR and RTS could take a board
    out of the boot loader into which a person has brought it by hand.

    Raises PortMissing, PortBusy, PortDenied.
    """
    if is_url(port):
        _check_url(port)
        return
    if not os.path.exists(port):
        others = found()
        raise PortMissing(
            f"There is no port {port}.",
            f"Ports here: {', '.join(others)}."
            if others
            else "Plug the board in; no other board "
            "is plugged in either. On Linux `dmesg | tail` shows whether it was seen.",
        )
    if not stat.S_ISCHR(os.stat(port).st_mode):
        raise PortMissing(f"{port} is not a serial port.", "Name a device such as /dev/ttyUSB0.")
    if not os.access(port, os.R_OK | os.W_OK):
        raise explain(port, PermissionError(errno.EACCES, "Permission denied"))
    if not opening:
        return
    try:
        # Without touching DTR and RTS more than opening does; exclusive, to find out whether
        # another program holds it.
        handle = serial.Serial(port, 115200, timeout=0, exclusive=True)
        handle.close()
    except serial.SerialException as exc:
        raise explain(port, exc) from None


def _check_url(port: str) -> None:
    parts = urlsplit(port)
    if parts.scheme not in ("socket", "rfc2217"):
        if parts.scheme in ("loop", "spy", "hwgrep", "alt", "cp2110"):
            return
        raise PortMissing(
            f"{port} is no port pyserial knows.", "Use socket://HOST:PORT or rfc2217://HOST:PORT."
        )
    if not parts.hostname or not parts.port:
        raise PortMissing(f"{port} names no host and port.", "Use socket://HOST:PORT.")
    # One client at a time is usual for such servers, so a test connection could end a session
    # or be refused the next one: only the name is looked up here, opening is the test.
    try:
        socket.getaddrinfo(parts.hostname, parts.port)
    except OSError:
        raise PortMissing(
            f"There is no host {parts.hostname}.", "Check the name after ://."
        ) from None


def explain(port: str, exc: BaseException) -> PortMissing | PortBusy | PortDenied:
    """Turns a failure to open a port into the error that says what to do."""
    number = getattr(exc, "errno", None)
    text = str(exc)
    if number in (errno.EACCES, errno.EPERM) or "Permission denied" in text:
        return PortDenied(
            f"This user may not open {port}.",
            "Linux: `sudo usermod -aG dialout $USER`, then log out and in again.",
        )
    busy = ("busy", "exclusively lock", "Resource temporarily unavailable", "Access is denied")
    if number in (errno.EBUSY, errno.EAGAIN) or any(word in text for word in busy):
        return PortBusy(
            f"{port} is in use by another program.",
            f"Close the serial monitor or REPL that holds it (`fuser {port}` names it).",
        )
    if is_url(port):
        return PortMissing(
            f"Nobody answers at {port}.", "Start the serial server there, or check host and port."
        )
    return PortMissing(f"{port} cannot be opened: {text}.", "Check the cable and the port's name.")
