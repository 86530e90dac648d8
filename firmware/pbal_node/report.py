"""What the node reports: the records that an answer carries, filled in when it is sealed."""

import gc

from micropython import const

from pbal_node.clock import random_u32
from pbal_node.version import VERSION_CODE
from pbal_protocol import records

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.clock import Monotonic, SiteClock
    from pbal_node.counters import Counters
    from pbal_node.events import EventLog
    from pbal_node.journal import Result, SelectorState
    from pbal_node.link import Link
    from pbal_node.measuring import Measuring
    from pbal_node.selector import Limits, Selector
    from pbal_node.store import FlashStats

# As on the wire.
_FLAG_FIXED = const(1)
_FLAG_LOCKOUT = const(2)
_FLAG_METER_FAULT = const(4)
_FLAG_SAFE_MODE = const(8)
_FLAG_UNSYNCED = const(16)
_FLAG_EVENTS_PENDING = const(32)
_FLAG_AUTONOMOUS = const(64)
_FLAG_SENSE_FAULT = const(128)
_FLAG_OPTED_OUT = const(256)
_STATE_OPEN = const(1)
_STATE_CLOSED = const(2)
_STATE_WAITING = const(3)
_STATE_RETURN = const(7)
_STATE_LOCKOUT = const(8)


def _told_v(v: float) -> float:
    """A voltage as a record can hold it; 0 for NaN."""
    return min(v, 600.0) if v >= 0 else 0.0


def _told_wh(wh: float) -> int:
    """The same for an energy."""
    return int(min(0xFFFFFFFF, wh)) if wh >= 0 else 0


class Report:
    """`identity`: the board's name, the firmware's version, the home's name. `bearers`: each has
    `bad_crc` and `malformed`.
    """

    # Filled in by build.py.
    mono: "Monotonic"
    clock: "SiteClock"
    counters: "Counters"
    stats: "FlashStats"
    log: "EventLog"
    limits: "Limits"
    state_store: "SelectorState"
    selector: "Selector"
    measuring: "Measuring"
    identity: tuple
    eui: bytes
    board_id: int
    reset_cause: int

    def __init__(self) -> None:
        self.bearers: list = []
        self.heap_used_max = 0
        self.loop_max_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since boot."""
        return self.mono.now()

    def phase(self) -> int:
        """The closed phase, 0 while the home is open or between phases."""
        s = self.selector
        return s.phase if s.state in (_STATE_CLOSED, _STATE_WAITING, _STATE_LOCKOUT) else 0

    def state(self) -> int:
        """The selector's, as on the wire."""
        s = self.selector.state
        return _STATE_RETURN if s == _STATE_OPEN else s

    def flags(self) -> int:
        """FLAG_* of the wire."""
        lim = self.limits
        measuring = self.measuring
        return (
            (_FLAG_FIXED if lim.fixed else 0)
            | (_FLAG_OPTED_OUT if lim.opted_out else 0)
            | (_FLAG_LOCKOUT if self.state_store.lockout else 0)
            | (_FLAG_METER_FAULT if measuring.meter_fault else 0)
            | (_FLAG_SAFE_MODE if lim.safe_mode else 0)
            | (0 if self.clock.synced else _FLAG_UNSYNCED)
            | (_FLAG_EVENTS_PENDING if self.log.pending else 0)
            | (_FLAG_SENSE_FAULT if measuring.sense_fault() else 0)
            | (_FLAG_AUTONOMOUS if self.selector.autonomous else 0)
        )

    def fill_telemetry(self, t) -> None:
        """The newest readings into a Telemetry record."""
        now = self.now_ms()
        sense = self.measuring.sense
        v = sense.v
        r = self.measuring.meter.reading
        t.time_s = self.clock.now_s()
        t.va_v = _told_v(v[1])
        t.vb_v = _told_v(v[2])
        t.vc_v = _told_v(v[3])
        t.vout_v = _told_v(sense.out_v)
        if r.ok and r.plausible():
            t.current_a = r.current_a
            t.p_w = r.p_w
            t.q_var = r.q_var
            t.freq_hz = r.freq_hz
        else:
            t.current_a = t.p_w = t.q_var = t.freq_hz = 0.0
        t.e_import_wh = _told_wh(r.e_import_wh)
        t.e_export_wh = _told_wh(r.e_export_wh)
        t.phase = self.phase()
        t.state = self.state()
        t.flags = self.flags()
        at = sense.at_ms
        if r.ok and r.at_ms < at:
            at = r.at_ms
        t.age_ms = min(max(now - at, 0), 65535) if at >= 0 else 65535
        t.dwell_left_s = min((self.selector.dwell_left_ms(now) + 999) // 1000, 65535)
        t.switches_today = min(self.selector.switches_today(), 255)

    def hello(self, down_floor: int) -> "records.Hello":
        """The node's identity, and the nonce that a proven time answers."""
        return records.Hello(
            eui=self.eui,
            nonce=self.clock.ask(random_u32()),
            boots=self.counters.boots,
            reset_cause=self.reset_cause,
            down_floor=down_floor,
            fw_version=VERSION_CODE,
            board=self.board_id,
            phase=self.phase(),
            state=self.state(),
            flags=self.flags(),
        )

    def event(self, entry) -> "records.Event":
        """An entry of the event log."""
        seq, code, severity, time_s, arg0, arg1 = entry
        return records.Event(
            seq=seq, code=code, severity=severity, time_s=time_s, arg0=arg0, arg1=arg1
        )

    def result(self, r: "Result") -> "records.SwitchResult":
        """The result of a command."""
        return records.SwitchResult(
            command_id=r.command_id,
            outcome=r.outcome,
            reason=r.reason,
            from_phase=r.from_phase,
            to_phase=r.to_phase,
            phase=r.phase,
            transfer_ms=min(r.transfer_ms, 65535),
            vout_v=r.vout_dv / 10,
            time_s=r.time_s,
            lifetime_switches=r.lifetime,
        )

    def health(self, link: "Link") -> "records.Health":
        """Errors since boot, on every bearer and in the link's frames."""
        bad = link.bad
        bad_crc = bad["bad_crc"]
        malformed = bad["malformed"]
        for bearer in self.bearers:
            bad_crc += bearer.bad_crc
            malformed += bearer.malformed
        return records.Health(
            uptime_s=self.now_ms() // 1000,
            heap_free=gc.mem_free(),
            heap_used_max=self.heap_used_max,
            loop_max_ms=min(self.loop_max_ms, 65535),
            bad_crc=bad_crc,
            auth_failed=bad["auth_failed"],
            replayed=bad["replayed"],
            malformed=malformed,
            expired=link.expired,
            flash_writes=self.stats.writes,
            meter_errors=self.measuring.meter.errors,
            lifetime_switches=self.state_store.lifetime,
            nonce=self.clock.nonce,
        )
