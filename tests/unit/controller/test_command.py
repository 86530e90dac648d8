"""The life of one command, driven by hand and by hypothesis."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pbal_controller.journal import CommandRow
from pbal_controller.moves.command import Command, State, Verdict, judge
from pbal_protocol import records as r

T0 = 1_800_000_000


def row(state: str = "journaled") -> CommandRow:
    return CommandRow(9, 5, 1, 2, T0, T0 + 60, "why", 1.0, state)


def command(state: str = "journaled") -> Command:
    return Command(row(state), resend_s=1.0, confirm_s=15.0)


def reading(phase: int, vout: float | None = None, state: int = r.STATE_CLOSED, flags: int = 0):
    v = (240.0, 230.0, 220.0)
    out = v[phase - 1] if vout is None and phase else vout or 0.0
    return r.Telemetry(
        va_v=v[0], vb_v=v[1], vc_v=v[2], vout_v=out, phase=phase, state=state, flags=flags
    )


def result(outcome: int, reason: int = 0, phase: int = 2) -> r.SwitchResult:
    return r.SwitchResult(command_id=9, outcome=outcome, reason=reason, phase=phase, transfer_ms=80)


def test_the_usual_road() -> None:
    c = command()
    assert c.tick(0.0, T0).send
    assert not c.tick(0.5, T0).send, "resends keep their distance"
    assert c.sent().changed
    assert c.state is State.SENT
    assert c.result(result(r.ACCEPTED), 0.1).changed
    assert not c.tick(5.0, T0 + 5).send, "accepted is not sent again"
    done = c.result(result(r.DONE), 6.0)
    assert done.ack
    assert done.changed
    assert c.reading(reading(2), 5.9, 6.1, T0 + 6).changed is False, "sampled before it was done"
    assert c.reading(reading(2), 6.2, 6.3, T0 + 6).changed
    assert c.state is State.CONFIRMED


def test_the_id_is_sent_again_until_it_expires() -> None:
    c = command()
    sends = sum(c.tick(t, T0 + t).send for t in range(100))
    assert sends == 60
    assert c.switch() == c.switch()
    assert c.switch().command_id == 9


def test_a_liar_is_quarantined() -> None:
    c = command()
    c.sent()
    c.result(result(r.DONE), 1.0)
    for k in range(20):
        lies = c.reading(reading(2, vout=240.0), 2.0 + k, 2.0 + k, T0 + 2 + k)
        if c.state.final:
            break
    assert c.state is State.DISAGREED
    assert "240.0" in lies.quarantine


def test_silence_after_done_is_no_disagreement() -> None:
    c = command()
    c.sent()
    c.result(result(r.DONE), 1.0)
    for k in range(200):
        c.tick(1.0 + k, T0 + k)
    assert c.state is State.DONE
    assert c.reading(reading(2), 300.0, 300.0, T0 + 300).changed
    assert c.state is State.CONFIRMED


def test_one_odd_reading_after_a_silence_is_no_verdict() -> None:
    c = command()
    c.sent()
    c.result(result(r.DONE), 1.0)
    c.reading(reading(2, vout=150.0), 100.0, 100.0, T0 + 100)
    assert c.state is State.DONE
    c.reading(reading(2), 101.0, 101.0, T0 + 101)
    assert c.state is State.CONFIRMED


def test_refusals_carry_their_reason() -> None:
    c = command()
    c.sent()
    done = c.result(result(r.REFUSED, r.REASON_DWELL, 1), 1.0)
    assert (c.state, done.ack, done.quarantine) == (State.REFUSED, True, "")
    assert "dwell" in c.detail


def test_a_welded_contact_is_quarantined() -> None:
    c = command()
    c.sent()
    assert c.result(result(r.FAILED, r.REASON_NOT_DEAD, 1), 1.0).quarantine
    assert c.state is State.FAILED


def test_lost_answer_measured_on_the_new_phase() -> None:
    c = command()
    c.sent()
    assert not c.reading(reading(2), 69.0, 69.0, T0 + 69).changed, "an answer may still come"
    assert c.tick(70.0, T0 + 70).ask_result
    assert c.reading(reading(2), 71.0, 71.0, T0 + 71).changed
    assert c.state is State.CONFIRMED
    assert "lost" in c.detail


def test_lost_command_measured_on_the_old_phase() -> None:
    c = command()
    c.sent()
    c.reading(reading(1), 71.0, 71.0, T0 + 71)
    assert c.state is State.EXPIRED


def late_readings(**told) -> Command:
    """A command that nobody answered, then readings on a third phase."""
    c = command("sent")
    for k in range(5):
        if c.state.final:
            break
        c.reading(reading(3, **told), 80.0 + k, 80.0 + k, T0 + 80 + k)
    return c


def test_a_home_that_left_a_sick_phase_meanwhile_is_no_liar() -> None:
    """The command was never sent: its controller was down, and the node moved on by itself."""
    c = late_readings(flags=r.FLAG_AUTONOMOUS)
    assert c.state is State.EXPIRED
    assert "by itself" in c.detail
    # Only where it says so, and is where it says.
    assert late_readings().state is State.DISAGREED
    assert late_readings(flags=r.FLAG_AUTONOMOUS, vout=240.0).state is State.DISAGREED


def test_a_reading_from_before_the_end_decides_nothing() -> None:
    c = command()
    c.sent()
    c.reading(reading(1), 60.0, 75.0, T0 + 75)
    assert c.state is State.SENT


def test_a_result_after_the_end_is_acknowledged_only() -> None:
    c = command()
    c.sent()
    c.reading(reading(1), 71.0, 71.0, T0 + 71)
    late = c.result(result(r.EXPIRED, r.REASON_EXPIRED, 1), 80.0)
    assert late.ack
    assert not late.changed


def test_recovered_done_waits_for_the_measurement() -> None:
    c = command("done")
    assert not c.tick(0.0, T0 + 500).send
    c.reading(reading(2), 1.0, 1.0, T0 + 501)
    assert c.state is State.CONFIRMED


def test_autonomy_after_done_is_no_lie() -> None:
    c = command()
    c.sent()
    c.result(result(r.DONE), 1.0)
    c.reading(reading(3, flags=r.FLAG_AUTONOMOUS), 2.0, 2.0, T0 + 2)
    assert c.state is State.CONFIRMED


def test_judge() -> None:
    assert judge(reading(2), 2, 0.03) is Verdict.AGREES
    assert judge(reading(2), 1, 0.03) is Verdict.DISAGREES
    assert judge(reading(2, vout=221.0), 2, 0.03) is Verdict.DISAGREES
    assert judge(reading(0, vout=0.0, state=r.STATE_DEAD_TIME), 2, 0.03) is Verdict.MOVING
    # Phases with equal voltages: the node's own word decides.
    same = r.Telemetry(
        va_v=230.0, vb_v=230.0, vc_v=230.0, vout_v=230.0, phase=1, state=r.STATE_CLOSED
    )
    assert judge(same, 2, 0.03) is Verdict.DISAGREES


class CommandMachine(RuleBasedStateMachine):
    """A node, a lossy line and a controller that may restart, in any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.command = command()
        self.node_phase = 1
        self.node_executions = 0
        self.node_result: r.SwitchResult | None = None
        self.wants_send = False
        self.acked = False
        self.ended: State | None = None

    @property
    def wall(self) -> float:
        return T0 + self.now

    def note(self, actions) -> None:
        self.wants_send |= actions.send
        self.acked |= actions.ack

    @rule(dt=st.floats(0.05, 20.0))
    def time_passes(self, dt: float) -> None:
        self.now += dt
        self.note(self.command.tick(self.now, self.wall))

    @precondition(lambda self: self.wants_send)
    @rule(lost=st.booleans(), refuse=st.booleans())
    def frame_leaves(self, lost: bool, refuse: bool) -> None:
        """The Switch leaves; when it arrives, the node acts by its contract: once per id."""
        self.wants_send = False
        switch = self.command.switch()
        self.command.sent()
        if lost or self.node_result is not None:
            return
        if self.wall >= switch.expires_s:
            self.node_result = result(r.EXPIRED, r.REASON_EXPIRED, self.node_phase)
        elif refuse:
            self.node_result = result(r.REFUSED, r.REASON_OVER_CURRENT, self.node_phase)
        else:
            self.node_executions += 1
            self.node_phase = switch.to_phase
            self.node_result = result(r.DONE)

    @precondition(lambda self: self.node_result is not None)
    @rule()
    def answer_arrives(self) -> None:
        self.note(self.command.result(self.node_result, self.now))

    @rule(age=st.floats(0.0, 30.0))
    def reading_arrives(self, age: float) -> None:
        # The node measured `age` ago; what it measured then is what it says unless it moved
        # since, so only fresh readings are made when it may have.
        sampled = self.now if self.node_executions else self.now - age
        self.note(self.command.reading(reading(self.node_phase), sampled, self.now, self.wall))

    @rule()
    def controller_restarts(self) -> None:
        """All that survives is the journal's row."""
        if not self.command.state.final:
            self.command = command(self.command.state.value)
            self.wants_send = False

    @invariant()
    def never_twice(self) -> None:
        assert self.node_executions <= 1

    @invariant()
    def the_end_is_true(self) -> None:
        state = self.command.state
        if state is State.CONFIRMED:
            assert self.node_phase == 2
        if state in (State.REFUSED, State.EXPIRED):
            assert self.node_phase == 1
        assert state is not State.DISAGREED, "this node never lies"

    @invariant()
    def an_end_is_an_end(self) -> None:
        if self.ended is not None:
            assert self.command.state is self.ended
        if self.command.state.final:
            self.ended = self.command.state


CommandMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCommandMachine = CommandMachine.TestCase
