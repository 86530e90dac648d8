# ruff: noqa: F821  (ptr8, ptr16 and ptr32 are words of the viper emitter)
# The analogue converter's inner step, in machine code: one look-up, no allocation.
import micropython


@micropython.viper
def sample(page: ptr8, ch: int, t_us: int) -> int:
    w = ptr32(page)
    cycles = (t_us * int(w[1])) >> 30
    i = (cycles + int(w[12 + ch])) & 1023
    s = int(ptr16(page)[1024 + i])
    if s > 32767:
        s -= 65536
    noise = ((t_us * 40503) >> 5 & 255) * int(w[28]) >> 8
    return int(w[20 + ch]) + ((int(w[4 + ch]) * s) >> 15) + noise
