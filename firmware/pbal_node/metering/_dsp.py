"""The inner loop of power measurement as machine code; kept as source, the board compiles it.

All sums fit 32 bits: samples come as 0.256 mV steps (13 bits and sign), products (25 bits) are
split at bit 12 before they are weighted (9 bits) and summed (7 bits).
"""
# ruff: noqa: F821

import micropython


@micropython.viper
def accumulate(
    x: ptr32, y: ptr32, w: ptr32, index: ptr16, sine: ptr16, n: int, xb: int, yb: int, out: ptr32
):
    """out[0..11] = sums over n samples of w x, w y, w x x, w y y, w x y, w x cos, w x sin.

    x and y are microvolts, xb and yb their biases; index is the phase of each sample in 256ths
    of a cycle, sine a table of 256 values scaled by 1024. Sums of products are pairs: high part
    (to be shifted left by 12) and low part.
    """
    i = 0
    while i < 12:
        out[i] = 0
        i += 1
    i = 0
    while i < n:
        a = (x[i] - xb) >> 8
        b = (y[i] - yb) >> 8
        k = w[i]
        out[0] += a * k
        out[1] += b * k
        p = a * a
        out[2] += (p >> 12) * k
        out[3] += (p & 4095) * k
        p = b * b
        out[4] += (p >> 12) * k
        out[5] += (p & 4095) * k
        p = a * b
        out[6] += (p >> 12) * k
        out[7] += (p & 4095) * k
        j = index[i]
        s = sine[(j + 64) & 255]
        if s > 32767:
            s -= 65536
        p = a * s
        out[8] += (p >> 12) * k
        out[9] += (p & 4095) * k
        s = sine[j & 255]
        if s > 32767:
            s -= 65536
        p = a * s
        out[10] += (p >> 12) * k
        out[11] += (p & 4095) * k
        i += 1
