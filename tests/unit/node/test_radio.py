"""The node's radio driver, on MicroPython, against the emulated SX1276, in virtual time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable

import pytest
from rigs import needs, pi_radio

from pbal_protocol.radio.airtime import low_data_rate
from pbal_sim.radio import FREE, Air, PathLoss, Sx1276, VirtualClock
from pbal_sim.radio import registers as r

from .conftest import MP, SOURCES, VIRTUAL, interpreter

TIMEOUT_S = 100
FAR = PathLoss(sigma_db=0.0)


class Board:
    """Serves one MicroPython process: its SPI bus, its pins, and a second radio, the peer."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.edges = 0
        self.edge_us = 0
        self.asked = 0
        self.stack = contextlib.ExitStack()
        self.fresh()

    # -- what the program may ask of the test -----------------------------------------------------

    def fresh(self, how: str = "boost") -> None:
        """A new place with new chips."""
        self.clock.watch.clear()
        self.air = Air(self.clock, loss=FAR if how == "far" else FREE)
        self.clock.watch.append(self.air.catch_up)
        self.chip = Sx1276(self.air, "node", wired="rfo" if how == "rfo" else "boost")
        self.chip.on_dio = self._edge
        self.chip.writes.clear()
        distance = 300.0 if how == "far" else 200.0
        self.peer = Sx1276(self.air, "peer", (distance, 0.0))
        self.other = Sx1276(self.air, "other", (0.0, 210.0))
        self.rx_done = 0
        self.gone = b""
        self.heard: list[list[int]] = []

    def _edge(self, pin: int, level: int) -> None:
        if pin == 0 and level:
            self.edges += 1
            self.edge_us = self.rx_done = self.air.now_us

    def hang(self) -> None:
        self.chip.hang()

    def absent(self) -> None:
        self.gone = b"\xff"

    def dead(self) -> None:
        self.gone = b"\0"

    def brown_out(self) -> None:
        self.chip.brown_out()

    def poke(self, register: int, value: int) -> None:
        self.chip._bank.page(register)[register] = value

    def clear(self, flags: int) -> None:
        self.chip.lora[r.IRQ_FLAGS] &= ~flags

    def writes(self) -> list[tuple[int, int]]:
        return list(self.chip.writes)

    def registers(self, which: list[int]) -> list[int]:
        return [self.chip._bank.page(register)[register] for register in which]

    def power(self) -> int:
        return round(self.chip.modem.power_dbm(self.chip.wired))

    def errata(self) -> list[bool]:
        return [self.chip.modem.errata_21_applied, self.chip.modem.errata_23_applied]

    def rx_done_us(self) -> int:
        return self.rx_done

    def expected_rssi(self) -> int:
        sent = self.air.sent[-1]
        return round(self.air.arrives_dbm("peer", self.peer.at, self.chip, sent.power_dbm))

    def _set_up(self, chip: Sx1276, sf: int) -> None:
        """By hand, without a line of the driver under test."""
        for mode in (0x00, 0x80, 0x81):
            chip.exchange(bytes([r.OP_MODE | 0x80, mode]))
        for register, *values in (
            (r.FRF_MSB, 0xD9, 0x06, 0x66),
            (r.PA_CONFIG, 0xFF),
            (r.FIFO_TX_BASE_ADDR, 0, 0),
            (r.MODEM_CONFIG1, 0x72, sf << 4 | 4),
            (r.MODEM_CONFIG3, 0x0C if low_data_rate(sf, 125_000) else 0x04),
        ):
            chip.exchange(bytes([register | 0x80, *values]))

    def peer_listen(self, sf: int) -> None:
        self._set_up(self.peer, sf)
        self.peer.exchange(bytes([r.OP_MODE | 0x80, 0x85]))
        self.clock.advance(300)

    def peer_heard(self) -> list[list[int]]:
        chip = self.peer
        if not chip.lora[r.IRQ_FLAGS] & r.RX_DONE:
            return []
        start, count = chip.lora[r.FIFO_RX_CURRENT_ADDR], chip.lora[r.RX_NB_BYTES]
        return [[chip.fifo[(start + i) & 0xFF] for i in range(count)]]

    def _say(self, chip: Sx1276, data: list[int], crc: bool = True) -> None:
        self.clock.advance(400)  # the node's receiver starts up
        self._set_up(chip, self.chip.modem.sf)
        if not crc:
            chip.exchange(bytes([r.MODEM_CONFIG2 | 0x80, self.chip.modem.sf << 4]))
        chip.exchange(bytes([r.FIFO_ADDR_PTR | 0x80, 0]))
        chip.exchange(bytes([r.FIFO | 0x80, *data]))
        chip.exchange(bytes([r.PAYLOAD_LENGTH | 0x80, len(data)]))
        chip.exchange(bytes([r.OP_MODE | 0x80, 0x83]))

    def peer_send(self, data: list[int]) -> None:
        self._say(self.peer, data)

    def peer_send_without_crc(self, data: list[int]) -> None:
        self._say(self.peer, data, crc=False)

    def peer_send_in(self, us: int, data: list[int]) -> None:
        self._set_up(self.peer, 7)
        self.air.call_at(self.clock.us + us, lambda: self._say(self.peer, data))

    def collide(self) -> None:
        """The second begins in the payload of the first."""
        self._say(self.peer, [0] * 60)
        self.clock.advance(60_000)
        self._say(self.other, [0] * 60)

    # -- the two drivers of a Raspberry Pi, beside the node's --------------------------------------

    def crosstalk(self) -> None:
        """A place with the node, rfm9x on the peer and pyLoRa on the third radio."""
        self.fresh()
        self.rfm9x = self.stack.enter_context(pi_radio.rfm9x(self.clock, self.peer))
        self.pylora = self.stack.enter_context(pi_radio.pylora(self.clock, self.other))

    def pi_listen(self) -> None:
        self.rfm9x.listen()
        self.pylora.listen()
        self.pylora.heard.clear()

    def pi_heard(self) -> list[list[int] | None]:
        self.clock.advance(1000)
        got = self.rfm9x.receive(timeout=0.01, with_header=True)
        return [got and list(got), *map(list, self.pylora.heard)]

    def rfm9x_say(self, data: list[int]) -> None:
        pi_radio.say(self.rfm9x, bytes(data))

    def pylora_say(self, data: list[int]) -> None:
        self.pylora.send(bytes(data))
        self.clock.advance(200_000)

    # -- the wire ---------------------------------------------------------------------------------

    def _serve(self, kind: str, data: bytes) -> bytes:
        if kind == "J":
            what, *more = json.loads(data)
            if what == "asked":
                return json.dumps(self.asked).encode()
            return json.dumps(getattr(self, what)(*more)).encode()
        if kind == "W":
            (until_us,) = struct.unpack("<Q", data)
            while self.clock.us < until_us and not self.edges:
                due_us = self.air.next_us()
                step_us = until_us if due_us is None else min(until_us, max(due_us, self.clock.us))
                self.clock.advance(step_us - self.clock.us)
                self.air.catch_up()
            return b""
        self.asked += 1
        if kind == "T":
            return self.gone * len(data) if self.gone else self.chip.transfer(data)
        if kind == "C":
            self.chip.select(data[0])
        elif kind == "R":
            self.chip.reset_pin(data[0])
        return b""

    def serve(self, wire: socket.socket) -> None:
        """Until the other end is gone."""
        file = wire.makefile("rwb")
        while head := file.read(11):
            kind, size, now_us = struct.unpack("<BHQ", head)
            data = file.read(size)
            self.clock.advance(now_us - self.clock.us)
            back = self._serve(chr(kind), data)
            edges, self.edges = self.edges, 0
            file.write(struct.pack("<HQB", len(back), self.clock.us, edges) + back)
            file.flush()


def on_the_board(*wanted: str) -> str:
    """Runs mp/radio_app.py with an emulated radio; its output."""
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    folders = [".frozen", *map(str, (MP, *SOURCES, VIRTUAL))]
    process = subprocess.Popen(
        [interpreter(), "-X", "heapsize=3m", "radio_app.py", "-", str(theirs.fileno()), *wanted],
        cwd=MP,
        env=dict(os.environ, MICROPYPATH=":".join(folders)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    board = Board()
    try:
        with ours, board.stack:
            board.serve(ours)
        text, _ = process.communicate(timeout=needs.PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, text[-3000:]
    assert text.rstrip().endswith("ok"), text[-3000:]
    return text


TESTS = [
    line.split("def ")[1].split("(")[0]
    for name in ("radio_settings.py", "radio_app.py", "radio_health.py")
    for line in (MP / name).read_text(encoding="utf-8").splitlines()
    if line.startswith("def test_")
]


@pytest.mark.parametrize("name", TESTS)
def test_the_driver(name: str) -> None:
    assert name in on_the_board(name)


def test_a_frame_allocates_nothing(run_mp: Callable[..., str]) -> None:
    assert "100 frames each way: 0 bytes" in run_mp("radio_alloc.py", path=(MP, MP, *SOURCES))


def test_the_application_of_a_board_without_a_radio_loads_nothing_of_it(
    run_mp: Callable[..., str],
) -> None:
    run_mp("radio_absent.py")
