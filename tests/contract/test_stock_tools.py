"""Real stock tools, mbpoll and libmodbus, against the protocol's own server over a pty."""

import ctypes
import ctypes.util
import os
import pty
import select
import subprocess
import threading
import tty
from collections.abc import Iterator

import pytest
from rigs import needs
from rigs.needs import missing, require_tool

from pbal_protocol import modbus, modbus_client, records, stock

UNIT = 5
IDENTITY = {0: b"pbal", 1: b"esp32-devkitc", 2: b"0.1.0", 4: b"pbal node"}
READING = records.Telemetry(
    va_v=230.1,
    vb_v=229.0,
    vc_v=231.0,
    vout_v=230.1,
    current_a=4.32,
    p_w=-987.6,
    freq_hz=49.98,
    phase=1,
    state=2,
    flags=16,
)
REGISTERS = [1, 2301, 2290, 2310, 2301, 432, 0xFFFF, 0x10000 - 9876, 4998, 1, 2, 16]


class Node(threading.Thread):
    """RtuServer and Stock behind one end of a pty; `withheld`: as a node with keys."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld = False
        self.master, self._slave = pty.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._wake, self._bell = os.pipe()
        self.rx = modbus.RtuServer(UNIT)
        self.served: list[int] = []

    def run(self) -> None:
        node, out = stock.Stock(IDENTITY), bytearray(256)
        while True:
            ready, _, _ = select.select([self.master, self._wake], [], [], 0.02)
            if self._wake in ready:
                return
            if not ready:
                if self.rx.silence():
                    self._answer(node, out)
                continue
            data = os.read(self.master, 256)
            at = 0
            while at < len(data):
                at = self.rx.feed(data, at, len(data))
                if self.rx.length:
                    self._answer(node, out)

    def _answer(self, node: stock.Stock, out: bytearray) -> None:
        self.served.append(self.rx.buf[1])
        node.withheld = self.withheld
        n = node.respond(self.rx.buf, self.rx.length, READING, out)
        os.write(self.master, out[:n])

    def close(self) -> None:
        os.write(self._bell, b".")
        self.join(needs.PATIENCE_S)
        for fd in (self.master, self._slave, self._wake, self._bell):
            os.close(fd)


@pytest.fixture
def node() -> Iterator[Node]:
    one = Node()
    one.start()
    yield one
    one.close()


def mbpoll(node: Node, *options: str) -> "subprocess.CompletedProcess[str]":
    # -P none: a pty has no parity bit.
    command = [require_tool("mbpoll"), "-m", "rtu", "-a", str(UNIT), "-b", "115200", "-P", "none"]
    return subprocess.run(
        [*command, "-o", "2", *options, node.path],
        capture_output=True,
        text=True,
        timeout=needs.PATIENCE_S,
    )


def test_mbpoll_reads_the_registers(node):
    done = mbpoll(node, "-t", "3", "-0", "-r", "0", "-c", "12", "-1")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = dict(line[1:].split("]:") for line in done.stdout.splitlines() if line.startswith("["))
    values = {int(k): int(v.split("(")[0]) & 0xFFFF for k, v in shown.items()}
    assert values == dict(enumerate(REGISTERS))
    assert node.served == [4]


def test_mbpoll_reads_of_a_node_with_keys_all_but_what_the_home_draws(node):
    node.withheld = True
    for first, count in ((0, 5), (8, 4)):
        done = mbpoll(node, "-t", "3", "-0", "-r", str(first), "-c", str(count), "-1")
        assert done.returncode == 0, done.stdout + done.stderr
        shown = [line.split("]:")[1] for line in done.stdout.splitlines() if line.startswith("[")]
        assert [int(v.split("(")[0]) for v in shown] == REGISTERS[first : first + count]
    for first, count in ((5, 1), (6, 2), (7, 1), (0, 12), (4, 2), (7, 2)):
        done = mbpoll(node, "-t", "3", "-0", "-r", str(first), "-c", str(count), "-1")
        assert "Illegal data address" in done.stdout + done.stderr, (first, count)


def test_mbpoll_reads_who_it_is(node):
    done = mbpoll(node, "-u")
    assert "pbal esp32-devkitc 0.1.0" in done.stdout, done.stdout + done.stderr
    assert node.served == [17]


@pytest.mark.parametrize("table", ["0", "4"])
def test_mbpoll_cannot_write(node, table):
    done = subprocess.run(
        [
            require_tool("mbpoll"),
            "-m",
            "rtu",
            "-a",
            str(UNIT),
            "-b",
            "115200",
            "-P",
            "none",
            "-t",
            table,
            "-r",
            "1",
            "-o",
            "2",
            node.path,
            "1",
        ],
        capture_output=True,
        text=True,
        timeout=needs.PATIENCE_S,
    )
    assert "Illegal function" in done.stdout + done.stderr
    assert node.served in ([5], [6])


@pytest.fixture
def libmodbus(node) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    """The library and a connected context."""
    name = ctypes.util.find_library("modbus")
    if name is None:
        missing("libmodbus", "Debian package: libmodbus-dev.")
    lib = ctypes.CDLL(name, use_errno=True)
    lib.modbus_new_rtu.restype = ctypes.c_void_p
    lib.modbus_strerror.restype = ctypes.c_char_p
    context = ctypes.c_void_p(
        lib.modbus_new_rtu(node.path.encode(), 115200, ctypes.c_char(b"N"), 8, 1)
    )
    assert context
    lib.modbus_set_slave(context, UNIT)
    lib.modbus_set_response_timeout(context, 2, 0)
    assert lib.modbus_connect(context) == 0
    yield lib, context
    lib.modbus_close(context)
    lib.modbus_free(context)


def test_libmodbus_reads_the_registers(libmodbus):
    lib, context = libmodbus
    values = (ctypes.c_uint16 * 12)()
    assert lib.modbus_read_input_registers(context, 0, 12, values) == 12
    assert list(values) == REGISTERS
    # One too many is refused, and the refusal understood.
    assert lib.modbus_read_input_registers(context, 0, 13, (ctypes.c_uint16 * 13)()) == -1
    assert b"Illegal data address" in lib.modbus_strerror(ctypes.get_errno())


def test_libmodbus_reads_of_a_node_with_keys_all_but_what_the_home_draws(node, libmodbus):
    lib, context = libmodbus
    node.withheld = True
    values = (ctypes.c_uint16 * 5)()
    assert lib.modbus_read_input_registers(context, 0, 5, values) == 5
    assert list(values) == REGISTERS[:5]
    assert lib.modbus_read_input_registers(context, 6, 2, values) == -1
    assert b"Illegal data address" in lib.modbus_strerror(ctypes.get_errno())


def test_libmodbus_reads_the_identification(libmodbus):
    lib, context = libmodbus
    request = (ctypes.c_uint8 * 5)(UNIT, 0x2B, 0x0E, 2, 0)
    assert lib.modbus_send_raw_request(context, request, 5) > 0
    found = b""
    # libmodbus does not know the length of this answer: read it as it comes.
    lib.modbus_get_socket.restype = ctypes.c_int
    fd = lib.modbus_get_socket(context)
    while len(found) < 8 or not complete(found):
        ready, _, _ = select.select([fd], [], [], 2)
        assert ready, found
        found += os.read(fd, 256)
    unit, pdu = modbus_client.split_adu(found)
    assert unit == UNIT
    assert pdu[:4] == bytes((0x2B, 0x0E, 2, 0x82))
    for text in IDENTITY.values():
        assert text in pdu


def complete(frame: bytes) -> bool:
    return modbus.crc16(frame, len(frame) - 2) == frame[-2] | frame[-1] << 8


def test_libmodbus_reads_the_server_id(libmodbus):
    lib, context = libmodbus
    text = (ctypes.c_uint8 * 128)()
    n = lib.modbus_report_slave_id(context, 128, text)
    assert bytes(text[:n]) == b"\x70\xffpbal esp32-devkitc 0.1.0"
