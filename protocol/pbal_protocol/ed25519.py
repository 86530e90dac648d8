"""Checks Ed25519 signatures (RFC 8032) in plain Python, for nodes without a library for it.

Only verification: it touches nothing secret, so it need not run in constant time. The work is
cut into small steps, so that a node goes on answering polls meanwhile: `steps` yields some 270
times, and a step costs about 20 multiplications of 255-bit numbers.

SHA-512 is written out as well, because MicroPython's `hashlib` stops at SHA-256.
"""

_P = (1 << 255) - 19
_L = (1 << 252) + 27742317777372353535851937790883648493
_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
_ROOT = 19681161376707505956807079304988542015446066515923890162744021073123829784752  # of -1
_BX = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BY = 46316835694926478169428394003475163141307993866256225615783033603165251855960


# FIPS 180-4, 4.2.3 and 5.3.5: the first 64 bits after the point of the cube roots of the first 80
# primes, and of the square roots of the first 8; big endian.
_K = (
    b"\x42\x8a\x2f\x98\xd7\x28\xae\x22\x71\x37\x44\x91\x23\xef\x65\xcd\xb5\xc0\xfb\xcf\xec\x4d"
    b"\x3b\x2f\xe9\xb5\xdb\xa5\x81\x89\xdb\xbc\x39\x56\xc2\x5b\xf3\x48\xb5\x38\x59\xf1\x11\xf1"
    b"\xb6\x05\xd0\x19\x92\x3f\x82\xa4\xaf\x19\x4f\x9b\xab\x1c\x5e\xd5\xda\x6d\x81\x18\xd8\x07"
    b"\xaa\x98\xa3\x03\x02\x42\x12\x83\x5b\x01\x45\x70\x6f\xbe\x24\x31\x85\xbe\x4e\xe4\xb2\x8c"
    b"\x55\x0c\x7d\xc3\xd5\xff\xb4\xe2\x72\xbe\x5d\x74\xf2\x7b\x89\x6f\x80\xde\xb1\xfe\x3b\x16"
    b"\x96\xb1\x9b\xdc\x06\xa7\x25\xc7\x12\x35\xc1\x9b\xf1\x74\xcf\x69\x26\x94\xe4\x9b\x69\xc1"
    b"\x9e\xf1\x4a\xd2\xef\xbe\x47\x86\x38\x4f\x25\xe3\x0f\xc1\x9d\xc6\x8b\x8c\xd5\xb5\x24\x0c"
    b"\xa1\xcc\x77\xac\x9c\x65\x2d\xe9\x2c\x6f\x59\x2b\x02\x75\x4a\x74\x84\xaa\x6e\xa6\xe4\x83"
    b"\x5c\xb0\xa9\xdc\xbd\x41\xfb\xd4\x76\xf9\x88\xda\x83\x11\x53\xb5\x98\x3e\x51\x52\xee\x66"
    b"\xdf\xab\xa8\x31\xc6\x6d\x2d\xb4\x32\x10\xb0\x03\x27\xc8\x98\xfb\x21\x3f\xbf\x59\x7f\xc7"
    b"\xbe\xef\x0e\xe4\xc6\xe0\x0b\xf3\x3d\xa8\x8f\xc2\xd5\xa7\x91\x47\x93\x0a\xa7\x25\x06\xca"
    b"\x63\x51\xe0\x03\x82\x6f\x14\x29\x29\x67\x0a\x0e\x6e\x70\x27\xb7\x0a\x85\x46\xd2\x2f\xfc"
    b"\x2e\x1b\x21\x38\x5c\x26\xc9\x26\x4d\x2c\x6d\xfc\x5a\xc4\x2a\xed\x53\x38\x0d\x13\x9d\x95"
    b"\xb3\xdf\x65\x0a\x73\x54\x8b\xaf\x63\xde\x76\x6a\x0a\xbb\x3c\x77\xb2\xa8\x81\xc2\xc9\x2e"
    b"\x47\xed\xae\xe6\x92\x72\x2c\x85\x14\x82\x35\x3b\xa2\xbf\xe8\xa1\x4c\xf1\x03\x64\xa8\x1a"
    b"\x66\x4b\xbc\x42\x30\x01\xc2\x4b\x8b\x70\xd0\xf8\x97\x91\xc7\x6c\x51\xa3\x06\x54\xbe\x30"
    b"\xd1\x92\xe8\x19\xd6\xef\x52\x18\xd6\x99\x06\x24\x55\x65\xa9\x10\xf4\x0e\x35\x85\x57\x71"
    b"\x20\x2a\x10\x6a\xa0\x70\x32\xbb\xd1\xb8\x19\xa4\xc1\x16\xb8\xd2\xd0\xc8\x1e\x37\x6c\x08"
    b"\x51\x41\xab\x53\x27\x48\x77\x4c\xdf\x8e\xeb\x99\x34\xb0\xbc\xb5\xe1\x9b\x48\xa8\x39\x1c"
    b"\x0c\xb3\xc5\xc9\x5a\x63\x4e\xd8\xaa\x4a\xe3\x41\x8a\xcb\x5b\x9c\xca\x4f\x77\x63\xe3\x73"
    b"\x68\x2e\x6f\xf3\xd6\xb2\xb8\xa3\x74\x8f\x82\xee\x5d\xef\xb2\xfc\x78\xa5\x63\x6f\x43\x17"
    b"\x2f\x60\x84\xc8\x78\x14\xa1\xf0\xab\x72\x8c\xc7\x02\x08\x1a\x64\x39\xec\x90\xbe\xff\xfa"
    b"\x23\x63\x1e\x28\xa4\x50\x6c\xeb\xde\x82\xbd\xe9\xbe\xf9\xa3\xf7\xb2\xc6\x79\x15\xc6\x71"
    b"\x78\xf2\xe3\x72\x53\x2b\xca\x27\x3e\xce\xea\x26\x61\x9c\xd1\x86\xb8\xc7\x21\xc0\xc2\x07"
    b"\xea\xda\x7d\xd6\xcd\xe0\xeb\x1e\xf5\x7d\x4f\x7f\xee\x6e\xd1\x78\x06\xf0\x67\xaa\x72\x17"
    b"\x6f\xba\x0a\x63\x7d\xc5\xa2\xc8\x98\xa6\x11\x3f\x98\x04\xbe\xf9\x0d\xae\x1b\x71\x0b\x35"
    b"\x13\x1c\x47\x1b\x28\xdb\x77\xf5\x23\x04\x7d\x84\x32\xca\xab\x7b\x40\xc7\x24\x93\x3c\x9e"
    b"\xbe\x0a\x15\xc9\xbe\xbc\x43\x1d\x67\xc4\x9c\x10\x0d\x4c\x4c\xc5\xd4\xbe\xcb\x3e\x42\xb6"
    b"\x59\x7f\x29\x9c\xfc\x65\x7e\x2a\x5f\xcb\x6f\xab\x3a\xd6\xfa\xec\x6c\x44\x19\x8c\x4a\x47"
    b"\x58\x17"
)
_H = (
    b"\x6a\x09\xe6\x67\xf3\xbc\xc9\x08\xbb\x67\xae\x85\x84\xca\xa7\x3b\x3c\x6e\xf3\x72\xfe\x94"
    b"\xf8\x2b\xa5\x4f\xf5\x3a\x5f\x1d\x36\xf1\x51\x0e\x52\x7f\xad\xe6\x82\xd1\x9b\x05\x68\x8c"
    b"\x2b\x3e\x6c\x1f\x1f\x83\xd9\xab\xfb\x41\xbd\x6b\x5b\xe0\xcd\x19\x13\x7e\x21\x79"
)
_MASK = 0xFFFFFFFFFFFFFFFF


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "big")


def _sha512(data: bytes):  # type: ignore[no-untyped-def]
    """Generator: yields b"" while it works, then the digest."""
    size = len(data)
    data = data + b"\x80" + bytes(-(size + 17) % 128) + bytes(8) + (8 * size).to_bytes(8, "big")
    h = [_word(_H, i) for i in range(0, 64, 8)]
    for start in range(0, len(data), 128):
        w = [_word(data, i) for i in range(start, start + 128, 8)]
        a, b, c, d, e, f, g, last = h
        for t in range(80):
            if t >= 16:
                # The last 16 words of the schedule are kept; w[0] is the word 16 steps ago.
                x = w[1]
                y = w[14]
                x |= x << 64
                y |= y << 64
                x = ((x >> 1 ^ x >> 8) & _MASK) ^ w[1] >> 7
                y = ((y >> 19 ^ y >> 61) & _MASK) ^ w[14] >> 6
                w.append((w[0] + x + w[9] + y) & _MASK)
                w.pop(0)
            x = e | e << 64
            x = (x >> 14 ^ x >> 18 ^ x >> 41) & _MASK
            x = last + x + (e & f ^ (_MASK ^ e) & g) + _word(_K, 8 * t) + w[min(t, 15)]
            y = a | a << 64
            y = (y >> 28 ^ y >> 34 ^ y >> 39) & _MASK
            last, g, f, e = g, f, e, (d + x) & _MASK
            d, c, b, a = c, b, a, (x + y + (b & c ^ a & (b ^ c))) & _MASK
            if t % 8 == 7:
                yield b""
        now = (a, b, c, d, e, f, g, last)
        h = [(h[i] + now[i]) & _MASK for i in range(8)]
    yield b"".join([x.to_bytes(8, "big") for x in h])


def sha512(data: bytes) -> bytes:
    """The SHA-512 digest (64 bytes) of a short message (FIPS 180-4)."""
    digest = b""
    for digest in _sha512(data):  # noqa: B007
        pass
    return digest


def _point(raw: bytes) -> "tuple[int, int] | None":
    """Decode a point (RFC 8032, 5.1.3); None when it is not one."""
    y = int.from_bytes(raw, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= _P:
        return None
    u = y * y - 1
    v = _D * y * y + 1
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P) % _P, (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _ROOT % _P
        if (v * x * x - u) % _P:
            return None
    if x == 0 and sign:
        return None
    return (_P - x if x & 1 != sign else x), y


def _add(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Sum of two points in extended coordinates (RFC 8032, 5.1.4)."""
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m = (y1 - x1) * (y2 - x2) % _P
    n = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 % _P * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(a: tuple[int, ...]) -> tuple[int, ...]:
    x, y, z, _t = a
    m = x * x % _P
    n = y * y % _P
    h = m + n
    e = h - (x + y) * (x + y) % _P
    g = m - n
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def steps(key: bytes, message: bytes, signature: bytes):  # type: ignore[no-untyped-def]
    """Generator of the work; yields None many times and at last True or False.

    `key` 32 bytes, `signature` 64 bytes, untrusted: malformed ones give False, as RFC 8032, 5.1.7
    requires (S below the group order, canonical points).
    """
    if len(key) != 32 or len(signature) != 64:
        yield False
        return
    s = int.from_bytes(signature[32:], "little")
    point = _point(key)
    if point is None or s >= _L:
        yield False
        return
    yield None
    digest = b""
    for digest in _sha512(signature[:32] + key + message):  # noqa: B007
        yield None
    k = int.from_bytes(digest, "little") % _L
    # [S]B - [k]A must be R: both products at once, bit by bit (Shamir's trick).
    x = _P - point[0]
    minus_a = (x, point[1], 1, x * point[1] % _P)
    base = (_BX, _BY, 1, _BX * _BY % _P)
    table = (None, base, minus_a, _add(base, minus_a))
    r: tuple[int, ...] = (0, 1, 1, 0)
    for i in range(252, -1, -1):
        r = _double(r)
        pick = table[(s >> i & 1) | (k >> i & 1) << 1]
        if pick is not None:
            r = _add(r, pick)
        yield None
    inverse = pow(r[2], _P - 2, _P)
    x = r[0] * inverse % _P
    y = r[1] * inverse % _P
    yield (y | (x & 1) << 255).to_bytes(32, "little") == bytes(signature[:32])


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """True when `signature` is a valid signature of `message` under `key`; all steps at once."""
    result = None
    for result in steps(key, message, signature):  # noqa: B007
        pass
    return bool(result)
