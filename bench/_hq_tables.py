"""The tables of docs/scale.md, as the large profile of `bench.hq` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.portal import REPORT
from pbal_hq.cli.size import table as size_table
from pbal_hq.sizing import Assumed, Costs, size

_PARTS = {
    "bridge": "bridge (MQTT with TLS to Kafka)", "decode": "decode",
    "store": "store (to the committed row, and how its transformer is now)",
    "sums": "sums (hours and days)", "detect": "detect (the work of Storm's bolts)",
    "lake": "lake (to Parquet)",
}  # fmt: skip
_PAGES = {
    "/": "overview", "/transformers?sort=neutral": "ranking by neutral",
    "/transformers?sort=load&offset=5000": "ranking by load, from the 5000th",
    "/transformers?find=Street+77&area_id=3": "search in the list", "/map": "map",
    "/transformers/1": "a transformer", "/transformers/1?days=7": "a transformer, a week",
    "/fleet": "fleet", "/where-next": "where next", "/alarms": "alarms", "/alarms/1": "an alarm",
    "/commands": "orders", "/trends": "trends, the week by district", "/reports": "reports",
    REPORT: "a division's report, CSV", "/account": "account",
}  # fmt: skip
_READERS = {"whole tree": "whole tree", "one division": "one division of ten"}
_FLEETS = ((1_500, 100_000, 10_000_000), (10_000, 100_000, 1_000_000))


def printed(figures: dict[str, Any]) -> None:
    """All tables of which the figures are there."""
    if "roles" in figures:
        _said(f"{figures['backlog_sites']} sites drained, {figures['sites']} sent", figures)
        _costs(figures["roles"])
        _growth(figures["roles"], figures["processors"])
        _kept(figures)
    if fleets := figures.get("fleets"):
        for fleet in fleets:
            _said(f"{fleet['transformers']:,} transformers, pages asked for {fleet['times']} times",
                  fleet)  # fmt: skip
        _pages(fleets)
        _fleets(fleets)
    if "roles" in figures and fleets:
        costs = Costs.of(figures)
        for sizes in _FLEETS:
            size_table([size(n, costs=costs) for n in sizes], Assumed())
            print()


def _said(what: str, part: dict[str, Any]) -> None:
    print(f"{part['at']}: {what}; {part['took_s']} s, load {part['load_before']} to "
          f"{part['load_after']}, others took {part['others']} of {part['processors']} "
          "processors")  # fmt: skip


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print()
    for cells in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    print()


def _both(found: dict[str, Any], name: str) -> str:
    return ", ".join(f"{found[way][name]:.0f}" for way in ("one", "two") if way in found)


def _costs(roles: dict[str, Any]) -> None:
    rows = []
    for name, words in _PARTS.items():
        found = roles[name]
        one, two = found["one"], found.get("two")
        rows.append([
            words, f"{one['us']:.0f}", f"{one['per_core_s']:,.0f}",
            f"{two['us']:.0f}" if two else "", _both(found, "kafka_us"),
            _both(found, "postgres_us"),
        ])  # fmt: skip
    us = roles["bridge"]["one"]["mosquitto_us"]
    rows.append(["Mosquitto", f"{us:.0f}", f"{1e6 / us:,.0f}", "", "", ""])
    _table(("part", "processor time for a summary, us", "one core carries, a second",
            "with two processes, us", "Kafka beside it, us", "PostgreSQL, us"), rows)  # fmt: skip


def _growth(roles: dict[str, Any], processors: int) -> None:
    rows = []
    for name, found in roles.items():
        if "growth" not in found:
            continue
        one, two = found["one"], found["two"]
        rows.append([
            name, f"{one['per_s']:,.0f}", f"{two['per_s']:,.0f}", f"{found['growth']:.2f}",
            f"{found['most_growth']:.2f}", f"{one['us']:.0f}, {two['us']:.0f}",
            f"{found['own_cost']:.2f}", f"{found['whole_cost']:.2f}",
            f"{100 * two['share']:.0f} %", f"{found['free_growth']:.2f}",
            f"{one['busy']:.2f}, {two['busy']:.2f}", f"{one['others']:.2f}, {two['others']:.2f}",
        ])  # fmt: skip
    print(f"A backlog drained by one process and by two, on {processors} processors:")
    _table(("role", "one, a second", "two, a second", "times", "most that can be seen",
            "a summary's own cost, us", "times", "with engines, times", "the busier did",
            "on free processors, times (reckoned)", "processors busy", "taken by others"),
           rows)  # fmt: skip


def _kept(figures: dict[str, Any]) -> None:
    _table(("kept", "bytes"), (
        ("a summary in Kafka: raw, decoded (lz4)",
         f"{figures['raw_bytes']:.0f}, {figures['summary_bytes']:.0f}"),
        ("a row in PostgreSQL with its index; an hour",
         f"{figures['row_bytes']:.0f}, {figures['row_hourly_bytes']:.0f}"),
        ("a row in the lake", f"{figures['lake_bytes']:.0f}"),
    ))  # fmt: skip


def _pages(fleets: Sequence[dict[str, Any]]) -> None:
    """Processor time of a page, in brackets 95 of 100 by the clock, ms."""
    pages = {path: None for fleet in fleets for path in fleet["pages"]["whole tree"]}
    names = {path: _PAGES.get(path.split("&period=")[0], path) for path in pages}
    names |= {path: "a division's report, CSV" for path in pages if path.startswith("/reports/")}
    heads = ["page"] + [f"{words}: {fleet['transformers']:,}" for words in _READERS.values()
                        for fleet in fleets]  # fmt: skip

    def cell(took: dict[str, float]) -> str:
        return f"{took['cpu_ms']:,.0f} ({took['p95_ms']:,.0f})"

    rows = [
        [names[path], *(cell(fleet["pages"][reader][path]) for reader in _READERS
                        for fleet in fleets)]
        for path in pages
    ]  # fmt: skip
    mean = ["mean of all pages and readers", *(f"{fleet['page_ms']:.0f}" for fleet in fleets)]
    _table(heads, [*rows, mean + [""] * len(fleets)])


def _fleets(fleets: Sequence[dict[str, Any]]) -> None:
    def row(words: str, name: str, form: str = ",.0f") -> list[str]:
        return [words, *(format(fleet[name], form) for fleet in fleets)]

    _table(["beside so many transformers", *(f"{fleet['transformers']:,}" for fleet in fleets)], (
        row("feeders", "feeders"),
        row("days of all of them; hours of most", "days"),
        row("a row stored, us: store and PostgreSQL", "store_us"),
        row("of that PostgreSQL, us", "store_postgres_us"),
        row("its hour and day, us", "sums_us"),
        row("how feeders are now, all of them anew, ms of a processor", "present_ms"),
        row("days of feeders anew, us for a day of a transformer", "feeders_us", ".1f"),
        row("the database, GB", "gb", ".2f"),
        row("seconds to fill it", "filled_s"),
    ))  # fmt: skip
