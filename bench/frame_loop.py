"""The measured loops of bench.frame; runs on both interpreters, started by it.

    frame_loop.py PACKAGE_DIR SECONDS FRAMES

Prints JSON. On MicroPython it counts heap bytes as well: `alloc_*` are bytes allocated a frame
with the collector held off, `growth_bytes` what is left in use after FRAMES frames.
"""

import gc
import json
import sys
import time

sys.path.insert(0, sys.argv[1])

MICROPYTHON = sys.implementation.name == "micropython"


def used():
    gc.collect()
    return gc.mem_alloc() if MICROPYTHON else 0


_before = used()
from pbal_protocol import frames, kdf, modbus, modbus_client, records  # noqa: E402

IMPORT_BYTES = used() - _before

SITE, ADDRESS = 7, 0x0105
UP_KEY, DOWN_KEY = kdf.node_keys(bytes(range(32)), SITE, ADDRESS)
READING = records.Telemetry(
    time_s=1700000000,
    va_v=230.1,
    vb_v=229.9,
    vc_v=231.2,
    vout_v=230.1,
    current_a=4.321,
    p_w=987.6,
    e_import_wh=1234567,
    freq_hz=49.98,
    phase=1,
    state=2,
)
SIZE = len(READING.encode())


def now():
    return time.ticks_us() / 1e6 if MICROPYTHON else time.perf_counter()


class Road:
    """One node's frame, sealed and opened in place."""

    def __init__(self):
        self.sealer = frames.Sealer(UP_KEY, frames.UP, SITE, ADDRESS)
        self.opener = frames.Opener(UP_KEY, frames.UP, SITE, ADDRESS)
        self.buf = bytearray(frames.MAX_FRAME)
        READING.encode_into(self.buf, frames.HEADER_LEN)
        self.counter = 0

    def frames(self, count):
        """Seal and open `count` frames."""
        i = 0
        while i < count:
            i += 1
            self.counter += 1
            n = self.sealer.seal_into(self.counter, self.buf, SIZE)
            self.opener.open_into(self.buf, n)

    def records(self, count):
        """The same with the record encoded and decoded each time."""
        i = 0
        while i < count:
            i += 1
            self.counter += 1
            READING.encode_into(self.buf, frames.HEADER_LEN)
            n = self.sealer.seal_into(self.counter, self.buf, SIZE)
            n = self.opener.open_into(self.buf, n)
            records.decode_all(self.buf[frames.HEADER_LEN : frames.HEADER_LEN + n])


def per_second(work, seconds):
    work(50)
    count = 0
    start = now()
    while now() - start < seconds:
        work(50)
        count += 50
    return count / (now() - start)


def allocated(work, count):
    """Heap bytes a frame, nothing collected in between."""
    work(1)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    work(count)
    after = gc.mem_alloc()
    gc.enable()
    return (after - before) / count


def main():
    seconds, count = float(sys.argv[2]), int(sys.argv[3])
    road = Road()
    adu = modbus_client.adu(5, modbus_client.request_pdu(0, bytes(59)))
    result = {
        "interpreter": sys.implementation.name,
        "version": ".".join([str(part) for part in sys.implementation.version[:3]]),
        "record_bytes": SIZE,
        "seal_open_per_s": round(per_second(road.frames, seconds)),
        "encode_seal_open_decode_per_s": round(per_second(road.records, seconds)),
    }

    def crc(times):
        for _ in range(times):
            modbus.crc16(adu)

    result["crc16_bytes_per_s"] = round(per_second(crc, seconds) * len(adu))
    if MICROPYTHON:
        result["import_bytes"] = IMPORT_BYTES
        result["alloc_bytes_per_frame"] = allocated(road.frames, 100)
        result["alloc_bytes_per_frame_with_records"] = allocated(road.records, 10)
        before = used()
        road.frames(count)
        result["growth_frames"] = count
        result["growth_bytes"] = used() - before
        road.records(count // 10)
        result["growth_bytes_with_records"] = used() - before
    print(json.dumps(result))


main()
