"""Status and metrics read a `SiteView`: no controller is needed to show one."""

from __future__ import annotations

from types import SimpleNamespace as N
from typing import Any

from pbal_controller.config import HomeConfig, SiteConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.view import SiteView, summary_dict
from pbal_controller.view.metrics import render
from pbal_controller.view.status import status_dict


async def _no_events() -> list[dict[str, Any]]:
    return []


def view(**changes: Any) -> SiteView:
    """A site of two homes, one of them heard."""
    homes = [Home(HomeConfig(address=a, bus="street"), None, "no key") for a in (1, 2)]
    homes[0].alive = True
    said = N(as_dict=lambda: {"versions": {}, "differing": [], "lacking": {}})
    parts: dict[str, Any] = {
        "site": SiteConfig(id=7, name="Mill Lane"),
        "max_age_s": 10.0,
        "phase_limit_a": None,
        "started": 100.0,
        "now": lambda: 160.0,
        "wall": lambda: 1_800_000_000.0,
        "fleet": Fleet(homes),
        "moves": N(
            ordered_total=3, open_count=1, finished_total={"confirmed": 2}, events_total=4,
            put_off_total=0, recent=[{"id": n} for n in range(30)], why_not=lambda now: "",
        ),
        "planner": N(
            decisions_total=5, skipped_total=6, held_back_total=7, last_decide_s=0.25,
            as_dict=lambda: {"decisions": 5},
        ),
        "loops": N(
            loops={"bus": N(name="bus", limit_s=60.0, restarts=1, failing="",
                            age_s=lambda now: now - 150.0)},
            late=lambda now: [],
        ),
        "standing": N(why_not=lambda now: ""),
        "firmware": said,
        "group_keys": N(as_dict=lambda: {"number": 1, "homes_behind": [2], "alarm": [],
                                         "made_s": 0}),
        "doubts": N(history=list),
        "updates": N(bytes_total=900, steps=lambda: {"done": 1}, as_dict=dict),
        "updates_on": True,
        "bearers": {"street": N(up=True, reconnects=8, counts=lambda: {"answers": 9},
                                as_dict=lambda: {"name": "street"})},
        "rounds": {"street": N(last_cycle_s=0.5, group_frames=11)},
        "transformer": lambda: None,
        "residual": N(as_dict=lambda: {"residual_a": [None] * 3, "alarms": []}),
        "uplink": N(as_dict=lambda: {"configured": True, "online": True, "acknowledged": 4}),
        "neutral_history": [(1_800_000_000.0, 12.5)],
        "facts_dropped": lambda: 13,
        "node_events": _no_events,
    }  # fmt: skip
    return SiteView(**parts | changes)


def test_a_summary_of_what_is_there() -> None:
    summary = summary_dict(view())
    assert summary["site"] == {"id": 7, "name": "Mill Lane"}
    assert (summary["homes_configured"], summary["homes_alive"]) == (2, 1)
    assert summary["uptime_s"] == 60.0
    assert summary["healthy"] is True
    assert summary["switches"] == {"ordered": 3, "open": 1, "confirmed": 2}


def test_a_late_loop_and_a_reason_against_orders_are_told() -> None:
    late = N(loops={}, late=lambda now: ["bus street"])
    assert summary_dict(view(loops=late))["healthy"] is False
    moves = view().moves
    moves.why_not = lambda now: "the journal fails"  # type: ignore[method-assign]
    summary = summary_dict(view(moves=moves))
    assert summary["commands"] is False
    assert summary["why_no_commands"] == "the journal fails"


def test_a_status_names_bearers_rounds_and_the_latest_moves() -> None:
    status = status_dict(view())
    assert status["buses"] == [{"name": "street", "cycle_s": 0.5, "group_frames": 11}]
    assert [move["id"] for move in status["moves"]] == list(range(10, 30))
    assert status["loops"]["bus"]["age_s"] == 10.0
    assert status["transformer"] is None
    assert status["neutral_history"] == [[1_800_000_000.0, 12.5]]


def test_metrics_of_the_same() -> None:
    lines = render(view()).splitlines()
    for line in (
        'pbal_bus_up{bus="street"} 1',
        'pbal_bus_transactions_total{bus="street",kind="answers"} 9',
        'pbal_bus_cycle_seconds{bus="street"} 0.5',
        "pbal_moves_held_back_total 7",
        "pbal_inbox_dropped_total 13",
        "pbal_update_bytes_total 900",
        'pbal_update_homes{step="done"} 1',
        'pbal_loop_last_success_age_seconds{loop="bus"} 10.0',
    ):
        assert line in lines
    assert not [x for x in render(view(updates_on=False)).splitlines() if "pbal_update" in x]
