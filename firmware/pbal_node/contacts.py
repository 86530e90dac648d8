"""What is known of the three contacts: how long they take to open, which of them failed, whether
the closed one fell open.

A contact that fell open leaves the output dead while its phase is good. An output sensor with a
broken wire looks the same, and a home must not lose its power for a sensor: so a second source
must show that no current flows. Auxiliary contacts show it at once; a meter supplied from the
output by its silence; a current transformer by no current, longer than an idle home has none.
"""

from micropython import const

from pbal_node import rules

_NEW_MS = const(1000)  # dead for so long, in readings that follow each other
_GAP_MS = const(3000)  # readings further apart than this do not follow each other
_SILENT_MS = const(6000)  # a meter on the output says nothing for so long: it has no supply
_IDLE_MS = const(60000)  # a home may draw nothing; for so long seldom ...
_LOADED_MS = const(5000)  # ... and one that drew a load until then stops that suddenly
_NOTHING_A = const(0.3)
_LOAD_A = const(1.0)
_ONCE_MS = const(86400000)  # a contact that fell open is closed again once in this time


class Contacts:
    """`fails[phase]`: how often in a row the contact did not follow its command; a proven
    closing clears it. `release_ms`: what the board file says, then as measured on these contacts.
    """

    def __init__(self, release_ms: float) -> None:
        self.release_ms = release_ms
        self._release_most_ms = 2 * release_ms
        self.fails = [0, 0, 0, 0]
        self._fell_ms = [-_ONCE_MS] * 4
        self._seen_ms = -1
        self._dead_ms = -1  # since when the output is dead though its phase is good
        self._still_ms = -1  # since when no current contradicts that
        self._loaded = False  # the home drew a load when the output was last alive

    def keep_release(self, kept_ms: float) -> None:
        """The release time that was measured before a reset."""
        if 0 < kept_ms <= self._release_most_ms:
            self.release_ms = kept_ms

    def released(self, took_ms: int) -> None:
        """A contact opened after this time: S6 aims at a current zero by it."""
        if 0 < took_ms <= self._release_most_ms:
            self.release_ms += (took_ms - self.release_ms) / 4

    def failed(self, phase: int) -> bool:
        """It did not close. True while that is to be reported: a series may be long."""
        self.fails[phase] += 1
        return self.fails[phase] <= rules.FAILS_MOST

    def closed(self, phase: int) -> None:
        """It closed, and that is proven."""
        self.fails[phase] = 0
        self._dead_ms = -1

    def once_more(self, phase: int, now_ms: int) -> bool:
        """It fell open: True when it may be closed again, once a day."""
        again = now_ms - self._fell_ms[phase] >= _ONCE_MS
        self._fell_ms[phase] = now_ms
        self.fails[phase] += 1 if again else rules.FAILS_MOST
        return again

    def fell(self, sense, good_ms: int, nominal_v: float, aux: int, meter, now_ms: int) -> bool:
        """True when the closed contact is proven open. For each poll while one is closed.

        `good_ms`: for how long its phase is in the band; `aux`: what the auxiliary contacts say;
        `meter`: None where there is none.
        """
        at = sense.at_ms
        if at == self._seen_ms:
            return False
        apart = at - self._seen_ms
        self._seen_ms = at
        dead = rules.output_dead(sense.out_v, nominal_v) and rules.sensor_proves(sense.fault[0])
        if not dead or good_ms < _NEW_MS or apart > _GAP_MS:
            self._dead_ms = -1
            if meter is not None and not dead:
                self._loaded = meter.reading.ok and meter.reading.current_a >= _LOAD_A
            return False
        if self._dead_ms < 0:
            self._dead_ms = self._still_ms = at
            return False
        return at - self._dead_ms >= _NEW_MS and rules.fell_open(
            dead, aux, self._nothing_flows(meter, at)
        )

    def _nothing_flows(self, meter, at: int) -> bool:
        """Whether the meter shows no current, in readings taken after the output went dead."""
        if meter is None or meter.reading.at_ms < 0:
            return False
        r = meter.reading
        if meter.independent:
            # It is supplied from the output: any answer shows that there is a voltage.
            if r.ok and r.at_ms >= self._dead_ms:
                self._still_ms = at
            return at - self._still_ms >= _SILENT_MS
        if not r.ok or r.at_ms < self._dead_ms or r.current_a > _NOTHING_A:
            self._still_ms = at
        return at - self._still_ms >= (_LOADED_MS if self._loaded else _IDLE_MS)
