"""The UDP bearer on the whole node, in virtual time: it joins, speaks first, answers, is moved; it
comes back after losses with growing rests; it trusts seals alone, and junk takes its share only.
"""

import asyncio
import time

import machine
import network
import socket
import support

from pbal_protocol import datagram, frames, kdf, records

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
SITE, ADDRESS, KEY = 7, 0x0105, bytes(range(32))
WIFI = [["mill lane", "correct horse"], ["open one", ""]]
UP, DOWN = kdf.node_keys(KEY, SITE, ADDRESS)
SEALER = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS)
GROUP = frames.Sealer(kdf.group_key(KEY, SITE), frames.GROUP, SITE, 0)
OPENER = frames.Opener(UP, frames.UP, SITE, ADDRESS)


def provision(**udp):
    table = {"host": "192.168.7.1", "wifi": WIFI}
    table.update(udp)
    support.install_identity(SITE, ADDRESS, KEY, KEY, udp=table)


provision()
from pbal_node import app as app_module  # noqa: E402
from pbal_node.bearers import mdns, udp  # noqa: E402


def run(scenario, reach=("mill lane",), **options):
    provision(**options)
    network.made.clear()
    socket.made.clear()
    socket.fails.clear()

    async def both():
        app = app_module.App()
        (bearer,) = app.bearers
        assert isinstance(bearer, udp.Udp)
        (wlan,) = network.made
        wlan.reach = set(reach)
        SEALER.last = max(SEALER.last, app.counters.down_floor)
        task = asyncio.create_task(app.run())
        await scenario(app, bearer, wlan)
        assert not task.done(), "the application ended"
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    asyncio.new_event_loop()
    asyncio.run(both())


def opened(data):
    """The records of a datagram of the node."""
    assert data[0] == datagram.FRAMES
    ((address, hints, frame),) = datagram.items(data)
    assert address == ADDRESS
    return records.decode_all(OPENER.open(frame), "up")


def poll(*items):
    body = b""
    if items:
        body = SEALER.seal(SEALER.last + 1, b"".join([r.encode() for r in items]))
    return datagram.datagram(datagram.POLL, ADDRESS, 0, body)


async def ask(*items):
    sock = socket.connected()
    before = len(sock.sent)
    sock.inbox.append(poll(*items))
    await support.until(lambda: len(sock.sent) > before)
    return opened(sock.sent[-1][0])


def it_joins_speaks_first_and_does_what_it_is_told():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        assert network.name == "pbal-261" and wlan.options == {"pm": network.WLAN.PM_NONE}
        assert wlan.calls[0][1] == "mill lane" and sock.to == ("192.168.7.1", 7225)
        assert not sock.waits, "a socket that waits would hold the contacts up"
        # It speaks before it is spoken to: so the controller learns where it is.
        names = [r.NAME for r in opened(sock.sent[0][0])]
        assert names[:2] == ["Telemetry", "Hello"], names
        assert bearer.told == 1 and bearer.answered == 0
        got = await ask(records.ConfigGet(key=1))
        assert "ConfigValue" in [r.NAME for r in got]
        assert bearer.answered == 1
        # A poll with nothing in it is one, too; for another node it is none.
        assert (await ask())[0].NAME == "Telemetry"
        said = len(sock.sent)
        sock.inbox.append(datagram.datagram(datagram.POLL, ADDRESS + 1, 0, b""))
        app.measuring._at_once = False
        frame = GROUP.seal(GROUP.last + 1, records.MeasureNow().encode())
        sock.inbox.append(datagram.datagram(datagram.GROUP, 0, 0, frame))
        await support.until(lambda: not sock.inbox)
        await asyncio.sleep_ms(50)
        assert app.measuring._at_once and len(sock.sent) == said
        assert not machine.UART.made or not machine.UART.made.get(2), "nobody speaks on the line"

    run(scenario)


def what_is_no_datagram_is_counted_and_what_has_no_seal_changes_nothing():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        good = poll(records.StatusGet(what=2))
        bad = [
            b"",
            b"\xa1",
            b"\xa1\x05",
            good[:-1],
            b"\xa3" + good[1:],
            bytes(300),
            poll() + b"\x01",
        ]
        for data in bad:
            sock.inbox.append(data)
        forged = good[:-8] + bytes(8)
        sock.inbox.append(forged)
        heard = app.link.heard_ms
        await support.until(lambda: app.link.bad["auth_failed"] >= 1)
        await asyncio.sleep_ms(500)
        assert bearer.malformed >= 4, bearer.malformed
        got = await ask(records.StatusGet(what=2))
        for _ in range(3):
            got += await ask()
        health = [r for r in got if r.NAME == "Health"][0]
        assert health.malformed >= 4 and app.link.heard_ms > heard
        # What was said before is refused, and still answered to the controller alone.
        replayed = app.link.bad["replayed"]
        sock.inbox += [good, good]
        await support.until(lambda: app.link.bad["replayed"] > replayed)
        assert all([to == sock.to for _, to in sock.sent])

    run(scenario)


def a_flood_takes_its_share_and_no_more():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        forged = poll(records.StatusGet(what=2))[:-8] + bytes(8)
        late = app.report.loop_max_ms
        link_poll = app.link.poll
        cost_us = [0]

        def as_on_the_chip(*args):
            time.sleep_us(4000)
            cost_us[0] += 4000
            return link_poll(*args)

        app.link.poll = as_on_the_chip
        sock.flood = forged
        await asyncio.sleep_ms(6000)
        sock.flood = b""
        del app.link.poll
        assert bearer.rationed > 10, "nothing was rationed"
        assert 1000000 < cost_us[0] < 0.4 * 6000000 + 500000, cost_us
        assert app.measuring.current() >= 0 and not machine.house.resets
        assert app.report.loop_max_ms - late < 500, app.report.loop_max_ms
        await asyncio.sleep_ms(3000)
        assert (await ask(records.StatusGet(what=2)))[0].NAME == "Telemetry"

    run(scenario)


def it_comes_back_after_a_loss_and_rests_longer_and_longer():
    async def scenario(app, bearer, wlan):
        await support.until(socket.connected)
        wlan.reach = set()
        await support.until(lambda: socket.connected() is None)
        assert bearer._station.lost == 1
        del wlan.calls[:]
        await asyncio.sleep_ms(1200000)
        times = [at for at, name in wlan.calls if name == "mill lane"]
        names = {name for _, name in wlan.calls}
        assert names == {"mill lane", "open one"}
        gaps = [times[i + 1] - times[i] for i in range(len(times) - 1)]
        # Two networks of 15 s each, and the rest between the rounds.
        assert gaps[0] < 40000 and max(gaps) < 33000 + 120000, gaps
        assert sum(gaps[-3:]) > 2 * sum(gaps[:3]), gaps
        wlan.reach = {"open one"}
        sock = await support.until(socket.connected, 200)
        assert wlan.calls[-1][1] == "open one"
        assert opened(sock.sent[0][0])[0].NAME == "Telemetry"

    run(scenario)


def a_network_that_will_not_have_it_is_left_for_the_next():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected, 60)
        assert [name for _, name in wlan.calls] == ["mill lane", "open one"]
        assert (await ask())[0].NAME == "Telemetry" and sock is socket.connected()

    run(scenario, reach=("mill lane", "open one"), wifi=[["mill lane", "wrong"], WIFI[1]])


def it_speaks_by_itself_when_nobody_asks():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        await asyncio.sleep_ms(170000)
        times = bearer.told
        assert 6 <= times <= 16, times
        # Nobody at all for minutes: the controller is looked for anew, the network joined anew.
        joined = len(wlan.calls)
        await support.until(lambda: not sock.open, 40)
        await support.until(lambda: len(wlan.calls) > joined, 60)
        assert await support.until(socket.connected, 60) is not sock

    run(scenario)


def polls_that_nobody_signed_do_not_keep_it_with_a_wrong_controller():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        joined = len(wlan.calls)
        for _ in range(190):
            sock.inbox.append(poll())
            await asyncio.sleep_ms(1000)
            if not sock.open:
                break
        assert not sock.open, "kept for ever by empty polls"
        assert len(wlan.calls) == joined, "the network is not to blame"
        assert bearer.told <= 3

    run(scenario)


def the_controller_is_found_by_its_name():
    asked = []

    def responder(data):
        asked.append(data)
        if len(asked) < 3:
            return []
        name = data[12:-4]
        record = b"\xc0\x0c\x00\x01\x80\x01\x00\x00\x00\x78\x00\x04\xc0\xa8\x07\x09"
        other = data[:2] + b"\x84\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01"
        whole = data[:2] + b"\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00" + name
        return [b"\x00", other, b"\xff\xff" + whole[2:], whole + b"\x00\x01\x00\x01" + record]

    async def scenario(app, bearer, wlan):
        real = socket.socket

        def make(*kind):
            one = real(*kind)
            one.answer = lambda data: responder(data) if one.to is None else []
            return one

        socket.socket = make
        try:
            sock = await support.until(socket.connected, 60)
        finally:
            socket.socket = real
        assert sock.to == ("192.168.7.9", 7225), sock.to
        assert len(asked) == 3, "asked again, with rests between"
        assert all([b"\x06pbal-7\x05local\x00\x00\x01\x80\x01" in data for data in asked])
        askers = [one for one in socket.made if one.to is None]
        assert len(askers) == 3 and not any([one.open for one in askers])

    run(scenario, host="pbal-7.local")


def a_name_is_read_from_any_answer_and_no_damage_ends_the_loop():
    question = mdns.query("pbal-7.local", 0x1234)
    record = b"\x06PBAL-7\x05local\x00\x00\x01\x80\x01\x00\x00\x00\x78\x00\x04\x0a\x01\x02\x03"
    text = b"\x06pbal-7\x05local\x00\x00\x10\x80\x01\x00\x00\x00\x78\x00\x02\x01x"
    good = b"\x12\x34\x84\x00\x00\x00\x00\x02\x00\x00\x00\x00" + text + record
    assert mdns.address(good, "pbal-7.local") == "10.1.2.3"
    assert mdns.address(good, "pbal-8.local") == ""
    assert mdns.address(question, "pbal-7.local") == "", "a question is no answer"
    for n in range(len(good)):
        assert mdns.address(good[:n], "pbal-7.local") == ""
    loop = b"\x12\x34\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01" + bytes(10)
    assert mdns.address(loop, "pbal-7.local") == ""


def a_socket_that_fails_is_opened_anew():
    async def scenario(app, bearer, wlan):
        sock = await support.until(socket.connected)
        sock.broken = 104
        await support.until(lambda: not sock.open, 30)
        again = await support.until(socket.connected, 30)
        assert (await ask())[0].NAME == "Telemetry" and again is socket.connected()
        socket.fails["write"] = 12
        again.inbox.append(poll())
        await asyncio.sleep_ms(200)
        socket.fails.clear()
        assert (await ask())[0].NAME == "Telemetry"

    run(scenario)


def a_loop_that_stands_still_begins_anew():
    async def scenario(app, bearer, wlan):
        await support.until(socket.connected)
        station = bearer._station

        class Asleep:
            def poll(self, now_ms):
                raise ValueError("a defect")

        bearer._station = Asleep()
        await asyncio.sleep_ms(3000)
        assert bearer.reopened >= 2 and socket.connected() is None
        bearer._station = station
        await support.until(socket.connected)

        entered = []

        async def hang():
            entered.append(1)
            await asyncio.sleep_ms(10**7)

        bearer._open = hang
        socket.connected().broken = 104
        await support.until(lambda: entered, 60)
        del bearer._open
        reopened = bearer.reopened
        await support.until(lambda: bearer.reopened > reopened, 30)
        await support.until(socket.connected, 30)

    run(scenario)


def a_damaged_table_leaves_the_line():
    support.install_identity(SITE, ADDRESS, KEY, KEY, udp={"host": "192.168.7.1"})
    asyncio.new_event_loop()
    app = app_module.App()
    assert type(app.bearers[0]).__name__ == "Rs485"
    with open("/log/missing.txt") as f:
        assert "network" in f.read()


support.run(
    [
        it_joins_speaks_first_and_does_what_it_is_told,
        what_is_no_datagram_is_counted_and_what_has_no_seal_changes_nothing,
        a_flood_takes_its_share_and_no_more,
        it_comes_back_after_a_loss_and_rests_longer_and_longer,
        a_network_that_will_not_have_it_is_left_for_the_next,
        it_speaks_by_itself_when_nobody_asks,
        polls_that_nobody_signed_do_not_keep_it_with_a_wrong_controller,
        the_controller_is_found_by_its_name,
        a_name_is_read_from_any_answer_and_no_damage_ends_the_loop,
        a_socket_that_fails_is_opened_anew,
        a_loop_that_stands_still_begins_anew,
        a_damaged_table_leaves_the_line,
    ]
)
