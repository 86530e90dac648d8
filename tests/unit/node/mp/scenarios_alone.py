"""S8 to S12 and safe mode: what a home does by itself, in an outage and after a reset.

Run by mp_rules.py.
"""

from world import PowerCut, World

from pbal_node import watchdog
from pbal_protocol import names
from pbal_protocol.names import FAILED
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_OPEN as OPEN
from pbal_protocol.names import STATE_SAFE as SAFE


def s8_leaves_a_sick_phase():
    w = World()
    w.settle()
    w.random = 0.5
    w.volts[1] = 190.0
    w.run(2000)  # a dip shorter than the confirmation
    w.volts[1] = 230.0
    w.run(30000)
    assert w.sel.phase == 1, "a short dip moved the home"
    w.volts = [0.0, 190.0, 212.0, 235.0]
    at = w.now
    w.until(lambda: w.sel.phase == 3, 60000)
    assert w.now - at >= 3000 + 10000, "no random delay"
    assert w.happened(names.EVENT_AUTONOMOUS_TRANSFER) == [(names.EVENT_AUTONOMOUS_TRANSFER, 1, 3)]
    w.volts[1] = 230.0
    w.run(60000)
    assert w.sel.phase == 3, "the return is the controller's business"
    w.safe()


def s9_comes_back_staggered():
    w = World(dwell_ms=0)
    w.settle()
    w.order(1, 2)
    w.finish(1)
    w.random = 0.9
    w.settings.return_spread_ms = 20000
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.sel.state == OPEN and sum(w.contact) == 0
    w.volts = [0.0, 230.0, 230.0, 230.0]
    at = w.now
    w.until(lambda: sum(w.contact) == 1, 60000)
    assert 5000 + 18000 <= w.now - at < 5000 + 18000 + 1000, w.now - at
    w.settle()
    assert w.sel.phase == 2, "not the last proven phase"
    w.safe()


def s9_takes_a_healthy_phase_when_its_own_stays_dead():
    w = World()
    w.settle()
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    w.volts = [0.0, 0.0, 0.0, 231.0]
    w.until(lambda: w.sel.state == CLOSED, 60000)
    assert w.sel.phase == 3
    w.volts = [0.0, 230.0, 230.0, 230.0]
    w.run(30000)
    assert w.order(1, 1).reason == names.REASON_DWELL, "it went elsewhere: it stays there (S5)"
    w.boot()
    w.settle()
    assert w.order(2, 1).reason == names.REASON_DWELL, "a reset must not shorten the dwell"
    w.skip(1800000)
    assert w.order(3, 1).reason == 0


def s10_fixed_homes_stay():
    for name in ("fixed", "opted_out"):
        w = World(**{name: 1})
        w.settle()
        assert w.order(1, 2).reason == names.REASON_FIXED
        w.volts[1] = 190.0
        w.run(120000)
        assert w.sel.phase == 1 and w.contact[1]
        w.volts = [0.0, 0.0, 0.0, 0.0]
        w.run(60000)
        w.volts = [0.0, 0.0, 230.0, 230.0]  # its own phase stays dead: so does the home
        w.run(60000)
        assert w.sel.state == OPEN and sum(w.contact) == 0
        w.volts[1] = 230.0
        w.settle()
        assert w.sel.phase == 1


def s11_watchdog():
    fed = []
    w = watchdog.Watchdog(lambda: fed.append(1), {"a": 100, "b": 100, "c": 100}, 0)
    for stuck in ("a", "b", "c"):
        for n in ("a", "b", "c"):
            w.beat(n, 1000)
        assert w.poll(1050)
        for n in ("a", "b", "c"):
            if n != stuck:
                w.beat(n, 1150)
        count = len(fed)
        assert not w.poll(1150) and len(fed) == count, stuck


def s12_reset_at_any_instant_of_a_transfer():
    for cut in range(0, 330, 15):
        w = World()
        w.settle()
        w.order(1, 2)
        w.cut_at = w.now + cut + 5
        try:
            w.finish(1)
            done = True
        except PowerCut:
            done = w.sel.phase == 2
        w.cut_at = -1
        began = w.state.stage
        w.boot(cold=False)
        w.settle()
        w.safe()
        assert sum(w.contact) == 1
        if began:
            code = names.EVENT_TRANSFER_INTERRUPTED
            assert w.happened(code) == [(code, 1, 2)], cut
            r = [r for r in w.sel.outbox if r.command_id == 1][-1]
            assert r.outcome == FAILED and r.reason == names.REASON_INTERRUPTED
            assert w.sel.phase == 1
        else:
            assert w.sel.phase == (2 if done else 1)
        moves = w.moves
        w.order(1, 2)
        w.run(2000)
        assert w.moves == moves or not (began or done), "the command was executed twice"


def s12_journal_comes_first():
    w = World()
    w.settle()
    moves = w.moves
    save = w.state.save
    w.state.save = lambda asked=False: False  # flash refuses
    w.order(1, 2)
    w.run(3000)
    assert w.moves == moves and w.contact[1], "moved without a journal"
    w.state.save = save


def safe_mode_never_switches():
    w = World(safe_mode=True)
    w.run(60000)
    assert w.moves == 0, "nothing was ever proven here"
    w = World()
    w.settle()
    w.limits.safe_mode = True
    assert w.order(1, 2).reason == names.REASON_SAFE_MODE
    moves = w.moves
    w.volts[1] = 190.0
    w.run(60000)
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.moves == moves and w.contact[1], "only S12 acts in safe mode"


def safe_mode_keeps_the_proven_phase():
    w = World()
    w.settle()
    w.order(1, 2)
    w.finish(1)
    w.limit_changes = {"safe_mode": True}
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(3000)
    assert w.sel.state == CLOSED and w.sel.phase == 2 and w.contact[2]
    assert len(w.drives) - drives <= 1
    w.safe()
    drives = len(w.drives)
    w.boot()  # after an outage: by the rules of a return
    w.volts[2] = 0.0
    w.run(60000)
    if w.kind != "latching":  # whose contact stays, so power comes back by itself
        assert len(w.drives) == drives and w.sel.state == OPEN, "another phase than the proven one"
        w.volts[2] = 230.0
        w.run(4000)
        assert not w.contact[2]
    w.volts[2] = 230.0
    w.run(10000)
    assert w.sel.state == CLOSED and w.sel.phase == 2 and w.contact[2]
    w.safe()


def safe_mode_closes_nothing_in_doubt():
    """The node died while a contact was moving, or the contact does not do as it is told."""
    w = World()
    w.settle()
    w.order(1, 2)
    w.until(lambda: w.sel.state == 6)  # CLOSING
    w.limit_changes = {"safe_mode": True}
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(600000)
    assert w.sel.state == SAFE and len(w.drives) == drives and sum(w.contact) == 0
    assert w.happened(names.EVENT_TRANSFER_INTERRUPTED)
    w.safe()
    w.limit_changes = {}
    w.boot()  # out of safe mode
    w.settle()
    w.limit_changes = {"safe_mode": True}
    w.latch = [0, 0, 0, 0]  # a latching one was shaken open
    w.stuck_open = 1
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(600000)
    assert w.sel.state == SAFE and len(w.drives) == drives + 1, len(w.drives) - drives
    w.safe()


def safe_mode_lets_a_failed_loop_begin_again():
    w = World()
    w.settle()
    w.limits.safe_mode = True
    moves = w.moves
    w.sel.recover(w.now)
    w.run(1000)
    assert w.moves == moves and w.contact[1], "a contact at rest was moved"
    w.limits.safe_mode = False
    w.order(1, 2)
    w.until(lambda: w.sel.state == 6)  # CLOSING
    w.limits.safe_mode = True
    w.sel.recover(w.now)
    w.run(60000)
    assert w.sel.state == SAFE and sum(w.contact) == 0
    w.safe()


def s9_a_reset_of_the_processor_is_a_short_dark():
    """No outage: neither 5 s nor a random delay, whatever they are set to."""
    w = World()
    w.settle()
    w.random = 0.9
    w.order(1, 2)
    w.finish(1)
    w.limit_changes = {"good_time_ms": 9000}
    at = w.now
    w.boot(cold=False)
    w.settle()
    assert w.sel.phase == 2 and w.now - at < 2000, w.now - at
    print("  closed and proven %d ms after boot" % (w.now - at))
    w.safe()
    w.limit_changes = {}
    w.boot(cold=True)
    at = w.now
    w.settle()
    assert w.now - at > 5900
    print("  after a power-on: %d ms, 900 of them the random delay" % (w.now - at))


def s9_an_outage_stays_an_outage_across_a_reset():
    w = World()
    w.settle()
    w.random = 0.9
    # Opened for want of a supply, then reset, before it returns or after; or reset, and the supply
    # is away then.
    for opened, back in ((True, False), (True, True), (False, False)):
        w.volts = [0.0, 0.0, 0.0, 0.0]
        if opened:
            w.until(lambda: w.sel.state == OPEN, 60000)
        if back:
            w.volts = [0.0, 230.0, 230.0, 230.0]
            w.run(2000)
        w.boot(cold=False)
        w.run(0 if back else 5000)
        w.volts = [0.0, 230.0, 230.0, 230.0]
        at = w.now
        w.until(lambda: sum(w.contact), 60000)
        assert w.now - at >= 5000 + 900, w.now - at
        w.settle()
        w.safe()
    w.volts = [0.0, 190.0, 230.0, 230.0]  # a sick phase is no outage, and not closed onto
    w.boot(cold=False)
    if w.kind != "latching":
        w.run(4000)
        assert not w.contact[1]


def a_contact_that_does_not_close_is_tried_seldom():
    """Where there is no other healthy phase: mp_contacts.py has the rest."""
    w = World()
    w.settle()
    w.volts = [0.0, 230.0, 0.0, 0.0]
    w.stuck_open = 1
    w.latch = [0, 0, 0, 0]
    w.boot()
    drives = len(w.drives)
    w.skip(3600000)
    assert 5 <= len(w.drives) - drives <= 12, len(w.drives) - drives
    w.safe()


def a_return_refused_for_a_passing_reason_is_soon_tried_again():
    """What kept the home dark is over: no rest that was meant for a bad contact follows."""
    # A sensor of the output that proves nothing while the first return is tried, ...
    for fault in ("blind", "broken"):
        w = World()
        w.settle()
        setattr(w, fault, True)
        w.latch = [0, 0, 0, 0]
        w.boot(cold=False)
        w.run(20000)
        assert w.sel.state == OPEN and not sum(w.contact)
        writes = w.stats.writes
        w.run(60000)
        assert w.stats.writes == writes, "flash is worn by trying"
        setattr(w, fault, False)
        w.sel.sense_fault = False  # as the application says, a reading later
        at = w.now
        w.until(lambda w=w: w.sel.state == CLOSED)
        assert w.now - at < 3000, w.now - at
        w.safe()
    # ... a flash that refuses the journal, ...
    w = World()
    w.settle()
    w.latch = [0, 0, 0, 0]
    w.boot(cold=False)
    save = w.state.save
    w.state.save = lambda asked=False: False
    w.run(10000)
    assert not sum(w.contact)
    w.state.save = save
    at = w.now
    w.until(lambda: w.sel.state == CLOSED)
    assert w.now - at < 3000, w.now - at
    # ... and an output that is not proven dead in time: nothing was driven, so nothing is worn.
    w = World()
    w.settle()
    w.latch = [0, 0, 0, 0]
    w.boot(cold=True)
    w.until(lambda: w.sel.state == 4 and w.sel._goal)
    w.blind = True
    w.run(6000)
    assert w.sel.state == OPEN and w.sel.sense_fault
    w.blind = False
    w.sel.sense_fault = False
    at = w.now
    w.until(lambda: w.sel.state == CLOSED)
    assert w.now - at < 3000, w.now - at
    w.safe()


def a_contact_on_another_phase_is_not_believed():
    """Coils or sensors connected crosswise: the output follows, but not the phase meant."""
    w = World()
    w.settle()
    w.angle = [0, 0, 120, -120]  # as all the time: nobody cares which is which
    w.real_alike = lambda: [0.0, -0.5, -0.5, 1.0] if w.contact[2] else [0.0, 1.0, -0.5, -0.5]
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_LIVE and w.sel.phase == 1
    w.safe()


def a_contact_that_does_not_close_falls_back():
    w = World()
    w.settle()
    w.stuck_open = 2
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_LIVE and r.phase == 1
    w.safe()


SCENARIOS = (
    s8_leaves_a_sick_phase,
    s9_comes_back_staggered,
    s9_takes_a_healthy_phase_when_its_own_stays_dead,
    s10_fixed_homes_stay,
    s11_watchdog,
    s12_reset_at_any_instant_of_a_transfer,
    s12_journal_comes_first,
    safe_mode_never_switches,
    safe_mode_keeps_the_proven_phase,
    safe_mode_closes_nothing_in_doubt,
    safe_mode_lets_a_failed_loop_begin_again,
    s9_a_reset_of_the_processor_is_a_short_dark,
    s9_an_outage_stays_an_outage_across_a_reset,
    a_contact_that_does_not_close_falls_back,
    a_contact_that_does_not_close_is_tried_seldom,
    a_return_refused_for_a_passing_reason_is_soon_tried_again,
    a_contact_on_another_phase_is_not_believed,
)
