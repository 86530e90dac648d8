"""Every state and every event has its words in one table, and nobody keeps another one."""

import ast
from collections.abc import Iterator

import pytest
from rigs.needs import ROOT

from pbal_protocol import events, names, states
from pbal_uplink.names import NODE_EVENTS, SEVERITIES

STATES = {name: value for name, value in vars(names).items() if name.startswith("STATE_")}
EVENTS = {name: value for name, value in vars(names).items() if name.startswith("EVENT_")}
ROOMS = ("pi_controller", "tools", "sim")


def test_every_state_is_in_the_table_once() -> None:
    assert sorted(state.number for state in states.STATES) == sorted(STATES.values()), (
        "a state of names.py has no row in protocol/pbal_protocol/states.py"
    )


def test_every_event_is_in_the_table_once() -> None:
    assert sorted(kind.code for kind in events.KINDS) == sorted(EVENTS.values()), (
        "an event of names.py has no row in protocol/pbal_protocol/events.py"
    )


@pytest.mark.parametrize("state", states.STATES, ids=lambda state: state.word)
def test_a_state_says_what_it_must(state: states.State) -> None:
    assert STATES["STATE_" + state.word.upper().replace("-", "_")] == state.number
    assert state.says
    assert states.word(state.number) == state.word


@pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.word)
def test_an_event_says_what_it_must(kind: events.Kind) -> None:
    assert EVENTS["EVENT_" + kind.word.upper().replace("-", "_")] == kind.code
    assert kind.says
    assert events.word(kind.code) == kind.word


def test_hq_has_the_same_words_for_them() -> None:
    """HQ knows of the wire only what the words to it say."""
    assert {kind.code: kind.word.replace("-", " ") for kind in events.KINDS} == NODE_EVENTS
    assert {number: events.severity(number) for number in SEVERITIES} == SEVERITIES


def test_what_a_later_version_may_send() -> None:
    assert events.says(names.EVENT_METER_FAULT) == "the meter gives no reading"
    assert events.says(200) == ""
    assert states.word(200) == "200"
    assert events.word(200) == "200"
    assert events.severity(names.ALARM) == "alarm"
    assert events.severity(7) == "7"


def collections() -> Iterator[tuple[str, set[str]]]:
    """Where a few words stand together, and which."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Tuple | ast.List | ast.Set):
                    parts: list[ast.expr] = node.elts
                elif isinstance(node, ast.Dict):
                    parts = [part for part in (*node.keys, *node.values) if part is not None]
                else:
                    continue
                found = {
                    part.value
                    for part in parts
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
                yield f"{path.relative_to(ROOT)}:{node.lineno}", found


def test_there_is_no_other_table() -> None:
    """Three words of a table together are another one."""
    tables = (
        ({state.word for state in states.STATES}, "states"),
        ({kind.word for kind in events.KINDS}, "events"),
    )
    for where, found in collections():
        for words, module in tables:
            assert len(found & words) < 3, f"{where}: use pbal_protocol.{module}"
