"""The scripts `pbal node` runs on a node's console. They use the node's own modules and stores.

None of them prints a key, and none of them closes a contact.
"""

from pbal_controller.documents import dump_json

_COMMON = """
import gc, json, os, time
from pbal_node.store import Config, FlashStats, Slot, makedirs
try:
    from pbal_node.counters import Counters
    from pbal_node.journal import SelectorState
except ImportError:  # a node of before they had files of their own
    from pbal_node.store import Counters, SelectorState
from pbal_node.events import EventLog
from pbal_protocol import config as settings
makedirs('/cfg')
makedirs('/log')
stats = FlashStats()
def load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}
identity = load('/cfg/identity.json')
marked = [r[0] for r in settings.KEYS if r[1] in ('fixed', 'opted_out') and identity.get(r[1])]
def legal(key, value):
    try:
        settings.check(key, value)
        return value != 0 or key not in marked
    except Exception:
        return False
names = {}
for row in settings.KEYS:
    names[row[1]] = row[0]
def config():
    board = {}
    for name, value in load('/board.json').get('config', {}).items():
        if name in names:
            board[names[name]] = value
    for name in ('fixed', 'opted_out'):
        if name in identity:
            board[names[name]] = 1 if identity[name] else 0
    defaults = {}
    for row in settings.KEYS:
        defaults[row[0]] = row[5]
    return Config('/cfg/config', stats, defaults, board, legal)
def values():
    c = config()
    return {n: c.get(names[n]) for n in names}
def log():
    zero = lambda: 0
    return EventLog('/log/events', Slot('/cfg/acked', stats), zero, zero, stats)
"""

STATUS = (
    _COMMON
    + """
import machine
from binascii import hexlify
from pbal_node.version import VERSION
s = SelectorState('/cfg/selector', stats)
k = Counters('/cfg/counters', stats)
f = os.statvfs('/')
try:
    with open('/log/crash.txt') as c:
        crash = c.read(1000)
except OSError:
    crash = ''
u = hexlify(machine.unique_id()).decode()
gc.collect()
print('@S' + json.dumps({
    'firmware': VERSION, 'board': load('/board.json').get('board', {}).get('name', ''),
    'mac': u, 'provisioned': bool(identity),
    'copied': bool(identity) and identity.get('eui') != u[:6] + 'fffe' + u[6:],
    'eui': identity.get('eui', ''), 'site': identity.get('site', 0),
    'address': identity.get('address', 0), 'name': identity.get('name', ''),
    'proven_phase': s.proven, 'lockout_phase': s.lockout, 'transfer_unfinished': bool(s.stage),
    'lifetime_switches': s.lifetime, 'switches_today': s.today,
    'boots': k.boots, 'crashes_in_a_row': k.crashes, 'crash': crash,
    'events_unacknowledged': len(log().pending),
    'heap_free': gc.mem_free(), 'flash_free': f[0] * f[3]}))
"""
)

EVENTS = (
    _COMMON
    + """
l = log()
for i in (0, 1):
    for e in l.read(i):
        print('@L' + json.dumps(list(e) + [e[0] <= l.acked]))
print('@E')
"""
)

CONFIG_GET = _COMMON + "\nprint('@C' + json.dumps(values()))\n"

# Each change is stored by the node's own rules, logged as an event, and read back from flash.
CONFIG_SET = (
    _COMMON
    + """
want = json.loads(@WANT@)
c = config()
refused = []
l = log()
for name in want:
    before = c.get(names[name]) if name in names else None
    if name not in names or not c.set(names[name], want[name]):
        refused.append(name)
    elif before != want[name]:
        l.emit(10, 0, names[name], want[name])
print('@R' + json.dumps(refused))
print('@C' + json.dumps(values()))
"""
)


def config_set(want: dict[str, int]) -> str:
    """The script that stores settings."""
    return CONFIG_SET.replace("@WANT@", repr(dump_json(want)))


CLEAR_LOCKOUT = (
    _COMMON
    + """
s = SelectorState('/cfg/selector', stats)
was = s.lockout
if was:
    s.lockout = 0
    s.save()
    log().emit(8, 0, 0, 0)
print('@K' + json.dumps([was, SelectorState('/cfg/selector', stats).lockout]))
"""
)

# Samples by turns, so that all channels are seen over the same cycles; time is the ADC's own.
SCOPE = """
import array, gc, json, time
from pbal_node import board as b
t = b.load()
names = ('va', 'vb', 'vc', 'vout')
adcs = [b.adc(t, n) for n in names]
N = {samples}
data = [array.array('i', [0] * N) for _ in names]
at = array.array('i', [0] * N)
gc.collect()
ticks, diff = time.ticks_us, time.ticks_diff
start = ticks()
step = {span_us} // N
for i in range(N):
    while diff(ticks(), start) < i * step:
        pass
    at[i] = diff(ticks(), start)
    for k in range(4):
        data[k][i] = adcs[k].read_uv()
print('@H' + json.dumps([b.per_channel(t, 'volts_per_volt', 400.0), t['sense'].get('bias_v', 1.3)]))
print('@A' + json.dumps(list(at)))
for k in range(4):
    print('@W' + names[k] + ' ' + json.dumps(list(data[k])))
print('@E')
"""
