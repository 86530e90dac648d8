# The analogue converter's inner step where the interpreter has no machine-code emitter.


def sample(page, ch, t_us):
    w = page
    freq = w[4] | w[5] << 8 | w[6] << 16 | w[7] << 24
    o = 48 + 4 * ch
    phase = w[o] | w[o + 1] << 8
    s = _sine(w, (t_us * freq >> 30) + phase)
    o = 16 + 4 * ch
    peak = w[o] | w[o + 1] << 8 | w[o + 2] << 16 | w[o + 3] << 24
    o = 80 + 4 * ch
    bias = w[o] | w[o + 1] << 8 | w[o + 2] << 16 | w[o + 3] << 24
    r = (t_us * 25173 + ch * 13849) & 65535
    noise = ((r * r >> 8 & 255) - 128) * (w[112] | w[113] << 8) >> 7
    uv = bias + (peak * s >> 15) + noise
    return uv + ((w[116] | w[117] << 8) * _sine(w, (uv - 1300000) * 346 >> 20) >> 15)


def _sine(w, i):
    o = 2048 + 2 * (i & 1023)
    s = w[o] | w[o + 1] << 8
    return s - 65536 if s > 32767 else s
