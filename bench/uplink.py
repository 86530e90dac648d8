"""Bytes a day on the wire between a transformer and HQ, TLS, MQTT, TCP and IP included.

    python -m bench.uplink [--json] [--days 1] [--events 50] [--form packed plain]

The controller's own uplink sends a day's messages of a transformer with 100 homes (288 summaries of
5 minutes with every field known and changing, and so many switchings) to a real Mosquitto over TLS
1.3; the small HQ of the twin acknowledges every twelfth message, as an HQ does that answers once an
hour. The day is played fast, but no two messages share a segment: each waits until the one
before is acknowledged by TCP, as it is when five minutes lie between them. MQTT's keep-alive adds
nothing: at 900 s there is always traffic before it is due.

`payload_kb` is what TLS puts into TCP, both ways; `wire_kb` adds 20 bytes of IPv4 and 32 of TCP
with time stamps for each segment, counted by the kernel (tcp_info), acknowledgements included.
Connecting once, with its handshake and birth, is part of the day; `connect_wire_kb` is that part.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.uplink import Uplink, outbox
from pbal_host import check_cancelled
from pbal_sim.hq import Broker, Host, Pki, free_port
from pbal_uplink import Event, State, Summary, names

SITE = 7
WINDOW_S = 300
START_S = 1_800_000_000
HEADERS = 52  # IPv4 20, TCP 20, time stamps 12
GAP_S = 0.06  # beyond TCP's delayed acknowledgement (40 ms)
LIMIT_KB = 100.0


def summary(n: int) -> Summary:
    """A window with every field known, and none as in the one before."""
    turn = 2 * math.pi * n / 288
    amps = {f"i{p}_{w}_a": 120 + 90 * math.sin(turn + k) + (20 if w == "max" else 0)
            for w in ("mean", "max") for k, p in enumerate("abcn")}  # fmt: skip
    spans = (("min", -6), ("mean", 0), ("max", 5))
    volts = {f"v{p}_{w}_v": 230 + at + 3 * math.sin(turn + k)
             for w, at in spans for k, p in enumerate("abc")}  # fmt: skip
    energy = {f"e{p}_{w}_kwh": 2 + math.sin(turn + k) for w in ("import", "export")
              for k, p in enumerate("abc")}  # fmt: skip
    return Summary(
        site=SITE, start_s=START_S + WINDOW_S * n, length_s=WINDOW_S, vuf_percent=0.8 + n % 7 / 10,
        pvur_percent=1.1 + n % 11 / 10, load_mean_percent=40 + n % 50, load_max_percent=50 + n % 60,
        hotspot_c=60 + n % 40, losses_avoided_wh=20 + n, losses_method=names.LOSSES_FIRST_PHASES,
        homes=100, homes_alive=100 - n % 3, homes_fresh=99 - n % 3, homes_quarantined=n % 2,
        rs485_percent=99.5 - n % 4 / 2, lora_percent=98 - n % 5, udp_percent=97 - n % 6,
        confirmed=n % 3, complete_percent=100, **amps, **volts, **energy,
    )  # fmt: skip


def event(n: int, at_s: int) -> Event:
    """A switching."""
    return Event(
        site=SITE, event_id=0x0123456789ABCDEF ^ n * 0x9E3779B97F4A7C15 % (1 << 64), at_s=at_s,
        kind=names.KIND_SWITCHING, outcome=names.OUTCOME_CONFIRMED, address=257 + n % 100,
        from_phase=1, to_phase=2, command_id=27_000_000 + n, detail="measured",
    )  # fmt: skip


class Wire:
    """A relay that counts what goes through it, as TCP counts it on the site's side."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self.port = free_port()
        self._socket: socket.socket | None = None
        self._ended = (0, 0, 0, 0)

    async def start(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        raw = writer.get_extra_info("socket")
        self._socket = raw
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._socket = None
        writer.close()
        back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._ended = self.counts()
            writer.write(data)
            await writer.drain()
        writer.close()

    def counts(self) -> tuple[int, int, int, int]:
        """(bytes down, bytes up, segments down, segments up) so far: Linux's struct tcp_info."""
        if self._socket is None:
            return self._ended
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
        except OSError:
            return self._ended
        down, up, segments_down, segments_up = struct.unpack_from("<QQII", info, 120)
        return down, up, segments_down, segments_up


async def day(folder: Path, form: str, days: float, events: int) -> dict[str, Any]:
    """One run; the result as printed."""
    pki = Pki(folder / "pki")
    broker = Broker(folder, pki)
    wire = Wire(broker.port)
    server = await wire.start()
    certificate, key = pki.issue("site")
    config = UplinkConfig.model_validate({
        "kind": "sparkplug", "host": "localhost", "port": wire.port, "group": "north",
        "ca": pki.ca, "certificate": certificate, "key": key, "form": form, "spread_s": 0,
    })  # fmt: skip
    journal = AsyncJournal(folder / "journal.db")
    await journal.open()

    def state(backlog: int, thinned: int) -> State:
        return State(
            site=SITE, at_s=START_S, words=1, version=0x000100, config_hash=bytes(range(8)),
            window_s=WINDOW_S, homes=100, rated_kva=250.0, backlog=backlog, thinned=thinned,
            name="Mill Lane 12",
        )  # fmt: skip

    async def nothing() -> None:
        return None

    class NoOrders:
        async def take(self, sealed: bytes) -> Any:
            raise AssertionError(sealed)

    uplink = Uplink(journal, config, SITE, state, NoOrders(), nothing, time.time)
    count, told = round(days * 86_400 / WINDOW_S), 0
    try:
        async with Host.of(pki, broker.port, batch=12) as host:
            task = asyncio.create_task(uplink.run(check_cancelled))
            await host.until(lambda: host.births)
            await asyncio.sleep(0.5)
            connect = wire.counts()
            for n in range(count):
                due: list[Summary | Event] = [summary(n)]
                while told < round(events * days * (n + 1) / count):
                    due.append(event(told, START_S + WINDOW_S * n))
                    told += 1
                for each in due:
                    await journal.call(outbox.put, each, 100_000)
                    uplink.wake()
                    await host.until(lambda: uplink.sent_total == len(host.got))
                    await asyncio.sleep(GAP_S)
            total = wire.counts()
            held = len(host.store)
            task.cancel()
            await asyncio.wait([task])
    finally:
        server.close()
        broker.kill()
        await journal.close()
    assert held == count + told, "a message is missing"
    # One connection a day, however long the run.
    of_a_day = [c + (t - c) / days for c, t in zip(connect, total, strict=True)]
    return {
        "form": form, "summaries": count, "events": told, "summary_bytes": len(summary(0).encode()),
        **_sizes("", of_a_day), **_sizes("connect_", connect),
    }  # fmt: skip


def _sizes(name: str, counts: Sequence[float]) -> dict[str, float]:
    payload = (counts[0] + counts[1]) / 1000
    return {
        f"{name}payload_kb": round(payload, 2),
        f"{name}wire_kb": round(payload + HEADERS * (counts[2] + counts[3]) / 1000, 2),
        f"{name}segments": round(counts[2] + counts[3]),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 1 when the packed form needs more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.uplink",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--events", type=int, default=50, help="switchings and alarms a day")
    parser.add_argument("--form", nargs="+", default=["packed", "plain"])
    args = parser.parse_args(arguments)
    results = []
    for form in args.form:
        with tempfile.TemporaryDirectory() as folder:
            results.append(asyncio.run(day(Path(folder), form, args.days, args.events)))
    if args.json:
        print(json.dumps({"limit_kb": LIMIT_KB, "runs": results}, indent=1))
    else:
        print(f"kB a day, {LIMIT_KB:g} allowed with TLS and MQTT; 100 homes, every {WINDOW_S} s")
        for r in results:
            print(
                f"  {r['form']:<7} {r['payload_kb']:>6.1f}; with TCP and IP {r['wire_kb']:.1f}"
                f" ({r['segments']} segments), of it connecting {r['connect_wire_kb']:.1f}; "
                f"{r['summaries']} summaries of {r['summary_bytes']} bytes, {r['events']} events"
            )
    return int(any(r["form"] == "packed" and r["payload_kb"] > LIMIT_KB for r in results))


if __name__ == "__main__":
    sys.exit(main())
