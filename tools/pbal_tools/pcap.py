"""Writes capture files (classic libpcap, microsecond stamps) that Wireshark opens.

The link types are the user-defined ones that protocol/dissector/pbal.lua claims.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

BUS = 147  # LINKTYPE_USER0: one Modbus RTU frame of a segment
SEALED = 148  # LINKTYPE_USER1: one sealed frame
PAYLOAD = 149  # LINKTYPE_USER2: the opened records of one frame


def write(path: Path, link_type: int, packets: Iterable[tuple[float, bytes]]) -> int:
    """Write (unix time in seconds, bytes) pairs to `path`; return how many there were."""
    count = 0
    with path.open("wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type))
        for time_s, data in packets:
            microseconds = round(time_s * 1e6)
            f.write(struct.pack("<II", *divmod(microseconds, 1_000_000)))
            f.write(struct.pack("<II", len(data), len(data)) + data)
            count += 1
    return count
