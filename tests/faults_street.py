"""Small streets with quick nodes for the fault tests."""

import numpy as np
from twin_rig import FAST

from bench.site import Site
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig


def small_street(homes: int, **change: object) -> Street:
    """Homes of about 2 kW, all on phase A; no two alike, so that a planner's choice is unique."""
    table = 2000.0 + 60.0 * np.arange(homes)[None, :]
    config = StreetConfig(
        homes=homes,
        loads=TableLoads(table, 60.0, [f"home_{i}" for i in range(homes)]),
        node_settings=dict(FAST),
        start_phases=[0] * homes,
    )
    for name, value in change.items():
        setattr(config, name, value)
    return Street(config)


def settled(site: Site) -> bool:
    """No command is under way any more."""
    under_way = "('journaled', 'sent', 'accepted', 'done')"
    return not site.query(f"SELECT id FROM commands WHERE state IN {under_way}")


def check_books(street: Street, site: Site, but: int = -1) -> None:
    """The journal against the contacts: every transfer ordered once, every end recorded.

    `but` is a home that is judged otherwise.
    """
    rows = site.query("SELECT id, address, to_phase, state FROM commands ORDER BY id")
    by_home: dict[int, list[tuple[int, int, str]]] = {}
    for command, address, to_phase, state in rows:
        by_home.setdefault(address, []).append((command, to_phase, state))
    for home in street.homes:
        if home.index == but:
            continue
        address = street.identities[home.index].address
        orders = by_home.get(address, [])
        confirmed = [o for o in orders if o[2] == "confirmed"]
        moves = [t for t in street.witness.transfers if t.home == home.index]
        assert len(moves) == len(confirmed), (address, orders, moves)
        for order, move in zip(confirmed, moves, strict=True):
            assert move.to_phase == order[1] - 1
            done = site.query(
                "SELECT outcome FROM results WHERE command_id = ? AND outcome = 2", order[0]
            )
            assert len(done) == 1, order
    assert street.witness.report()["incidents"] == {}
