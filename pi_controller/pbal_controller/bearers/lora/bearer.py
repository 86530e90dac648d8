"""The LoRa bearer: rounds of beacons, slots, repairs and exchanges over one radio.

    | beacon | slots | contention | repair ... | exchanges | next beacon

Homes send their readings in slots of their own (pbal_protocol.radio.tdma). What is sent to a home
goes in an exchange after the round (exchanges.py), and is answered at once. A home without a slot
sends in the contention window; its frame is authentic, so it gets a slot with the next exchange.
Wired homes behind bridges have their turn before the exchanges (bridges.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from pbal_controller.bearers.base import Traffic, Where
from pbal_controller.bearers.lora.bridges import ROOM, Bridges, source_of
from pbal_controller.bearers.lora.driver import Driver, Received
from pbal_controller.bearers.lora.drivers import opened
from pbal_controller.bearers.lora.exchanges import Exchanges
from pbal_controller.bearers.lora.hats import load_hat
from pbal_controller.bearers.lora.outsiders import Outsiders
from pbal_controller.bearers.lora.quality import Quality
from pbal_controller.bearers.lora.radio import RadioThread
from pbal_controller.bearers.lora.settings import ANSWER_BYTES, TURN_S, Behind, RadioConfig
from pbal_controller.bearers.lora.surroundings import Surroundings
from pbal_controller.bearers.sleeper import Sleeper
from pbal_controller.errors import BearerError
from pbal_controller.loops import Backoff
from pbal_protocol.errors import RangeError
from pbal_protocol.frames import NONCE_LEN
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.budget import Budget
from pbal_protocol.radio.records import Beacon

log = logging.getLogger(__name__)

# Where a frame of an update would take too long, a shorter one goes.
_ROOM_FAST, _ROOM_SLOW, _FAST_SF = ROOM, 110, 8
_WAIT_S = 0.25
_BACKOFF_S = (1.0, 60.0)
# A home's slot may use this share of the airtime that the plan allows; its other frames the rest.
_SLOT_SHARE = 0.5


class LoraBearer:
    """The owner of one radio; see the module's text."""

    reconnects = 0
    up = False

    def __init__(self, name: str, config: RadioConfig, traffic: Traffic) -> None:
        self.name = name
        self.config = config
        self.room = _ROOM_FAST if config.sf <= _FAST_SF else _ROOM_SLOW
        self.quality: dict[Where, Quality] = {}
        self.round_s = 0.0
        self._traffic = traffic
        self._bw_hz = config.up[1]
        guard_us = round(1000 * config.guard_ms)
        version = secrets.randbelow(256)  # nodes that knew an earlier map join anew
        self._rounds = tdma.Rounds(version, config.sf, self._bw_hz, guard_us)
        self._guard_s = self._rounds.guard_us / 1e6
        self._rates: dict[int, tdma.Rate] = {}
        self._outsiders = Outsiders(name)
        self._around = Surroundings(name, config, traffic, self._guard_s)
        self._bridges = Bridges(name, config, traffic, self)
        self._exchanges = Exchanges(config, traffic, self._rounds, self._bridges, self)
        self._budget = Budget(config.plan, (config.down,))
        self._radio: RadioThread | None = None
        self._sleeper = Sleeper()
        self._counts = dict.fromkeys(("rounds", "repairs", "joins"), 0)
        self._airtime_us = 0
        self._began = time.monotonic()
        self._why = "the radio is not open yet"

    # -- what a bearer says -------------------------------------------------------------------

    def reaches(self, where: Where) -> str:
        """Why a home cannot be reached now."""
        if not self.up:
            return self._why
        if isinstance(where, Behind):
            return self._bridges.reaches(where)
        assert isinstance(where, int)
        return "" if self._rounds.sf_of(where) else "it was not heard on this channel yet"

    def always_seals(self, where: Where) -> bool:
        """A home with a radio answers sealed frames only; a bridge asks its homes by itself."""
        return not isinstance(where, Behind)

    def cost_s(self, size: int) -> float:
        """A frame down and the longest answer."""
        down_us = time_on_air_us(min(size, self.room), self.config.sf, self._bw_hz)
        answer_us = time_on_air_us(ANSWER_BYTES, self.config.sf, self._bw_hz)
        return (down_us + answer_us) / 1e6 + 2 * self._guard_s + TURN_S

    def freshness_s(self, homes: int) -> float:
        """One round in which all are heard, at the slowest spreading factor."""
        slot_us = time_on_air_us(tdma.UP_BYTES, self.config.sf, self._bw_hz)
        beacon_us = time_on_air_us(35 + (homes + 7) // 8, self.config.sf, self._bw_hz)
        round_s = (homes * slot_us + beacon_us + self._rounds.window_us()) / 1e6
        round_s += (homes + 2) * self._guard_s + self.config.exchanges * self.cost_s(64)
        return max(round_s, self._least_s())

    def drop(self, where: Where) -> None:
        """Nothing of it is taken any more. While it can read beacons it may speak in its slot,
        which nobody else gets before `renewed`.
        """
        if isinstance(where, int):
            self._rounds.drop(where, keep=True)
            self._outsiders.dropped(where)
            self._rates.pop(where, None)
            self.quality.pop(where, None)
            self._exchanges.joining.discard(where)
        self._bridges.drop(where)

    def renewed(self) -> None:
        """The group key is a new one: homes that were dropped read no beacon any more."""
        self._rounds.release()

    def wake(self) -> None:
        """Something new may be due."""
        self._sleeper.wake()

    def counts(self) -> dict[str, int]:
        """Since start, by outcome."""
        radio = self._radio
        return (
            self._counts
            | self._outsiders.counts
            | self._exchanges.counts
            | self._bridges.counts()
            | self._around.counts()
            | {
                "dropped": radio.dropped if radio else 0,
                "damaged": radio.damaged if radio else 0,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        c = self.config
        return {
            "name": self.name,
            "kind": "lora",
            "state": "open" if self.up else "closed",
            "last_error": self._why,
            "region": c.region,
            "channel_hz": c.up[0],
            "sf": c.sf,
            "driver": c.driver,
            "round_s": round(self.round_s, 2),
            "slots": len(self._rounds.homes()),
            "airtime_share": round(self._airtime_us / 1e6 / self._alive_s(), 4),
            "bridges": self._bridges.as_list(),
            **self._outsiders.as_dict(),
            **self._around.as_dict(),
            **self.counts(),
        }

    def _alive_s(self) -> float:
        return max(1.0, time.monotonic() - self._began)

    # -- life ---------------------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Rounds until cancelled; a radio that is gone is opened again."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(*_BACKOFF_S)
        while True:
            radio = RadioThread(self._open, self.config.queue)
            try:
                await radio.start()
                self._radio = radio
                self.up, self._why = True, ""
                log.info("radio open", extra={"bearer": self.name, "region": self.config.region})
                while True:
                    beat()
                    await self._round(radio)
                    backoff.reset()
            except (BearerError, ValueError) as error:
                if self.up or self._why != str(error):
                    log.error("radio", extra={"bearer": self.name, "why": str(error)})
                if self.up:
                    self.reconnects += 1
                self.up, self._why = False, str(error)
                self._traffic.lost()
            finally:
                await radio.stop()
            again = loop.time() + backoff.next()
            while loop.time() < again:
                beat()
                await asyncio.sleep(min(1.0, max(0.0, again - loop.time())))

    def _open(self) -> Driver:
        return opened(self.config, load_hat(self.config.hat))

    async def _round(self, radio: RadioThread) -> None:
        rounds, loop = self._rounds, asyncio.get_running_loop()
        began = loop.time()
        beacon: Beacon | None = rounds.begin(*_site_time())
        while beacon is not None:
            if not await self._beacon(radio, beacon):
                await asyncio.sleep(_WAIT_S)  # no counter is reserved yet
                return
            beacon = rounds.repair(*_site_time())
        self._counts["rounds"] += 1
        self._judge()
        await self._bridges.turns(radio)
        await self._exchanges.run(radio)
        await self._give_way(radio, began)
        self.round_s = loop.time() - began

    async def _give_way(self, radio: RadioThread, began: float) -> None:
        """After a round: wait until the next one is due and no other site has its turn."""
        rounds, loop, n = self._rounds, asyncio.get_running_loop(), self._around.neighbours
        over_s = loop.time()
        homes = len(rounds.homes())
        heard = 1 - len(rounds.missing()) / homes if homes else 1.0
        self._around.after_round(radio.quietest_dbm(), heard)
        if n.says_end(over_s):
            frame = self._traffic.beacon(rounds.end(*_site_time()))
            if frame:
                await self.transmit(radio, frame)
        n.ended(loop.time(), heard, over_s - began)
        due_s = began + self._least_s()
        radio.tune(0.0, self.config.down[0], self.config.sf)
        while (begin_s := n.begin_s(loop.time(), due_s)) > loop.time():
            received = await radio.receive(begin_s)
            if received is not None:
                self.take(received)
        n.began(loop.time(), due_s)

    def _least_s(self) -> float:
        """How short a round may be, for the homes' own airtime."""
        least = self.config.round_s
        hz, bw_hz = self.config.up
        duty = self.config.plan.band(hz, bw_hz).duty_permille
        if duty:
            slowest = max((self._rounds.sf_of(a) for a in self._rounds.homes()), default=7)
            us = time_on_air_us(tdma.UP_BYTES, slowest, bw_hz)
            least = max(least, us / 1e6 / (_SLOT_SHARE * duty / 1000))
        return least

    # -- the parts of a round -----------------------------------------------------------------

    async def transmit(self, radio: RadioThread, frame: bytes) -> float:
        """Within the airtime budget; when it ended."""
        hz, bw_hz = self.config.down
        us = time_on_air_us(len(frame), self.config.sf, bw_hz)
        while True:
            now_ms = time.monotonic_ns() // 1_000_000
            wait_ms = self._budget.wait_ms(now_ms, 0, us)
            if not wait_ms:
                break
            await asyncio.sleep(min(wait_ms / 1000, 1.0))
        self._budget.spend(now_ms, 0, us)
        self._airtime_us += us
        radio.forget()
        self._around.sent(frame)
        return await radio.send(frame, hz, self.config.sf)

    async def _beacon(self, radio: RadioThread, beacon: Beacon) -> bool:
        """Send the beacon and receive what follows it; False when nothing can be sealed."""
        rounds = self._rounds
        frame = self._traffic.beacon(beacon)
        if not frame:
            return False
        if beacon.repair:
            self._counts["repairs"] += 1
        end_s = await self.transmit(radio, frame)
        begin_s = end_s - rounds.beacon_us(beacon) / 1e6
        hz, tuned = self.config.up[0], 0
        for _address, sf, at_us in rounds.slots_us(beacon):
            if sf != tuned:
                at_s = begin_s + at_us / 1e6 - self._guard_s / 2 if tuned else 0.0
                radio.tune(at_s, hz, sf)
                tuned = sf
        close_s = begin_s + rounds.length_us(beacon) / 1e6
        if tuned != rounds.sf:
            window_s = 0.0 if beacon.repair else rounds.window_us() / 1e6
            radio.tune(close_s - window_s - self._guard_s / 2 if tuned else 0.0, hz, rounds.sf)
        while (received := await radio.receive(close_s)) is not None:
            self.take(received)
        return True

    def _judge(self) -> None:
        """After a round: which homes were not heard, and whose spreading factor changes."""
        rounds = self._rounds
        missing = set(rounds.missing())
        for address in rounds.homes():
            rate = self._rates[address]
            if address in missing and address in rounds.settling():
                continue
            if address in missing:
                if rounds.missed(address) >= 1:  # in the round before, too
                    self._traffic.unheard(address, asyncio.get_running_loop().time())
                sf = rate.missed()
            else:
                sf = rate.heard(round(4 * self.quality[address].snr_db))
            if sf != rounds.sf_of(address):
                self._assign(address, sf)

    def _assign(self, address: int, sf: int) -> None:
        try:
            record = self._rounds.assign(address, sf)
        except RangeError as error:
            log.error("no slot", extra={"bearer": self.name, "home": address, "why": str(error)})
            return
        self._traffic.tell(address, record)

    # -- frames that come ---------------------------------------------------------------------

    def take(self, received: Received) -> None:
        """A frame in a slot or in the contention window."""
        address = source_of(received.frame)
        now = asyncio.get_running_loop().time()
        if address is None and self._bridges.late(received):
            return
        if address is None:
            self._outsiders.unknown()
            self._around.overhear(received, now)
            return
        if not self._traffic.unasked(address, received.frame, now):
            self._outsiders.refused(address, received, address in self.quality)
            return
        self._outsiders.accepted(address)
        self._note(address, received)
        if len(received.frame) == tdma.UP_BYTES:
            self._rounds.heard(address)
            self._rounds.confirm(address, received.sf)
            return
        if len(received.frame) == tdma.UP_BYTES + NONCE_LEN:
            self._rounds.heard(address)  # a reading that had no room in its slot
        self._urgent(address)

    def _urgent(self, address: int) -> None:
        """Assigns a slot to a home without one, or whose slot was missed; others used their
        slot."""
        sf = self._rounds.sf_of(address)
        if sf and address not in self._rounds.missing():
            return
        if not sf:
            self._counts["joins"] += 1
            snr_q4 = round(4 * self.quality[address].snr_db)
            sf = tdma.Rate.first(snr_q4, 7, self.config.sf)
            self._rates[address] = tdma.Rate(sf, 7, self.config.sf)
        self._exchanges.joining.add(address)
        self._assign(address, sf)
        self._rounds.settles(address)

    # -- for bridges and exchanges ---------------------------------------------------------------

    def heard_sf(self, address: int) -> int:
        """The spreading factor of a home with a radio; 0 while it has no slot."""
        return self._rounds.sf_of(address)

    def missed(self, address: int) -> int:
        """Rounds in a row in which it was not heard, this one included."""
        if address not in self._rounds.missing():
            return 0
        return self._rounds.missed(address) + 1

    def note(self, address: int, received: Received) -> dict[str, float]:
        """A frame of a home with a radio outside of its slot; how well it is heard."""
        self._rounds.heard(address)
        return self._note(address, received)

    def _note(self, address: int, received: Received) -> dict[str, float]:
        us = time_on_air_us(len(received.frame), received.sf, self._bw_hz)
        found = self.quality.setdefault(address, Quality())
        found.note(received.rssi_dbm, received.snr_db, us)
        figures = found.figures(self._rounds.sf_of(address), self._alive_s())
        figures |= {"round_s": round(self.round_s, 2)}
        self._traffic.quality(address, figures)
        return figures


def _site_time() -> tuple[int, int]:
    ms = time.time_ns() // 1_000_000
    return ms // 1000, ms % 1000
