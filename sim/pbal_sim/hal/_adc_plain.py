# The analogue converter's inner step where the interpreter has no machine-code emitter.


def sample(page, ch, t_us):
    w = page
    freq = w[4] | w[5] << 8 | w[6] << 16 | w[7] << 24
    o = 48 + 4 * ch
    phase = w[o] | w[o + 1] << 8
    i = ((t_us * freq >> 30) + phase) & 1023
    o = 2048 + 2 * i
    s = w[o] | w[o + 1] << 8
    if s > 32767:
        s -= 65536
    o = 16 + 4 * ch
    peak = w[o] | w[o + 1] << 8 | w[o + 2] << 16 | w[o + 3] << 24
    o = 80 + 4 * ch
    bias = w[o] | w[o + 1] << 8 | w[o + 2] << 16 | w[o + 3] << 24
    noise = ((t_us * 40503) >> 5 & 255) * (w[112] | w[113] << 8) >> 8
    return bias + (peak * s >> 15) + noise
