"""Stock Modbus tools on the street's port, resets as a chip knows them, and nothing left behind."""

import asyncio
import contextlib
import ctypes
import ctypes.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rigs import node_heap
from rigs.needs import missing, require_tool
from rigs.twin import Poller, until

from pbal_protocol import config
from pbal_sim import figures
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.asyncio(loop_scope="package")]


async def mbpoll(street: Street, poller: Poller, first: int, count: int) -> dict[int, int] | str:
    """Registers that mbpoll read of home 0, or what it said instead."""
    program = require_tool("mbpoll")
    for _ in range(3):  # a node that is late on a busy computer keeps silent; people ask again
        with poller.aside():
            done = await asyncio.to_thread(
                subprocess.run,
                [program, "-m", "rtu", "-b", "115200", "-P", "none", "-a", str(poller.unit(0)),
                 "-t", "3", "-0", "-r", str(first), "-c", str(count), "-1", "-o", "1",
                 street.device],
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
        said = done.stdout + done.stderr
        if "timed out" not in said:
            break
    values = {
        int(line[1 : line.index("]")]): int(line.split(":")[1].split()[0])
        for line in done.stdout.splitlines()
        if line.startswith("[")
    }
    return values or said


async def test_mbpoll_reads_a_living_node(street: Street, poller: Poller) -> None:
    """Voltages and phase; what the home draws only where the site opened it."""
    phase = await poller.ready(0)
    values = await mbpoll(street, poller, 0, 5)
    assert isinstance(values, dict), values
    assert sorted(values) == list(range(5))
    assert values[0] == 1
    assert 2200 < values[1] < 2450
    values = await mbpoll(street, poller, 8, 4)
    assert isinstance(values, dict), values
    assert values[9] == phase
    for first, count in ((5, 1), (6, 2), (0, 12)):
        assert "Illegal data address" in await mbpoll(street, poller, first, count)
    await poller.set(0, config.PLAIN_REGISTERS, 1)
    try:
        values = await mbpoll(street, poller, 0, 12)
        assert isinstance(values, dict), values
        assert len(values) == 12
        assert 200 < values[5] < 600  # 800 W, in 0.01 A
    finally:
        await poller.set(0, config.PLAIN_REGISTERS, 0)


async def test_libmodbus_reads_the_identification(street: Street, poller: Poller) -> None:
    """43/14 as a raw request; libmodbus checks the CRC of the answer."""
    await poller.ready(0)
    name = ctypes.util.find_library("modbus")
    if name is None:
        missing("libmodbus", "Debian package: libmodbus-dev.")
    lib = ctypes.CDLL(name)
    lib.modbus_new_rtu.restype = ctypes.c_void_p
    context = ctypes.c_void_p(
        lib.modbus_new_rtu(street.device.encode(), 115200, ctypes.c_char(b"N"), 8, 1)
    )

    def talk() -> tuple[int, bytes]:
        assert lib.modbus_connect(context) == 0
        lib.modbus_set_slave(context, poller.unit(0))
        registers = (ctypes.c_uint16 * 5)()
        reads = (lib.modbus_read_input_registers(context, 0, 5, registers) for _ in range(3))
        assert 5 in reads  # stops at the first that was answered in time
        assert registers[0] == 1
        request = (ctypes.c_uint8 * 5)(poller.unit(0), 0x2B, 0x0E, 1, 0)
        assert lib.modbus_send_raw_request(context, request, 5) == 7
        # This confirmation has no length libmodbus knows beforehand: take the bytes themselves.
        fd = lib.modbus_get_socket(context)
        data, end = b"", time.monotonic() + 1.0
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                data += os.read(fd, 256)
            time.sleep(0.02)
        return fd, data

    with poller.aside():
        try:
            _, data = await asyncio.to_thread(talk)
        finally:
            lib.modbus_close(context)
            lib.modbus_free(context)
    assert data[1:4] == bytes((0x2B, 0x0E, 1))
    assert b"pbal" in data
    assert b"esp32-devkitc" in data


async def test_a_killed_interpreter_comes_back_as_after_a_reset(
    street: Street, poller: Poller
) -> None:
    home = street.homes[2]
    await poller.ready(2)
    starts, crashes = home.chip.starts, home.crashes
    os.kill(home.chip.pid, signal.SIGKILL)
    await until(lambda: home.chip.starts == starts + 1 and home.ready.is_set(), "it restarts", 20)
    assert home.crashes == crashes + 1
    await poller.sync(2)
    assert poller.hellos[2][-1].reset_cause == 2
    await poller.ready(2)


async def test_the_heap_is_a_nodes_and_the_hardware_takes_little(
    street: Street, poller: Poller
) -> None:
    await poller.ready(0)
    report = figures.report(street)
    assert report["node_heap_total_bytes"] <= node_heap.HEAP_BYTES
    assert report["node_heap_hal_bytes"] <= 20 * 1024
    health = await poller.ask_health(0)
    # The node counts all that is on its heap here, what stands for hardware included.
    assert 0 < health.heap_used_max - report["node_heap_hal_bytes"] <= node_heap.USED_BYTES


async def test_frames_in_pieces_are_understood(street: Street, poller: Poller) -> None:
    await poller.ready(0)
    for size in (1, 3, 7):
        await street.segment.chunks(size)
        try:
            reading = await poller.telemetry(0)
        finally:
            await street.segment.chunks(0)
        assert reading.phase


async def test_the_driver_is_neither_early_nor_late(street: Street, poller: Poller) -> None:
    """DE is on before the first bit, off after the last, and not held into the next request."""
    await poller.ready(0)
    await street.segment.clear_stats()
    unsent = (await street.segment.stats())["unsent_bytes"]
    for _ in range(40):
        await poller.poll(0)
    stats = await street.segment.stats()
    assert stats["responses"] >= 40
    assert stats["de_early"] == 0
    assert stats["unsent_bytes"] == unsent
    assert stats["driver_hold_us"]["min"] >= 0
    # The interpreter may be preempted on a busy computer; most releases are prompt.
    assert stats["driver_hold_us"]["p50"] < 1750


_CHILD = """
import asyncio
from pbal_sim.street import Street, StreetConfig
async def main():
    async with Street(StreetConfig(homes=2)) as street:
        print(street.workdir, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def family(mark: str) -> set[int]:
    """Living processes with `mark` in their command line (children of a fork keep it)."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not dead and mark in (folder / "cmdline").read_text():
                found.add(int(folder.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
async def test_a_street_that_ends_leaves_nothing(how: signal.Signals) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    workdir = (await asyncio.wait_for(child.stdout.readline(), 40)).decode().strip()
    assert os.path.isdir(workdir)  # noqa: ASYNC240
    assert len(family(workdir)) == 4  # the process server, the bus, two nodes
    child.send_signal(how)
    await asyncio.wait_for(child.wait(), 20)
    await until(lambda: not family(workdir) and not os.path.exists(workdir), "nothing is left", 10)
