"""Hostile and yet authentic: records of any value, sealed with the right keys, and junk.

Everything is drawn from `random`, so a seed says what comes.
"""

import random
import struct

import support
from pbal_protocol import frames, modbus_client, records
from pbal_protocol.codec import BLOB
from pbal_protocol.modbus import seal_adu

config = support.own("pbal_protocol", "config")

LAST = 0xFFFFFFFF
EDGES = (0, 1, 2, 3, 4, 5, 127, 128, 255, 256, 999, 1000, 65535, 65536, 0x7FFFFFFF, 1 << 31, LAST)
# What the home stands on: with other values of these it moves or opens by itself, rightly (S8).
HELD = {
    config.BAND_LOW_DV: (2000, 2200),
    config.BAND_HIGH_DV: (2400, 2600),
    config.SILENT_HOURS: (100, 8760),
    config.TRIM_OUT_PPM: (-2000, 2000),
    config.TRIM_A_PPM: (-2000, 2000),
    config.TRIM_B_PPM: (-2000, 2000),
    config.TRIM_C_PPM: (-2000, 2000),
}
kdf = support.own("pbal_protocol", "kdf")
ALL = tuple(records.RECORDS)
DOWN = tuple([i for i in ALL if "down" in records.RECORDS[i].DIRECTION])
SIZES = {"B": 8, "b": 8, "H": 16, "h": 16, "I": 32, "i": 32}


def some(low, high):
    """A whole number, often at an edge."""
    kind = random.getrandbits(3)
    if kind == 0:
        return low
    if kind == 1:
        return high
    if kind == 2:
        return min(max(random.choice(EDGES), low), high)
    if kind == 3:
        return low + random.getrandbits(8) if low + 255 <= high else random.randint(low, high)
    span = high - low
    return low + random.getrandbits(32) % (span + 1)


def noise(n):
    return bytes([random.getrandbits(8) for _ in range(n)])


class Author:
    """Makes frames for one node. `seconds()`: the true site time."""

    def __init__(self, root, group, site, address, seconds):
        self.site = site
        self.address = address
        self.unit = address & 0xFF
        self.seconds = seconds
        self.down = frames.Sealer(kdf.node_keys(root, site, address)[1], frames.DOWN, site, address)
        self.up = frames.Sealer(kdf.node_keys(root, site, address)[0], frames.UP, site, address)
        self.counter = 0
        self.groups = [self._group(kdf.group_key(group, site))]
        self.in_use = self.groups[0]  # the key that the node opens group frames with
        self.group_counter = 0
        self.kept = []  # frames that were sent, to be sent again
        self.honest_time = True  # no answer to a nonce but by the harness
        self.ids = 1000

    def _group(self, key):
        sealer = frames.Sealer(key, frames.GROUP, self.site, 0)
        sealer.kind = 0  # it seals what no controller would send to a group
        return sealer

    def find_group(self, newest):
        """Which of the keys the node uses, after GroupKeys of whose fate nothing is known."""
        for sealer in self.groups:
            if sealer.proof(0, 0) == newest.proof(0, 0):
                self.in_use = sealer

    # records --------------------------------------------------------------------------------

    def time_s(self):
        now = self.seconds()
        kind = random.getrandbits(3)
        if kind < 3:
            return some(0, LAST)
        if kind < 6:
            return (now + random.getrandbits(5) - 16) & LAST
        return (now + random.getrandbits(31) - (1 << 30)) & LAST

    def value(self, cls, name, code):
        """Any value that the bytes can hold, or one that means something."""
        bits = SIZES[code]
        low = 0 if code in "BHI" else -(1 << bits - 1)
        high = low + (1 << bits) - 1
        if random.getrandbits(6) == 0:
            return some(low, high)
        for field in cls.FIELDS:
            if field[0] == name:
                if name.endswith("_s") and code == "I":
                    return self.time_s()
                return some(field[4] * field[2], field[5] * field[2])
        return 0

    def record(self):
        """The bytes of one record, of any kind."""
        kind = random.getrandbits(4)
        if kind < 3:
            return self.setting()
        if kind < 5:
            return self.switch()
        cls = records.RECORDS[random.choice(DOWN if random.getrandbits(6) else ALL)]
        if cls is records.Config:
            return self.setting()
        if cls is records.GroupKey:
            return self.group_key()
        values = [cls.ID]
        blob = None
        for name, code, _divisor, _unit, _low, high in cls.FIELDS:
            if code == BLOB:
                n = min(random.choice((0, 1, 32, 96, high, random.getrandbits(7))), 180)
                if cls is records.Update and n == 96 and random.getrandbits(5):
                    n = 95  # each offer costs a signature's check
                blob = noise(n)
            elif code[-1] == "s":
                values.append(noise(int(code[:-1])))
            else:
                values.append(self.value(cls, name, code))
        if cls is records.TimeSync and self.honest_time:
            values[3] &= 0xFF  # a nonce below: none that the node asks with
        raw = struct.pack(cls.FORMAT, *values)
        if blob is not None:
            raw += bytes((len(blob),)) + blob
        return raw

    def setting(self):
        key = random.choice(config.KEYS)[0] if random.getrandbits(3) else some(0, 255)
        low, high = -0x7FFFFFFF, 0x7FFFFFFF
        for row in config.KEYS:
            if row[0] == key and random.getrandbits(3):
                low, high = HELD.get(key, row[3:5])
            elif row[0] == key and key in HELD:
                return records.Config(key=key, value=0x7FFFFFFF).encode()
        return records.Config(key=key, value=some(low, high)).encode()

    def switch(self, phase=None):
        """With `phase` a good one from there; else some field of it may be anything."""
        now = self.seconds()
        self.ids += 1
        fields = [self.ids, random.randint(1, 3), phase or random.randint(0, 3), now, now + 30]
        if phase is None:
            i = random.randint(0, 4)
            fields[i] = self.time_s() if i > 2 else some(0, LAST) if i == 0 else some(0, 255)
            if i == 4 and now < fields[4]:
                fields[4] = now - 1 - random.getrandbits(10)  # expired, as a rule
        return struct.pack(records.Switch.FORMAT, records.Switch.ID, *fields)

    def group_key(self):
        key = noise(random.choice((0, 31, 32, 32)))
        if len(key) == 32 and len(self.groups) < 6:
            self.groups.append(self._group(key))
        generation = self.group_counter if random.getrandbits(2) else some(0, LAST)
        raw = struct.pack("<BII", records.GroupKey.ID, generation, some(0, LAST))
        return raw + bytes((len(key),)) + key

    def payload(self):
        out = b""
        for _ in range(random.choice((1, 1, 1, 2, 3, 8, 30))):
            raw = self.record()
            if len(out) + len(raw) > 225:
                break
            out += raw
        kind = random.getrandbits(5)
        if kind == 0:
            out = out[: random.randint(0, len(out))]
        elif kind == 1:
            out = (out + noise(30))[:225]
        elif kind == 2:
            out = noise(random.randint(1, 225))
        return out or b"\x00"

    # frames ---------------------------------------------------------------------------------

    def sealed(self, sealer, counter, payload):
        buf = bytearray(len(payload) + 15)
        buf[7 : 7 + len(payload)] = payload
        sealer.last = 0  # hostile: any counter
        return bytes(buf[: sealer.seal_into(counter, buf, len(payload))])

    def to_node(self, payload):
        self.counter += 1
        return self.sealed(self.down, self.counter, payload)

    def not_for_a_node(self):
        """A fresh frame of its controller's or its own key, of a kind that only nodes send: with a
        nonce of its own (kind 4), or as the node itself seals.
        """
        self.counter += 1
        payload = self.payload()
        if random.getrandbits(2) == 0:
            return self.request(self.sealed(self.up, self.counter, payload))
        nonce = noise(12)
        payload = payload[:213]
        end = 19 + len(payload)
        buf = bytearray(end + 8)
        first = frames.VERSION << 4 | frames.UP_EXPLICIT
        struct.pack_into("<BHI", buf, 0, first, self.address, self.counter)
        buf[7:19] = nonce
        buf[19:end] = payload
        sealer = self.down if random.getrandbits(1) else self.up
        sealer._ccm.seal_at(bytes((frames.UP_EXPLICIT,)) + nonce, buf, 0, 19, end)
        return self.request(bytes(buf))

    def request(self, body, unit=None):
        return modbus_client.adu(
            self.unit if unit is None else unit, modbus_client.request_pdu(0, body)
        )

    def unicast(self):
        body = self.to_node(self.payload())
        kind = random.getrandbits(6)
        if kind == 0 and self.kept:
            body = random.choice(self.kept)
        elif kind == 1:
            body = bytearray(body)
            body[random.randint(0, len(body) - 1)] ^= 1 << random.getrandbits(3)
            body = bytes(body)
        elif kind == 2:
            body = body[: random.randint(0, len(body))]
        elif kind == 3 and len(self.kept) < 50:
            self.kept.append(body)
        return self.request(body)

    def broadcast(self):
        self.group_counter += 1
        if random.getrandbits(9) == 0:
            self.group_counter = min(self.group_counter + random.getrandbits(16), LAST)
        payload = self.payload()
        kind = random.getrandbits(3)
        if kind < 4:
            values = (records.TimeSync.ID, self.time_s(), some(0, 1100), some(0, LAST))
            payload = struct.pack(records.TimeSync.FORMAT, *values)
        elif kind == 4:
            payload = struct.pack(records.MeasureNow.FORMAT, records.MeasureNow.ID, some(0, 65535))
        sealer = self.in_use if random.getrandbits(3) else random.choice(self.groups)
        counter = max(self.group_counter - random.getrandbits(7), 1)
        if random.getrandbits(3):
            counter = self.group_counter
        body = self.sealed(sealer, counter, payload)
        return modbus_client.adu(0, modbus_client.request_pdu(1, body))

    def junk(self):
        """What others and no one say on the wire."""
        kind = random.getrandbits(3)
        unit = random.choice((self.unit, self.unit, 0, 6, 247, random.getrandbits(8)))
        if kind == 0:
            return noise(random.randint(1, 40))
        if kind == 1:
            return modbus_client.adu(unit, bytes((random.choice((4, 17, 43, 3, 6)),)) + noise(4))
        if kind == 2:
            return modbus_client.adu(unit, b"\x04\x00" + bytes((some(0, 14), 0, some(0, 130))))
        if kind == 3:
            return modbus_client.adu(unit, b"\x2b\x0e" + bytes((some(0, 5), some(0, 9))))
        if kind == 4:
            body = noise(some(0, 200))
            return modbus_client.adu(unit, bytes((100, some(0, 9), len(body))) + body)
        if kind == 5:
            raw = bytearray(noise(60))
            raw[0] = unit
            n = random.randint(4, 40)
            return bytes(raw[: seal_adu(raw, n)])
        if kind == 6:
            return self.unicast()[: random.randint(1, 60)]
        return self.request(noise(random.randint(0, 240)))
