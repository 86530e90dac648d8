"""Small streets with quick nodes for the fault tests."""

import numpy as np

from bench.site import Site
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig
from rigs.twin import FAST


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
        moves = [t for t in street.witness.transfers if t.home == home.index]
        at = 0
        for command, to_phase, state in orders:
            there = at < len(moves) and moves[at].to_phase == to_phase - 1
            if state == "confirmed":
                assert there, (address, orders, moves)
                at += 1
                done = site.query(
                    "SELECT outcome FROM results WHERE command_id = ? AND outcome = 2", command
                )
                assert len(done) == 1, (command, state)
            elif there and at + 1 < len(moves):
                # It closed, was not proven in time, and went back: both halves or none.
                assert moves[at + 1].to_phase == moves[at].from_phase, (address, orders, moves)
                at += 2
        assert at == len(moves), (address, orders, moves)
    assert street.witness.report()["incidents"] == {}
