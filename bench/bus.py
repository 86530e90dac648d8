"""Poll cycle of a full RS-485 segment beside the line's own limit and a plain Modbus client.

    python -m bench.bus [--json] [--homes 60] [--seconds 20] [--dead 3]

Three runs on one simulated 115200-baud segment with a real interpreter per home:

1. the real controller polls all homes as fast as it can (planner off). `cycle_s` is the mean time
   in which every home answers once; `line_limit_s` is what the same bytes need at 11 bits a
   character plus one silence of 1.75 ms after each frame; `of_line_limit` is their ratio;
2. the same with some homes dead: the age of healthy homes' readings as the controller keeps it;
3. a plain pymodbus client reads the 12 input registers of every home, one after the other. A first
   round, in which each node loads the code that answers stock tools, does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException

from bench.site import Site
from pbal_sim import figures
from pbal_sim.line import char_us, silence_us
from pbal_sim.street import Street, StreetConfig

REGISTERS = 12
OPTIONS = {"planner": {"enabled": False}, "polling": {"min_interval_s": 0.0}}


def limit_s(stats: dict[str, Any], baud: int) -> float:
    """Time the counted frames need on the line: their bytes and one silence after each."""
    size = stats["bytes_down"] + stats["bytes_up"]
    frames = stats["requests"] + stats["responses"]
    return (size * char_us(baud) + frames * silence_us(baud)) / 1e6


def cpu_s(street: Street, site: Site) -> dict[str, float]:
    """Processor time used so far by each part, in seconds."""
    tick = os.sysconf("SC_CLK_TCK")

    def used(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / tick

    return {
        "nodes": sum(used(h.chip.pid) for h in street.homes if h.chip.pid),
        "bus": used(street.segment.pid),
        "controller": used(site.pid),
        "mains_and_meters": used(os.getpid()),
    }


async def controller_cycle(street: Street, site: Site, seconds: float) -> dict[str, Any]:
    """The real controller at full speed, every home alive."""
    homes = street.config.homes
    await site.until(
        lambda s: all(h["age_s"] is not None and h["age_s"] < 20 for h in s["homes"]),
        "every home heard",
        60,
    )
    await asyncio.sleep(3)
    before = await site.status()
    await street.segment.clear_stats()
    busy = cpu_s(street, site)
    start = time.monotonic()
    await asyncio.sleep(seconds)
    stats = await street.segment.stats()
    elapsed = time.monotonic() - start
    used = {k: v - busy[k] for k, v in cpu_s(street, site).items()}
    after = await site.status()
    cycles = stats["responses"] / homes
    limit = limit_s(stats, street.config.baud)
    frames = {k: after["frames"][k] - before["frames"][k] for k in ("polls", "answers", "lost")}
    return {
        "cycle_s": elapsed / cycles,
        "line_limit_s": limit / cycles,
        "of_line_limit": limit / elapsed,
        "polls": frames["polls"],
        "lost": frames["lost"],
        "age_p95_s": after["telemetry_age_p95_s"],
        "age_p95_worst_s": after["telemetry_age_p95_worst_s"],
        "cpu_ms_per_poll": {k: 1000 * v / stats["responses"] for k, v in used.items()},
        "turn_node_us": stats["turn_node_us"],
        "turn_controller_us": stats["turn_controller_us"],
        "driver_hold_us": stats["driver_hold_us"],
        "collided_frames": stats["collided_frames"],
        "overrun_bytes": stats["overrun_bytes"],
        "bytes_per_answer": stats["bytes_up"] / max(1, stats["responses"]),
    }


async def with_dead(street: Street, site: Site, dead: int, seconds: float) -> dict[str, Any]:
    """Ages of the living with some homes without supply."""
    for i in range(dead):
        await street.power_off(street.config.homes // 2 + i)
    await site.until(
        lambda s: s["homes_alive"] == street.config.homes - dead, "the dead noticed", 60
    )
    await site.stop()
    await site.start()  # ages from here on
    await site.until(lambda s: s["homes_alive"] >= street.config.homes - dead, "living heard", 60)
    await asyncio.sleep(3 + seconds)
    status = await site.status()
    ages = sorted(h["age_s"] for h in status["homes"] if h["age_s"] is not None and h["alive"])
    result = {
        "dead": dead,
        "age_p95_s": status["telemetry_age_p95_s"],
        "age_p95_worst_home_s": status["telemetry_age_p95_worst_s"],
        "age_max_now_s": ages[-1],
        "lost": status["frames"]["lost"],
        "polls": status["frames"]["polls"],
    }
    for i in range(dead):
        await street.power_on(street.config.homes // 2 + i)
    return result


async def plain_client(street: Street, seconds: float) -> dict[str, Any]:
    """pymodbus as it comes: read 12 input registers, home after home."""
    # A pseudo terminal has no parity to set (the C library refuses it); the simulated line
    # counts 11 bits a character whatever the client says.
    client = AsyncModbusSerialClient(
        street.device,
        framer=FramerType.RTU,
        baudrate=street.config.baud,
        parity="N",
        retries=0,
        timeout=0.2,
    )
    await client.connect()
    units = [n.address & 0xFF for n in street.identities]

    async def read(unit: int) -> bool:
        try:
            answer = await client.read_input_registers(0, count=REGISTERS, device_id=unit)
        except ModbusException:
            return False
        return not answer.isError()

    reads = failed = 0
    try:
        for unit in units:
            await read(unit)
        await street.segment.clear_stats()
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            for unit in units:
                failed += not await read(unit)
                reads += 1
        elapsed = time.monotonic() - start
        stats = await street.segment.stats()
    finally:
        client.close()
    return {
        "cycle_s": elapsed / reads * len(units),
        "of_line_limit": limit_s(stats, street.config.baud) / elapsed,
        "reads": reads,
        "failed": failed,
        "turn_node_us": stats["turn_node_us"],
        "turn_controller_us": stats["turn_controller_us"],
    }


async def measure(homes: int, seconds: float, dead: int) -> dict[str, Any]:
    """All three runs on one street."""
    # The plain client reads the same twelve registers as in earlier versions: the homes show them
    # all.
    config = StreetConfig(homes=homes, speed=1.0, node_settings={"plain_registers": 1})
    async with Street(config) as street:
        await asyncio.sleep(8)  # the contacts close after their random delays
        plain = await plain_client(street, seconds)
        site = Site(street, OPTIONS)
        await site.start()
        ours = await controller_cycle(street, site, seconds)
        ages = await with_dead(street, site, dead, seconds) if dead else None
        await site.stop()
        report = figures.report(street)
        return {
            "homes": homes,
            "baud": street.config.baud,
            "interpreter": report["interpreter"],
            "load_average": os.getloadavg()[0],
            "pbal": ours,
            "pbal_with_dead": ages,
            "plain_pymodbus_12_registers": plain,
            "cycle_ratio_to_plain": ours["cycle_s"] / plain["cycle_s"],
            "node_crashes": report["node_crashes"],
        }


def main() -> int:
    """Prints the figures as text or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.bus", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--homes", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dead", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    result = asyncio.run(measure(options.homes, options.seconds, options.dead))
    if options.json:
        print(json.dumps(result, indent=1))
        return 0
    ours, plain, ages = (
        result["pbal"],
        result["plain_pymodbus_12_registers"],
        result["pbal_with_dead"],
    )
    print(
        f"{options.homes} homes at {result['baud']} baud, load average {result['load_average']:.1f}"
    )
    print(
        f"pbal            cycle {ours['cycle_s']:.3f} s, line limit {ours['line_limit_s']:.3f} s: "
        f"{ours['of_line_limit']:.2f} of it; lost {ours['lost']} of {ours['polls']}"
    )
    share = plain["of_line_limit"]
    print(
        f"plain pymodbus  cycle {plain['cycle_s']:.3f} s, {share:.2f} of its limit, "
        f"failed {plain['failed']} of {plain['reads']}"
    )
    if ages:
        print(
            f"{ages['dead']} dead homes    age p95 {ages['age_p95_s']:.2f} s, "
            f"worst home's p95 {ages['age_p95_worst_home_s']:.2f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
