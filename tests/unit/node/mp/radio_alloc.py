"""What a frame costs the heap: nothing. The chip here is a table of registers."""

import gc

from pbal_node.radio import sx127x


class Quiet:
    def __init__(self):
        self.regs = bytearray(128)
        self.regs[0x42] = 0x12
        self.at = -1

    def select(self, level):
        self.at = -1

    def write(self, data):
        for byte in data:
            self._byte(byte)

    def _byte(self, byte):
        if self.at < 0:
            self.at = byte
            return 0
        address = self.at & 0x7F
        if self.at & 0x80 and address:
            if address == 0x12:
                self.regs[address] &= ~byte
            else:
                self.regs[address] = byte
        return self.regs[address]

    def write_readinto(self, out, back):
        back[0] = self._byte(out[0])
        back[1] = self._byte(out[1])

    def readinto(self, back):
        i = 0
        while i < 64:
            back[i] = i
            i += 1


chip = Quiet()
one = sx127x.SX127x(chip, chip.select)
one.begin(868100000)
regs = chip.regs


def frames(count):
    i = 0
    while i < count:
        one.send(39)
        if one.poll():
            raise AssertionError
        regs[0x12] = 0x08
        if one.poll() != sx127x.SENT:
            raise AssertionError
        one.listen()
        one.on_dio0()
        regs[0x12] = 0x50
        regs[0x17] = regs[0x17] + 1 & 0xFF
        regs[0x1C] = 0x40
        regs[0x13] = 39
        regs[0x19] = 0xF0
        regs[0x1A] = 60
        if one.poll() != sx127x.HEARD or one.length != 39:
            raise AssertionError
        if not one.check():
            raise AssertionError
        i += 1


frames(10)
gc.collect()
gc.disable()
before = gc.mem_alloc()
frames(100)
after = gc.mem_alloc()
gc.enable()
print("100 frames each way:", after - before, "bytes")
if after != before:
    raise AssertionError
if (one.heard, one.sent, one.missed, one.rssi_dbm) != (110, 110, 0, -157 + 60 - 4):
    raise AssertionError((one.heard, one.sent, one.missed, one.rssi_dbm))
print("ok")
