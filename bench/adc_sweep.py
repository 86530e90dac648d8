"""The MicroPython half of bench.adc: sweeps the simulated front end, a JSON line per point.

argv: noise share; "signal" or "range" (what the share is of); seconds averaged; seed;
1 to calibrate first; seconds that the load is steady before.
"""

import json
import math
import sys

import vfs

BLOCK = 4096


class Ram:
    """A few blocks of RAM for the calibration's slot."""

    def __init__(self):
        self.data = bytearray(16 * BLOCK)

    def readblocks(self, n, buf, off=0):
        at = n * BLOCK + off
        buf[:] = self.data[at : at + len(buf)]

    def writeblocks(self, n, buf, off=0):
        at = n * BLOCK + off
        self.data[at : at + len(buf)] = buf

    def ioctl(self, op, arg):
        return {4: 16, 5: BLOCK, 6: 0}.get(op, 0)


def main(noise, of, seconds, seed, calibrate, settle):
    from adc_plant import Bench, Plant

    device = Ram()
    vfs.VfsLfs2.mkfs(device)
    vfs.mount(vfs.VfsLfs2(device), "/bench")
    plant = Plant(noise, of == "signal")
    plant._seed = seed
    b = Bench(plant, "/bench/s")
    if calibrate:
        b.calibrate()
    for share in (0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0):
        for pf, sign in ((1.0, 1), (0.8, 1), (0.5, 1), (1.0, -1), (0.5, -1)):
            plant.v = 230.0
            plant.i = 60 * share
            plant.phi = math.acos(pf) + (math.pi if sign < 0 else 0)
            b.mean(settle)
            v, i, p, q, hz = b.mean(seconds)
            s = plant.v * plant.i
            print(
                json.dumps(
                    {
                        "share": share,
                        "pf": pf * sign,
                        "v_error": v / plant.v - 1,
                        "i_error": i / plant.i - 1,
                        "p_error": p / (s * pf * sign) - 1,
                        "q_error_of_s": (q - s * math.sin(plant.phi)) / s,
                        "hz_error": hz - plant.hz,
                    }
                )
            )


main(
    float(sys.argv[1]),
    sys.argv[2],
    int(sys.argv[3]),
    int(sys.argv[4]),
    sys.argv[5] == "1",
    int(sys.argv[6]),
)
