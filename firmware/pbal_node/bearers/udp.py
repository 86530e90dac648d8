"""The UDP bearer: datagrams of sealed frames (pbal_protocol/datagram.py), over Wi-Fi or another
network.

A bearer (docs/node.md, "Bearers"). The node knows the controller by an address, or by a name that
multicast DNS finds (mdns.py), and sends first: so the controller learns where the node is, and
address translation (NAT) between them passes the answers. After that it answers polls, and sends
by itself again when none come. An address proves nothing: when no authentic frame came for
minutes, the controller is looked up again, and the network is joined again, too.

The socket is connected, so it receives from one address only, but a sender can forge that address.
So unauthenticated datagrams may take only a share of the node's time, as on a line (S11), and they
are answered to the controller's address and to no other. Nothing here blocks: joining, looking up
a name and reading run beside the other loops.
"""

import asyncio
import socket
import time

from micropython import const

from pbal_node.bearers.ration import Ration
from pbal_node.bearers.watched import Watch
from pbal_node.clock import randrange
from pbal_protocol import datagram

_POLL = const(0xA1)
_GROUP = const(0xA2)
_FRAMES = const(0xA3)
_HEAD = const(5)
_ROOM = const(240)
_BUF = const(256)  # one item and more: what fills it was too long

_BEARER = const(64)  # a place of an error, see faults.py
_TURN_MS = const(500)
_AGAIN_MS = const(1000)
_QUIET_MS = const(3000)  # without a poll: the node sends by itself, then after twice as long, ...
_QUIET_MAX_MS = const(30000)  # ... and at least so often
_LOST_MS = const(180000)  # without an authentic frame; the controller sends one a minute
_FIND_MS = const(1000)  # for an answer to one query for the name
_FIND_MAX_MS = const(60000)
_ERRORS = const(20)  # of the socket, in a row: it is opened anew
_PAUSE_MS = const(20)


class Udp:
    """`station`: poll(now_ms) -> on the network, leave(now_ms). `server`: (host, port), the host an
    IPv4 address or NAME.local. `carry`: takes polls and groups, gives answers, see `Single`.

    Counters: answered, told (unasked), rationed, reopened; malformed.
    """

    bad_crc = 0  # the network drops them
    quiet_ms = 3000  # a bridge polls its neighbours by itself so often

    def __init__(self, station, server, carry, now_ms, selector, faults, rhythm) -> None:
        self._station = station
        self._host, self._port = server
        self._carry = carry
        self._now_ms = now_ms
        self._faults = faults
        self._rhythm = rhythm
        self._rx = bytearray(_BUF)
        self.tx = bytearray(_HEAD + _ROOM)
        self._socket: "socket.socket | None" = None
        self._reader: "asyncio.Task | None" = None
        self._opened_ms = 0
        self._asked_ms = 0  # by any poll
        self._own_ms = 0  # by a poll for this node, not for a bridge's neighbours
        self._told_ms = 0
        self._quiet_ms = _QUIET_MS
        self._rest_ms = _AGAIN_MS
        self._open_ms = 0
        self._watch = Watch(now_ms, faults)
        self._ration = Ration(now_ms, selector)
        self.answered = 0
        self.told = 0
        self.rationed = 0
        self.reopened = 0
        self.malformed = 0

    def alive(self, now_ms: int) -> bool:
        """S11: whether the loop makes progress."""
        return self._watch.alive(now_ms)

    async def run(self) -> None:
        """Never ends: errors are reported, and the socket opened anew."""
        while True:
            await self._watch.once(self._keep())
            self.reopened += 1
            await asyncio.sleep_ms(_AGAIN_MS)

    @property
    def open(self) -> bool:
        """Whether there is a path to the controller."""
        return self._socket is not None

    def wants(self, address: int) -> bool:
        """A bridge's neighbours may always be polled: their frames leave at once."""
        return True

    # the socket -------------------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            while True:
                self._watch.turns += 1
                now = self._now_ms()
                if not self._station.poll(now):
                    self._close()
                    self._open_ms = now
                elif self._socket is None:
                    if now >= self._open_ms:
                        await self._open()
                else:
                    self._look(now)
                await asyncio.sleep_ms(_TURN_MS)
        finally:
            self._close()

    async def _open(self) -> None:
        """Looks up the controller, and sends to it; on failure again after a longer pause."""
        host = self._host
        if host.endswith(".local"):
            host = await self._find(host)
        now = self._now_ms()
        self._open_ms = now + self._rest_ms // 2 + randrange(self._rest_ms // 2 + 1)
        self._rest_ms = min(2 * self._rest_ms, _FIND_MAX_MS)
        if not host:
            return
        made = None
        try:
            # An IP address: no name is looked up here, which would block.
            to = socket.getaddrinfo(host, self._port)[0][-1]
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.connect(to)
        except OSError as e:
            if made:
                made.close()
            self._faults.note(_BEARER, e)
            return
        self._socket = made
        self._opened_ms = now
        self._quiet_ms = _QUIET_MS
        self._reader = asyncio.create_task(self._listen(made))
        self._tell(now)

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader:
            reader.cancel()
        made, self._socket = self._socket, None
        if made:
            made.close()

    async def _find(self, name: str) -> str:
        """The address of NAME.local, "" when no answer comes in time."""
        from pbal_node.bearers import mdns

        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            asker.setblocking(False)
            host, port = mdns.GROUP
            question = mdns.query(name, randrange(0x10000))
            asker.sendto(question, socket.getaddrinfo(host, port)[0][-1])
            buf = bytearray(512)
            for _ in range(_FIND_MS // 50):
                await asyncio.sleep_ms(50)
                n = asker.readinto(buf)
                if n and buf[:2] == question[:2]:
                    found = mdns.address(memoryview(buf)[:n], name)
                    if found:
                        return found
        except OSError:  # not reachable yet
            pass
        finally:
            asker.close()
        return ""

    def _look(self, now: int) -> None:
        """Sends when no poll comes; looks up the controller again when it is lost."""
        reader = self._reader
        if now - max(self._carry.heard_ms(), self._opened_ms) >= _LOST_MS:
            self._close()
            if now - self._asked_ms >= _LOST_MS:
                self._station.leave(now)
            return
        if not reader or reader.done():
            self._close()
            return
        if self._carry.heard_ms() > self._opened_ms:
            self._rest_ms = _AGAIN_MS
        # Polls for a bridge's neighbours do not count: where their frames come from, the controller
        # knows; where this node is, only from this node's own.
        since = now - max(self._own_ms, self._told_ms)
        if since >= self._quiet_ms:
            self._tell(now)
            if now - self._own_ms < _QUIET_MS:
                self._quiet_ms = _QUIET_MS
            else:
                self._quiet_ms = min(2 * self._quiet_ms, _QUIET_MAX_MS)
            self._quiet_ms -= randrange(self._quiet_ms // 4)

    # datagrams --------------------------------------------------------------------------------

    async def _listen(self, made) -> None:
        readinto = asyncio.StreamReader(made).readinto
        rx = self._rx
        errors = 0
        while errors < _ERRORS:
            try:
                n = await readinto(rx)
            except OSError:
                # Port closed or host unreachable: a later datagram may arrive.
                errors += 1
                await asyncio.sleep_ms(_TURN_MS)
                continue
            errors = 0
            if not n:
                await asyncio.sleep_ms(5)
                continue
            if self._ration.left_us() <= 0:
                self.rationed += 1
                await asyncio.sleep_ms(_PAUSE_MS)
                continue
            start = time.ticks_us()
            heard_ms = self._carry.heard_ms()
            try:
                self._serve(rx, n)
            except Exception as e:
                self._faults.note(_BEARER, e)
            if self._carry.heard_ms() == heard_ms:
                self._ration.charge(start)
            await asyncio.sleep_ms(0)  # other tasks run, however much there is to read

    def _serve(self, rx, n: int) -> None:
        kind = rx[0]
        if n >= len(rx) or (kind != _POLL and kind != _GROUP):
            self.malformed += 1
            return
        at = 1
        while at < n:
            end = datagram.item_end(rx, at, n)
            if not end:
                self.malformed += 1
                return
            start = at + 4
            if kind == _GROUP:
                self._carry.group(rx, start, end)
            else:
                self._asked_ms = self._now_ms()
                address = rx[at] | rx[at + 1] << 8
                if address == self._carry.address:
                    self._own_ms = self._asked_ms
                    self._quiet_ms = _QUIET_MS
                size = self._carry.poll(address, rx, start, end, self.tx, _HEAD, _ROOM)
                if size:
                    self.answered += self.send(address, self._carry.hints(), size)
                    self._rhythm.answered(self._now_ms())
            at = end

    def _tell(self, now: int) -> None:
        """Send what is pending, without a poll."""
        self._told_ms = now
        address = self._carry.address
        size = self._carry.poll(address, self._rx, 0, 0, self.tx, _HEAD, _ROOM)
        if size:
            self.told += self.send(address, self._carry.hints(), size)

    def send(self, address: int, hints: int, size: int) -> int:
        """Send the frame of `size` bytes at tx[5:]; 1 when it has left."""
        made = self._socket
        if not made:
            return 0
        tx = self.tx
        tx[0] = _FRAMES
        end = datagram.put(tx, 1, address, hints, size)
        try:
            return 1 if made.write(memoryview(tx)[:end]) else 0
        except OSError:  # as if it were lost
            return 0


class Single:
    """Carries the frames of one home: this node's own."""

    def __init__(self, address: int, link) -> None:
        self.address = address
        self._link = link

    def heard_ms(self) -> int:
        """When an authentic frame came last."""
        return self._link.heard_ms

    def hints(self) -> int:
        """Of the answer just made."""
        return self._link.hints

    def poll(self, address: int, buf, start: int, end: int, out, at: int, room: int) -> int:
        """As link.poll, for the address that was asked; 0 for another's."""
        if address != self.address:
            return 0
        return self._link.poll(buf, start, end, out, at, room)

    def group(self, buf, start: int, end: int) -> None:
        """A group frame."""
        self._link.group(buf, start, end)


def make(app, identity: dict, port=None) -> list:
    """The bearers that the identity's table "udp" asks for: this, and with a `port` of the line the
    bridge of its neighbours. Raises whatever a damaged table causes.
    """
    table = identity["udp"]
    address = identity["address"]
    from pbal_node.bearers.wifi import Station

    networks = [(str(name), str(key)) for name, key in table["wifi"]]
    if not networks:
        raise ValueError("no network")
    own = Single(address, app.link)
    bridge = None
    if port:
        from pbal_node.bearers.bridge import Bridge

        bridge = Bridge(own, port, identity["neighbours"], app.now_ms, app.faults)
    udp = Udp(
        Station(networks, "pbal-%d" % address, app.faults),
        (table["host"], int(table.get("port", datagram.PORT))),
        bridge or own,
        app.now_ms,
        app.selector,
        app.faults,
        app.measuring.rhythm,
    )
    if not bridge:
        return [udp]
    bridge.network = udp
    return [udp, bridge]
