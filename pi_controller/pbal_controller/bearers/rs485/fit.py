"""Whether the pymodbus that is installed is built as line.py needs it.

line.py replaces pymodbus's transport and answers for its transaction manager, so it depends on
names that are not pymodbus's public interface. pyproject.toml allows the versions that were tested;
this finds, before a port is opened, that another one is installed. tests/contract/test_pymodbus.py
runs it.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pymodbus
from pymodbus.client.base import ModbusBaseClient
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager
from pymodbus.transport import ModbusProtocol
from pymodbus.transport.serialtransport import SerialTransport

from pbal_controller.errors import BearerError

VERSIONS = "pymodbus>=3.16,<3.17"  # as in pyproject.toml

# All that SerialTransport.__init__ sets: FastTransport does not call it and sets the same.
TRANSPORT_FIELDS = frozenset(
    ("async_loop", "intern_protocol", "sync_serial", "intern_write_buffer", "poll_task",
     "_poll_wait_time")
)  # fmt: skip
TRANSPORT_METHODS = ("setup", "close", "write", "flush", "intern_read_ready", "polling_task")
MANAGER_FIELDS = frozenset(("framer", "request_dev_id", "response_future"))
PROTOCOL_FIELDS = frozenset(
    ("comm_params", "is_closing", "transport", "recv_buffer", "sent_buffer", "loop")
)
MANAGER_METHODS = ("callback_data", "callback_disconnected", "data_received", "execute")
MANAGER_ARGUMENTS = (
    "params", "framer", "retries", "is_server", "trace_packet", "trace_pdu", "trace_connect",
)  # fmt: skip


def _sets(function: Callable[..., Any]) -> set[str]:
    """The attributes of `self` that a method assigns."""
    text = inspect.getsource(function)
    tree = ast.parse("if True:\n" + text if text[0].isspace() else text)
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _lacks(owner: type, names: tuple[str, ...]) -> list[str]:
    return [f"{owner.__name__}.{name} is gone" for name in names if not hasattr(owner, name)]


def misfits() -> list[str]:
    """What differs from what line.py needs; empty when it fits."""
    out = _lacks(SerialTransport, (*TRANSPORT_METHODS, "force_poll"))
    out += _lacks(TransactionManager, MANAGER_METHODS)
    out += _lacks(FramerRTU, ("decode", "buildFrame"))
    found = _sets(SerialTransport.__init__)
    out += [f"SerialTransport sets {n}" for n in sorted(found - TRANSPORT_FIELDS)]
    out += [f"SerialTransport sets no {n}" for n in sorted(TRANSPORT_FIELDS - found)]
    for owner, fields in ((TransactionManager, MANAGER_FIELDS), (ModbusProtocol, PROTOCOL_FIELDS)):
        gone = fields - _sets(owner.__init__)
        out += [f"{owner.__name__} sets no {name}" for name in sorted(gone)]
    arguments = tuple(inspect.signature(TransactionManager).parameters)
    if arguments[: len(MANAGER_ARGUMENTS)] != MANAGER_ARGUMENTS:
        out.append(f"TransactionManager takes {', '.join(arguments)}")
    if "ctx" not in _sets(ModbusBaseClient.__init__):
        out.append("the client keeps its transaction manager elsewhere")
    if "dev_id" not in inspect.signature(ModbusPDU).parameters:
        out.append("ModbusPDU takes no dev_id")
    return out or _framing()


def _framing() -> list[str]:
    """The framer on one frame: the units' ids, lengths and the order of what it gives."""

    class Pdu(ModbusPDU):
        function_code = 100
        rtu_byte_count_pos = 3

        def encode(self) -> bytes:
            return b"\0\1x"

    framer = FramerRTU(DecodePDU(False))
    framer.decoder.register(Pdu)
    frame = framer.buildFrame(Pdu(dev_id=5))
    if frame[:5] != b"\x05\x64\0\1x" or len(frame) != 7:
        return [f"FramerRTU builds {frame.hex()}"]
    got = framer.decode(frame)
    if len(got) != 4 or (got[0], got[1], got[3]) != (7, 5, b"\x64\0\1x"):
        return [f"FramerRTU decodes to {got!r}"]
    return []


@functools.cache
def check() -> None:
    """Raise BearerError, with what to do, when the installed pymodbus does not fit."""
    try:
        found = misfits()
    except OSError:
        return  # installed without its source: nothing can be compared
    except Exception as error:  # a changed library may raise anything
        found = [f"{type(error).__name__}: {error}"]
    if found:
        raise BearerError(
            f"pymodbus {pymodbus.__version__} does not fit pbal ({'; '.join(found)}). "
            f"Install the one it was tried with: pip install '{VERSIONS}'"
        )
