"""The end of a node's up counters on LoRa: the last act of wireless_app.py, which has `hub`.

Of each of the last counters one frame is sent at most (`opener` takes none twice), and then nothing
at all: neither in the slot, nor in the window for urgent frames, though there is an alarm, nor as
the answer to a frame for this node. Its home stays supplied.
"""

_LAST = 0xFFFFFFFF
_EPOCH_S = 1735689600  # counters follow site time from here on, ...
_PER_S = 6  # ... so many a second
_SPENT = 23  # the event COUNTERS_SPENT


async def played(app, hub, opener):
    """As where whoever has its keys proves it a time in 2047."""
    counters = app.counters
    counters.up_ceiling = _LAST - 4
    counters.follow(_EPOCH_S + (_LAST - 12) // _PER_S)
    answers = []
    for _ in range(24):
        answers.append(await hub.ask())  # noqa: PERF401
    assert answers[0] and not any(answers[-12:]), answers
    assert _LAST - 8 < opener.floor, _LAST - opener.floor
    assert counters.spent == 1 and app.link.urgent()
    assert [entry for entry in app.log.pending if entry[1] == _SPENT], app.log.pending
    assert app.report.phase() == 1
