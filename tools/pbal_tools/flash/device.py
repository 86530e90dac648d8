"""The scripts the tool runs on a board. MicroPython, short, one answer a line, marked with '@'.

Everything they print is a hash, a name or a number: never a key.
"""

from typing import Any

from pbal_controller.documents import DocumentError, dump_json, load_json

from ..errors import PeerError

PROBE = """
import os, sys, json
from binascii import hexlify
import machine
def has(p):
    try:
        os.stat(p)
        return True
    except OSError:
        return False
i = sys.implementation
s = os.statvfs('/')
print('@I' + json.dumps({
    'name': i[0], 'version': '.'.join(str(n) for n in i[1][:3]),
    'machine': getattr(i, '_machine', sys.platform), 'mpy': getattr(i, '_mpy', 0) & 0xff,
    'id': hexlify(machine.unique_id()).decode(), 'free': s[0] * s[3], 'total': s[0] * s[2],
    'identity': has('/cfg/identity.json'), 'main': has('/main.py')}))
"""

_HASHES = """
import os, gc, hashlib
from binascii import hexlify
buf = memoryview(bytearray(1024))
def one(p, n):
    h = hashlib.sha256()
    with open(p, 'rb') as f:
        while True:
            k = f.readinto(buf)
            if not k:
                break
            h.update(buf[:k])
    print('@F', n, hexlify(h.digest()).decode(), p)
def walk(d):
    for e in os.ilistdir(d or '/'):
        p = d + '/' + e[0]
        if e[1] & 0x4000:
            if p not in SKIP:
                print('@D', p)
                walk(p)
        else:
            one(p, os.stat(p)[6])
        gc.collect()
SKIP = ('/cfg', '/log')
"""
LIST = _HASHES + "walk('')\nprint('@E')\n"
# The same of what is written last.
LIST_MAIN = _HASHES + "one('/main.py', os.stat('/main.py')[6])\nprint('@E')\n"

REMOVE = """
import os
for p in {paths!r}:
    try:
        os.remove(p)
    except OSError:
        pass
for p in {folders!r}:
    try:
        os.rmdir(p)
    except OSError:
        pass
print('@E')
"""

MKDIR = """
import os
for p in {paths!r}:
    try:
        os.mkdir(p)
    except OSError:
        pass
print('@E')
"""

SELF_TEST = """
import gc, json, os, sys, time
from binascii import hexlify, unhexlify
want = json.loads({want!r})
out = []
def test(name, f):
    try:
        r = f()
        out.append([name, True, r if r is not None else ''])
    except Exception as e:
        out.append([name, False, type(e).__name__ + ': ' + str(e)])
    gc.collect()
def heap():
    gc.collect()
    n = gc.mem_free()
    assert n > 40000, 'only %d B free' % n
    return '%d B free' % n
def flash():
    s = os.statvfs('/')
    p = '/.selftest'
    with open(p + '.new', 'wb') as f:
        f.write(b'pbal' * 64)
    os.rename(p + '.new', p)
    with open(p, 'rb') as f:
        ok = f.read() == b'pbal' * 64
    os.remove(p)
    assert ok, 'read back differs'
    return '%d kB free' % (s[0] * s[3] // 1024)
def version():
    from pbal_node.version import VERSION
    assert VERSION == want['version'], VERSION
    return VERSION
def board():
    from pbal_node import board as b
    t = b.load()['board']['name']
    assert t == want['board'], t
    return t
def crypto():
    from pbal_protocol import aead, kdf
    up, down = kdf.node_keys(bytes(range(32)), 7, 300)
    got = hexlify(aead.Ccm(up).seal(bytes(13), b'pbal', b'self-test')).decode()
    assert got == want['sealed'], 'wrong result'
    return 'AES-256-CCM, HKDF-SHA256'
def contacts():
    from pbal_node import board as b
    import machine
    t = b.load()
    b.drive(t)
    s = t['selector']
    off = 1 - s.get('on_level', 1)
    n = 0
    for k in s:
        if k in ('a', 'b', 'c') or k[2:] in ('set', 'reset'):
            assert machine.Pin(s[k]).value() == off, k + ' is driven'
            n += 1
    return '%d outputs off' % n
def analog():
    from pbal_node import board as b
    t = b.load()
    r = {{}}
    for k in ('va', 'vb', 'vc', 'vout'):
        a = b.adc(t, k)
        lo = hi = a.read_uv()
        e = time.ticks_add(time.ticks_ms(), 40)
        while time.ticks_diff(e, time.ticks_ms()) > 0:
            v = a.read_uv()
            lo = min(lo, v)
            hi = max(hi, v)
        r[k] = [lo // 1000, hi // 1000]
    return ', '.join('%s %d..%d mV' % (k, r[k][0], r[k][1]) for k in ('va', 'vb', 'vc', 'vout'))
def ports():
    from pbal_node import board as b
    t = b.load()
    de = b.rs485_driver(t)
    u = b.uart_rs485(t)
    assert de.value() == 0, 'DE is driven'
    u.deinit()
    if t.get('meter', {{}}).get('kind', 'pzem') == 'pzem':
        b.uart_meter(t).deinit()
    return 'open, driver off'
def modules():
    import pbal_node.app
    return 'application loads'
for name, f in (('heap', heap), ('flash', flash), ('version', version), ('board', board),
                ('crypto', crypto), ('contacts', contacts), ('analog', analog), ('ports', ports),
                ('modules', modules)):
    test(name, f)
print('@T' + json.dumps(out))
"""


def self_test(board: str, version: str) -> str:
    """The self-test script for a board and a firmware version."""
    from pbal_protocol import aead, kdf

    up, _ = kdf.node_keys(bytes(range(32)), 7, 300)
    sealed = aead.Ccm(up).seal(bytes(13), b"pbal", b"self-test").hex()
    want = {"board": board, "version": version, "sealed": sealed}
    return SELF_TEST.format(want=dump_json(want))


def answer(line: str) -> Any:
    """The JSON of one answer. Raises PeerError: a node may send anything."""
    try:
        return load_json(line)
    except DocumentError as exc:
        raise PeerError(
            f"The node's answer is garbled: {exc}.", "Run the command again; else flash it anew."
        ) from None


def marked(text: str, mark: str) -> list[str]:
    """The answers in a script's output: lines that start with `mark`, without it."""
    return [line[len(mark) :].strip() for line in text.splitlines() if line.startswith(mark)]
