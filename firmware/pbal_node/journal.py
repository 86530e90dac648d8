"""The selector's record in flash: where the home is, a transfer under way, the last results."""

import struct

from micropython import const

from pbal_node.store import FlashStats, Slot

RESULTS_KEPT = const(8)  # command results kept for repeats
RESULT_FMT = "<IBBBBBHHII"  # one result, see `Result`
_ENTRY_LEN = const(21)


class Result:
    """The result of one Switch command. `phase` is where the home was afterwards."""

    def __init__(
        self,
        command_id=0,
        outcome=0,
        reason=0,
        from_phase=0,
        to_phase=0,
        phase=0,
        transfer_ms=0,
        vout_dv=0,
        time_s=0,
        lifetime=0,
    ):
        self.command_id = command_id
        self.outcome = outcome
        self.reason = reason
        self.from_phase = from_phase
        self.to_phase = to_phase
        self.phase = phase
        self.transfer_ms = transfer_ms  # 0: nothing was interrupted
        self.vout_dv = vout_dv  # 0.1 V
        self.time_s = time_s
        self.lifetime = lifetime

    def pack(self) -> bytes:
        return struct.pack(
            RESULT_FMT,
            self.command_id,
            self.outcome,
            self.reason,
            self.from_phase,
            self.to_phase,
            self.phase,
            min(self.transfer_ms, 65535),
            min(max(self.vout_dv, 0), 65535),
            self.time_s,
            self.lifetime,
        )


class SelectorState:
    """What the selector must know after any reset (S2, S4, S5, S9, S12)."""

    _FMT = "<BBBBBIIHBIH"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        self.proven = 0  # last phase on which the output was proven to follow
        self.lockout = 0  # the phase whose contact welded, 0 = none
        # Journal: 1 while a transfer is under way; 2 at rest, all open; 0 at rest, `proven` closed.
        self.stage = 0
        self.stage_from = 0
        self.stage_to = 0
        self.stage_command = 0  # 0: by local rule
        self.lifetime = 0  # contact closings
        self.day = 0  # site day of `today`
        self.today = 0  # transfers that day
        self.last_transfer_s = 0  # site time, 0 = unknown
        self.inrushes = 0  # closings into more than the rated current
        self.results: list = []  # newest last
        raw = self._slot.load()
        n = struct.calcsize(self._FMT)
        if raw is not None and len(raw) >= n:
            (
                self.proven,
                self.lockout,
                self.stage,
                self.stage_from,
                self.stage_to,
                self.stage_command,
                self.lifetime,
                self.day,
                self.today,
                self.last_transfer_s,
                self.inrushes,
            ) = struct.unpack_from(self._FMT, raw, 0)
            while n + _ENTRY_LEN <= len(raw):
                self.results.append(Result(*struct.unpack_from(RESULT_FMT, raw, n)))
                n += _ENTRY_LEN

    def save(self, asked: bool = False) -> bool:
        raw = struct.pack(
            self._FMT,
            self.proven,
            self.lockout,
            self.stage,
            self.stage_from,
            self.stage_to,
            self.stage_command,
            self.lifetime,
            self.day,
            min(self.today, 255),
            self.last_transfer_s,
            min(self.inrushes, 65535),
        )
        for r in self.results:
            raw += r.pack()
        return self._slot.save(raw, asked)

    def find(self, command_id: int):
        """The stored result of a command, or None."""
        for r in self.results:
            if r.command_id == command_id:
                return r
        return None

    def remember(self, result: Result) -> None:
        """Keep a result for repeats (in memory until `save`)."""
        old = self.find(result.command_id)
        if old is not None:
            self.results.remove(old)
        self.results.append(result)
        if len(self.results) > RESULTS_KEPT:
            self.results.pop(0)
