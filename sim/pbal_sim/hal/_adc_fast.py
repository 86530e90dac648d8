# ruff: noqa: F821  (ptr8, ptr16 and ptr32 are words of the viper emitter)
# The analogue converter's inner step, in machine code: two look-ups, no allocation.
import micropython


@micropython.viper
def sample(page: ptr8, ch: int, t_us: int) -> int:
    w = ptr32(page)
    cycles = (t_us * int(w[1])) >> 30
    i = (cycles + int(w[12 + ch])) & 1023
    s = int(ptr16(page)[1024 + i])
    if s > 32767:
        s -= 65536
    # The square of the time: white noise for any regular sampling; a product would give a tone.
    r = (t_us * 25173 + ch * 13849) & 65535
    noise = ((r * r >> 8 & 255) - 128) * int(w[28]) >> 7
    uv = int(w[20 + ch]) + ((int(w[4 + ch]) * s) >> 15) + noise
    # One period over 3.1 V, zero at 1.3 V: 346 / 2**20 = 1024 / 3.1e6.
    s = int(ptr16(page)[1024 + (((uv - 1300000) * 346 >> 20) & 1023)])
    if s > 32767:
        s -= 65536
    return uv + ((int(w[29]) * s) >> 15)
