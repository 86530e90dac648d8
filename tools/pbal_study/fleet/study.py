"""A whole fleet: read, studied station by station, ranked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..input.profiles import read_profiles
from ..run import Options
from .cluster import on_cluster
from .drawing import Pool, read_classes
from .job import Row
from .processes import in_processes, processors
from .ranking import BY, Totals, chosen, ranked, totals
from .stations import Station, read_stations
from .store import Store, key_of

Progress = Callable[[int, int, str], None]
"""Rows that are there, stations in all, and the name of the newest."""


@dataclass(frozen=True)
class FleetOptions:
    """The options of a fleet study. `shared` is what each station is studied with; its `profiles`
    is the pool."""

    table: Path | None = None
    feeders: Path | None = None
    customers: Path | None = None
    classes: Path | None = None
    shared: Options = field(default_factory=Options)
    rank_by: str = ""
    """One of `BY`; empty: money where it is known, else capacity."""
    workers: int = 0
    """Processes; 0: one for each processor."""
    scheduler: str = ""
    """Address of a Dask scheduler, instead of processes here."""
    limit_s: float = 3600.0
    """The longest that one station may take, in processes."""
    retry_failed: bool = False
    """Study those anew that failed before."""


@dataclass(frozen=True)
class Fleet:
    """What came out. rows: ranked, best first, those that failed at the end."""

    options: FleetOptions
    rows: list[Row]
    rank_by: str
    all_of_them: Totals
    those_that_pay: Totals
    resumed: int
    """Rows that an earlier run had left."""
    notes: tuple[str, ...] = ()


def run_fleet(options: FleetOptions, folder: Path, progress: Progress) -> Fleet:
    """Studies every station that the folder has no row of yet.

    Raises InputError for what is wrong with a whole file, MissingError for what this computer or a
    worker lacks, ConnectionError where the scheduler cannot be reached. After any of them, and
    after a kill, the same call goes on where it was.
    """
    if options.rank_by and options.rank_by not in BY:
        raise InputError(f"Unknown rank {options.rank_by!r}.", f"Choose from: {', '.join(BY)}.")
    stations = read_stations(options.table, options.feeders, options.customers)
    pool = _pool(options)
    shared = [p for p in (options.shared.profiles, options.classes) if p is not None]
    with Store(folder) as store:
        keys = {s.name: key_of(options.shared, s, shared) for s in stations}
        before = {name for name, key in keys.items() if _there(store, key, options.retry_failed)}
        todo = [s for s in stations if s.name not in before]
        there = len(before)
        progress(there, len(stations), "")
        for station, row in _run(todo, options, pool, folder):
            store.add(keys[station.name], row)
            there += 1
            progress(there, len(stations), station.name)
        rows = [_placed(store.rows[keys[s.name]], s) for s in stations]
    by = options.rank_by or chosen(rows)
    notes = () if pool is None else pool.profiles.notes
    return Fleet(
        options, ranked(rows, by), by, totals(rows), totals(rows, "pays"), len(before), notes
    )


def _there(store: Store, key: str, retry_failed: bool) -> bool:
    row = store.rows.get(key)
    return row is not None and not (retry_failed and row["status"] != "done")


def _placed(row: Row, station: Station) -> Row:
    """The row with the station's coordinates by today's table."""
    return {**row, "longitude": station.longitude, "latitude": station.latitude}


def _pool(options: FleetOptions) -> Pool | None:
    shared = options.shared
    if shared.profiles is None:
        if options.classes is not None:
            raise InputError("--classes without --profiles.", "Give the pool with --profiles.")
        return None
    profiles = read_profiles(
        shared.profiles,
        days=shared.days,
        skip_days=shared.skip_days,
        fill_gaps=shared.fill_gaps,
        quantity=shared.quantity,
    )
    kinds = ("",) * len(profiles.names)
    if options.classes is not None:
        kinds = read_classes(options.classes, profiles.names)
    return Pool(profiles, kinds)


def _run(
    todo: list[Station], options: FleetOptions, pool: Pool | None, folder: Path
) -> Iterator[tuple[Station, Row]]:
    if not todo:
        return iter(())
    if options.scheduler:
        return on_cluster(todo, options.shared, pool, scheduler=options.scheduler)
    return in_processes(
        todo,
        options.shared,
        pool,
        folder,
        workers=min(options.workers or processors(), len(todo)),
        limit_s=options.limit_s,
    )
