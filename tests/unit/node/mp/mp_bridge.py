"""A bridge in virtual time: it polls wired neighbours and carries frames that it cannot open."""

import asyncio

import machine
import network
import socket
import support

from pbal_protocol import datagram, modbus

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)
SITE, ADDRESS, KEY = 7, 0x0105, bytes(range(32))
NEAR, FAR = 0x0106, 0x0107
support.install_identity(
    SITE, ADDRESS, KEY, KEY, role="bridge", neighbours=[NEAR, FAR],
    udp={"host": "192.168.7.1", "wifi": [["mill lane", "correct horse"]]},
)  # fmt: skip

from pbal_node import app as app_module  # noqa: E402


class Wired:
    """The neighbours: each answers at once with a frame of its own, unless it is silent."""

    def __init__(self, uart):
        self.uart = uart
        self.asked = []  # (unit, op, frame)
        self.silent = set()
        self.damage = False

    def transmitted(self, data):
        size = data[3]
        assert len(data) == 6 + size and modbus.crc16(data, 4 + size) == data[-2] | data[-1] << 8
        self.asked.append((data[0], data[2], data[4 : 4 + size]))
        if data[0] and data[0] not in self.silent:
            frame = b"sealed by %d" % data[0]
            out = bytearray(bytes((data[0], 100, 2, len(frame))) + frame + b"\0\0")
            n = modbus.seal_adu(out, 4 + len(frame))
            if self.damage:
                out[6] ^= 1
            self.uart.rx += bytes(out[:n])

    def catch_up(self):
        pass

    def due_us(self):
        return 1000000000


def said(sock, address):
    return [
        (hints, frame)
        for data, _ in sock.sent
        for a, hints, frame in datagram.items(data)
        if a == address
    ]


def run(scenario):
    network.made.clear()
    socket.made.clear()

    async def both():
        app = app_module.App()
        udp, bridge = app.bearers
        network.made[0].reach = {"mill lane"}
        uart = machine.UART.made[2]
        line = uart.line = Wired(uart)
        task = asyncio.create_task(app.run())
        await scenario(app, bridge, line, await support.until(socket.connected))
        assert not task.done(), "the application ended"
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    asyncio.new_event_loop()
    asyncio.run(both())


def neighbours_are_told_of_before_anybody_asks():
    async def scenario(app, bridge, line, sock):
        await support.until(lambda: said(sock, NEAR) and said(sock, FAR))
        assert said(sock, NEAR)[0] == (2, b"sealed by 6")
        assert said(sock, FAR)[0] == (2, b"sealed by 7")
        # Left alone it asks each every three seconds.
        await asyncio.sleep_ms(60000)
        count = len(said(sock, NEAR))
        assert 15 <= count <= 22, count
        assert machine.house.de_errors == 0

    run(scenario)


def polls_for_neighbours_do_not_keep_it_silent():
    # Its first frame was lost, those of its neighbours were not: only they are polled.
    async def scenario(app, bridge, line, sock):
        await support.until(lambda: said(sock, ADDRESS))
        count = len(said(sock, ADDRESS))
        for _ in range(120):
            sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b""))
            await asyncio.sleep_ms(250)
        # After 3 s, then twice as long each time, shortened by up to a quarter.
        assert 3 <= len(said(sock, ADDRESS)) - count <= 5
        sock.inbox.append(datagram.datagram(datagram.POLL, ADDRESS, 0, b""))
        await asyncio.sleep_ms(200)
        count = len(said(sock, ADDRESS))
        for _ in range(8):
            sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b""))
            sock.inbox.append(datagram.datagram(datagram.POLL, ADDRESS, 0, b""))
            await asyncio.sleep_ms(1000)
        assert bridge.network.told and len(said(sock, ADDRESS)) == count + 8

    run(scenario)


def commands_go_before_questions_and_answers_come_back():
    async def scenario(app, bridge, line, sock):
        await support.until(lambda: said(sock, FAR))
        del line.asked[:]
        heard = app.link.bad["auth_failed"]
        sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b""))
        sock.inbox.append(datagram.datagram(datagram.POLL, FAR, 0, b"a sealed command"))
        before = len(said(sock, FAR)), len(said(sock, NEAR))
        await support.until(lambda: len(said(sock, FAR)) > before[0])
        await support.until(lambda: len(said(sock, NEAR)) > before[1])
        told = [one for one in line.asked if one[0] == 7]
        assert told[0] == (7, 0, b"a sealed command")
        assert app.link.bad["auth_failed"] == heard, "it tried to open what is not its own"
        # Its own polls it answers itself.
        count = len(said(sock, ADDRESS))
        sock.inbox.append(datagram.datagram(datagram.POLL, ADDRESS, 0, b""))
        await support.until(lambda: len(said(sock, ADDRESS)) > count)
        # Somebody who is no neighbour is not polled.
        del line.asked[:]
        sock.inbox.append(datagram.datagram(datagram.POLL, 0x0109, 0, b""))
        await asyncio.sleep_ms(200)
        assert not [one for one in line.asked if one[0] == 9]

    run(scenario)


def a_group_frame_is_for_the_line_too():
    async def scenario(app, bridge, line, sock):
        sock.inbox.append(datagram.datagram(datagram.GROUP, 0, 0, b"the sealed time"))
        await support.until(lambda: (0, modbus.OP_GROUP, b"the sealed time") in line.asked)

    run(scenario)


def silence_and_damage_are_counted_and_carry_nothing():
    async def scenario(app, bridge, line, sock):
        await support.until(lambda: said(sock, NEAR))
        line.silent = {6}
        count, silent = len(said(sock, NEAR)), bridge.silent
        sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b""))
        await support.until(lambda: bridge.silent > silent)
        line.silent = set()
        line.damage = True
        sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b""))
        await support.until(lambda: bridge.bad_crc)
        assert len(said(sock, NEAR)) == count

    run(scenario)


def a_command_that_waited_too_long_is_dropped():
    async def scenario(app, bridge, line, sock):
        await support.until(lambda: said(sock, FAR))

        async def held(address, frame):
            await asyncio.sleep_ms(6000)

        bridge._exchange = held
        sock.inbox.append(datagram.datagram(datagram.POLL, NEAR, 0, b"first"))
        await asyncio.sleep_ms(300)
        sock.inbox.append(datagram.datagram(datagram.POLL, FAR, 0, b"too late"))
        await asyncio.sleep_ms(300)
        del bridge._exchange
        await support.until(lambda: bridge.expired == 1)
        assert not [one for one in line.asked if one[2] == b"too late"]

    run(scenario)


support.run(
    [
        neighbours_are_told_of_before_anybody_asks,
        polls_for_neighbours_do_not_keep_it_silent,
        commands_go_before_questions_and_answers_come_back,
        a_group_frame_is_for_the_line_too,
        silence_and_damage_are_counted_and_carry_nothing,
        a_command_that_waited_too_long_is_dropped,
    ]
)
