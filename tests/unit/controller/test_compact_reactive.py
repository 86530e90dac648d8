"""Compact readings of a load that changes between two whole ones."""

from pbal_controller.plausibility.reading import contradiction
from pbal_protocol import records as r
from pbal_protocol.radio.compact import compact
from pbal_protocol.radio.readings import whole


def reading(amps: float, watts: float, var: float) -> r.Telemetry:
    return r.Telemetry(
        time_s=1_800_000_000, va_v=230, vb_v=230, vc_v=230, vout_v=230, current_a=amps, p_w=watts,
        q_var=var, freq_hz=50, phase=1, state=r.STATE_CLOSED,
    )  # fmt: skip


def test_a_load_that_goes_off_is_no_contradiction() -> None:
    """The reactive power is that of the last whole reading, which had another load."""
    before = reading(35.0, 7800.0, 1924.0)
    assert contradiction(before) == ""
    short = compact(reading(2.1, 470.0, 110.0), 0.0, 0)
    after = whole(short, 1_800_000_000, before)
    assert contradiction(after) == ""
    assert 0 <= after.q_var <= 2.1 * 230
    # The sign stays, and a load that is as before keeps what it had.
    other = whole(short, 1_800_000_000, reading(35.0, 7800.0, -1924.0))
    assert other.q_var == -after.q_var
    same = whole(compact(before, 0.0, 0), 1_800_000_000, before)
    assert abs(same.q_var - 1924) <= 1
