"""What _dsp.py does, for boards without a machine-code emitter."""


def accumulate(x, y, w, index, sine, n, xb, yb, out):
    """The sums of _dsp.py for boards without a machine-code emitter."""
    for i in range(12):
        out[i] = 0
    for i in range(n):
        a = (x[i] - xb) >> 8
        b = (y[i] - yb) >> 8
        k = w[i]
        out[0] += a * k
        out[1] += b * k
        j = index[i]
        at = 2
        for p in (a * a, b * b, a * b, a * sine[(j + 64) & 255], a * sine[j & 255]):
            out[at] += (p >> 12) * k
            out[at + 1] += (p & 4095) * k
            at += 2
