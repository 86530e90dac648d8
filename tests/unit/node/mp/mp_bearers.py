"""The bearer seam (docs/node.md, "Bearers"): a second bearer works beside RS-485, whatever its
frames look like and however small they are, and the node needs to know nothing of it.
"""

import asyncio

import machine
import support

from pbal_protocol import frames, kdf, records

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
SITE, ADDRESS, KEY = 7, 0x0105, bytes(range(32))
support.install_identity(SITE, ADDRESS, KEY, KEY)

from pbal_node import app as app_module  # noqa: E402

UP, DOWN = kdf.node_keys(KEY, SITE, ADDRESS)
SEALER = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS)
GROUP_KEY = kdf.group_key(KEY, SITE)
GROUP = frames.Sealer(GROUP_KEY, frames.GROUP, SITE, 0)
OPENER = frames.Opener(UP, frames.UP, SITE, ADDRESS)
LEAST = 15 + 12 + records.Telemetry.SIZE  # with the nonce that a frame has until time is proven


class Letters:
    """A toy: each letter is b"<", the frame, b">". What has another form was damaged."""

    def __init__(self, link, rhythm, room):
        self._link = link
        self._rhythm = rhythm
        self._room = room
        self._came = asyncio.Event()
        self._letter = b""
        self.answer = b""
        self.bad_crc = self.malformed = self.answered = self.looked = 0

    def bring(self, letter):
        self._letter = letter
        self._came.set()

    def alive(self, now_ms):
        self.looked += 1
        return True

    async def run(self):
        while True:
            await self._came.wait()
            self._came.clear()
            letter = self._letter
            if letter[:1] == b"!":
                self._link.group(letter, 1, len(letter) - 1)
            elif letter[:1] != b"<" or letter[-1:] != b">":
                self.malformed += 1
            else:
                out = bytearray(b"<" + b"." * 255)
                n = self._link.poll(letter, 1, len(letter) - 1, out, 1, self._room)
                self.answer = bytes(out[: 1 + n]) + b">"
                assert n <= self._room and not any(b != 46 for b in out[1 + n :])
                self.answered += 1
                self._rhythm.answered(0)


async def ask(bearer, *items):
    """What the node says to these records."""
    body = b""
    if items:
        payload = b"".join([r.encode() for r in items])
        body = SEALER.seal(SEALER.last + 1, payload)
    bearer.answer = b""
    bearer.bring(b"<" + body + b">")
    await asyncio.sleep_ms(5)
    assert bearer.answer[:1] == b"<" and bearer.answer[-1:] == b">", bearer.answer
    return records.decode_all(OPENER.open(bearer.answer[1:-1]), "up")


def run(scenario, room):
    async def both():
        app = app_module.App()
        bearer = Letters(app.link, app.measuring.rhythm, room)
        app.bearers.append(bearer)
        SEALER.last = app.counters.down_floor  # what a start before this one may have accepted
        task = asyncio.create_task(app.run())
        await asyncio.sleep_ms(300)
        await scenario(app, bearer)
        assert not task.done(), "the application ended"
        task.cancel()

    asyncio.new_event_loop()
    asyncio.run(both())


def a_second_bearer_carries_all_that_rs485_does():
    async def scenario(app, bearer):
        names = [r.NAME for r in await ask(bearer)]
        assert names[:2] == ["Telemetry", "Hello"], names
        names = [r.NAME for r in await ask(bearer, records.ConfigGet(key=1))]
        assert "Ack" in names and "ConfigValue" in names, names
        bearer.bring(b"!" + GROUP.seal(1, records.MeasureNow().encode()) + b">")
        app.measuring._at_once = False
        await asyncio.sleep_ms(1)
        assert app.measuring._at_once, "the group's frame did not arrive"

    run(scenario, 240)


def a_small_frame_takes_what_fits_and_says_that_there_is_more():
    async def scenario(app, bearer):
        seen = []
        for _ in range(8):
            seen += [r.NAME for r in await ask(bearer)]
        assert "Hello" not in seen and app.link.hints & 1, "no room for it, and nobody hears of it"
        assert seen.count("Telemetry") == 8

    run(scenario, LEAST)


def without_room_for_a_nonce_nothing_is_said_before_the_time_is_proven():
    async def scenario(app, bearer):
        bearer.bring(b"<>")
        await asyncio.sleep_ms(5)
        assert bearer.answer == b"<>", bearer.answer
        app.clock.wants_answer = lambda: False
        app.counters.follow(1800000000)
        for now_s, said in ((1800000000, False), (1800000001, True)):
            bearer.answer = b""
            app.clock.now_s = lambda now_s=now_s: now_s
            bearer.bring(b"<>")
            await asyncio.sleep_ms(5)
            assert said == (len(bearer.answer) > 2), "only below the clock's own counters"
        assert bearer.answer[1] == 0x11 and len(bearer.answer) == 2 + LEAST - 12, bearer.answer

    run(scenario, LEAST - 12)


def its_counters_are_in_the_health_record():
    async def scenario(app, bearer):
        bearer.bring(b"noise")
        await asyncio.sleep_ms(5)
        bearer.bad_crc = 5
        app.bearers[0].rx.bad_crc = 7
        got = await ask(bearer, records.StatusGet(what=2))
        for _ in range(3):
            got += await ask(bearer)
        health = [r for r in got if r.NAME == "Health"][0]
        assert (health.bad_crc, health.malformed) == (12, 1), (health.bad_crc, health.malformed)

    run(scenario, 240)


def it_is_looked_after_and_proves_an_update():
    async def scenario(app, bearer):
        proofs = []

        class OnTrial:
            on_trial = True

            def prove(self, now_ms, proven_ms, heard, metered, emit):
                proofs.append(heard)

        app.slots = OnTrial()
        await ask(bearer, records.StatusGet(what=2))
        await asyncio.sleep_ms(4500)
        app.slots = None
        assert bearer.looked >= 2, "nobody asks whether it makes progress (S11)"
        assert proofs and proofs[-1], "heard and answered over this bearer alone"
        assert not machine.UART.made[2].tx

    run(scenario, 240)


def a_reading_without_room_in_its_slot_goes_in_the_window_for_urgent_frames():
    from pbal_node.bearers import lora

    sent = []

    class Parts:
        groups = None
        buf = bytearray(64)
        other = heard_ms = 0
        needs_nonce = True
        alarm = False

        def now_ms(self):
            return 1

        def fill_telemetry(self, x):
            x.phase = 1

        def urgent(self):
            return self.alarm

        def poll(self, buf, start, end, tx, at, room):
            n = 15 + (12 if self.needs_nonce else 0)
            n = self.lead(tx, at + n, records.Telemetry()) - at
            return n if n <= room else 0

        def joined(self, beacon):
            return True

        def apart(self):
            return self

    parts = Parts()
    parts.groups = parts.newest = parts
    air = (0, 0, 125000, 14, (0, None), 7)
    node = (1, lambda n: 0)
    bearer = lora.Lora(parts, None, air, node, parts, parts, parts, parts, parts)
    bearer._follower = parts
    parts.end_us = 0

    async def send_at(at_us, guard_us, sf, make):
        sent.append(make())
        return sent[-1] > 0

    bearer._send_at = send_at

    def turn():
        del sent[:]
        asyncio.run(bearer._send_at(0, 0, 7, bearer._reading))
        bearer._urgent_ms = 0
        bearer._contention.done()
        asyncio.run(bearer._contend(None, 0, 0))
        return sent

    assert turn() == [0, 51], sent
    parts.alarm = True
    assert turn() == [0, 27], "what is urgent comes first"
    parts.alarm = parts.needs_nonce = False
    assert turn() == [39], sent


def a_beacon_with_the_last_counter_is_forgotten_with_the_beacons_that_do_not_come():
    """Whoever has another node's keys can send it; then the controller's are refused."""
    from pbal_node.bearers import lora

    from pbal_protocol.radio import records as radio_records

    class Parts:
        buf = b""

        def now_ms(self):
            return 1

        def change(self, sf, hz):
            pass

        def listen(self):
            pass

    parts = Parts()
    parts.groups = parts
    radio_records.add(records.RECORDS)
    beacon = radio_records.Beacon(shape=bytes(8)).encode()
    parts.newest = frames.Opener(GROUP_KEY, frames.GROUP, SITE, 0)
    node = (1, lambda n: 0)
    air = (0, 0, 125000, 14, (0, None), 7)
    bearer = lora.Lora(parts, None, air, node, parts, parts, parts, parts, parts)

    def opens(counter):
        raw = frames.Sealer(GROUP_KEY, frames.GROUP, SITE, 0).seal(counter, beacon)
        return bearer._open(bytearray(raw), len(raw)) is not None

    own = 1 << 31
    assert opens(own + 5) and not opens(own + 5) and opens(0xFFFFFFFF)
    assert not opens(own + 6)
    bearer._beacon_ms = 1
    bearer._look_for_beacons(20000)
    assert not opens(own + 6), "beacons may still come"
    bearer._look_for_beacons(20002)
    assert opens(own + 6) and not opens(own + 6)


support.run(
    [
        a_second_bearer_carries_all_that_rs485_does,
        a_small_frame_takes_what_fits_and_says_that_there_is_more,
        without_room_for_a_nonce_nothing_is_said_before_the_time_is_proven,
        a_reading_without_room_in_its_slot_goes_in_the_window_for_urgent_frames,
        a_beacon_with_the_last_counter_is_forgotten_with_the_beacons_that_do_not_come,
        its_counters_are_in_the_health_record,
        it_is_looked_after_and_proves_an_update,
    ]
)
