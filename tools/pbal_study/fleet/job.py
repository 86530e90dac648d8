"""One station: its study, and the row of its result."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, StudyError
from ..input.homes import Listed, n_relays, read_homes
from ..input.profiles import Profiles, read_profiles
from ..run import Options, Study, read_feeder, study_of
from .drawing import Pool, draw, generator, kinds_of, with_phases
from .stations import Customer, Station

Row = dict[str, Any]
"""A station's figures: text, numbers and None, by column."""

COLUMNS = (
    "station", "status", "reason", "longitude", "latitude", "homes", "relays", "days",
    "rated_kva", "neutral_a_built", "neutral_a_pbal", "neutral_cut", "switchings_per_home_per_day",
    "losses_kwh_per_year_built", "losses_saved_kwh_per_year", "losses_cut",
    "invested", "saved_per_year", "wear_per_year", "net_per_year", "pay_back_years",
    "net_present_value", "peak_phase_a_built", "peak_phase_a_pbal", "phase_limit_a",
    "capacity_released_kw", "room_kw_pbal", "overloaded_built", "overloaded_pbal",
    "voltage_failed_built", "voltage_failed_pbal", "unbalance_failed_built",
    "unbalance_failed_pbal", "violations_built", "violations_pbal", "violations_gone",
    "ageing_rate_built", "ageing_rate_pbal", "seconds", "notes",
)  # fmt: skip
"""Columns of the fleet's table. *_failed: homes, or buses, outside EN 50160. overloaded: whether
the highest 10-minute phase current passes the limit, 0 or 1. violations: the three together."""


def study_station(options: Options, station: Station, pool: Pool | None) -> Row:
    """The row of one station, with the options that all share; pool: what its homes draw from, for
    those without a profile file. Any error of the station becomes the row's reason."""
    began = time.process_time()
    try:
        if station.fault:
            raise InputError(station.fault)
        row = _figures(station, _study(options, station, pool))
    except StudyError as exc:
        row = failed(station, " ".join(f"{exc.message} {exc.remedy}".split()))
    except MemoryError:
        row = failed(station, "Not enough memory. Study fewer days, or with fewer workers.")
    except Exception as exc:
        row = failed(station, f"Defect in pbal: {type(exc).__name__}: {exc}")
    row["seconds"] = round(time.process_time() - began, 3)
    return row


def failed(station: Station, reason: str) -> Row:
    """The row of a station that could not be studied."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "station": station.name,
        "status": "failed",
        "reason": reason,
        "longitude": station.longitude,
        "latitude": station.latitude,
    }
    return row


def _study(shared: Options, station: Station, pool: Pool | None) -> Study:
    options = replace(
        shared,
        feeder=station.feeder,
        homes=station.homes_list,
        transformer=station.transformer,
        profiles=station.profiles,
        kva=shared.kva if station.kva is None else station.kva,
        main_ohm=shared.main_ohm if station.main_ohm is None else station.main_ohm,
        phase_limit_a=station.phase_limit_a or shared.phase_limit_a,
        participation=shared.participation
        if station.participation is None
        else station.participation,
        brief=True,
    )
    listed = _listed(options, station)
    feeder, rows = read_feeder(options, listed)
    if station.profiles is not None:
        profiles = _own_profiles(options, station.profiles)
    else:
        profiles = _drawn(options, station, [home.name for home in feeder.homes], pool)
    return study_of(options, profiles, feeder, rows, lambda name, total: lambda done: None)


def _listed(options: Options, station: Station) -> list[Listed]:
    """The station's homes as a homes list."""
    if station.homes_list is not None:
        return read_homes(station.homes_list)
    if station.feeder is None:
        if not station.customers:
            raise InputError(
                "It has no homes.",
                "Name its feeder or its homes_list, say how many homes it has, or list its "
                "customers.",
            )
        rng = generator(options.seed, station.name, "phases")
        return [Listed(c.home, phase=c.phase) for c in with_phases(station.customers, rng)]
    named = [c for c in station.customers if not _nameless(c)]
    return [Listed(c.home, phase=c.phase) for c in named]


def _own_profiles(options: Options, path: Path) -> Profiles:
    return read_profiles(
        path,
        days=options.days,
        skip_days=options.skip_days,
        fill_gaps=options.fill_gaps,
        quantity=options.quantity,
    )


def _drawn(options: Options, station: Station, names: list[str], pool: Pool | None) -> Profiles:
    if pool is None:
        raise InputError("It has no profiles.", "Give a pool with --profiles.")
    theirs = {c.home.lower(): c for c in station.customers}
    homes = [theirs.get(name.lower(), Customer(name)) for name in names]
    kinds = kinds_of(homes, station.mix, generator(options.seed, station.name, "classes"))
    return draw(pool, names, kinds, generator(options.seed, station.name, "profiles"))


def _guessed(station: Station) -> list[str]:
    """What of the station is drawn at random because it is not known."""
    drawn = sum(c.phase is None for c in station.customers)
    if station.feeder is not None or station.homes_list is not None or not drawn:
        return []
    return [f"{drawn} of {len(station.customers)} phases are drawn at random."]


def _unused(station: Station, studied: int) -> list[str]:
    """What the table or the list of customers says of the station and the study does not use."""
    notes = []
    where = (
        "its homes list" if station.homes_list is not None
        else "its feeder" if station.feeder is not None
        else "the list of customers"
    )  # fmt: skip
    if station.counted is not None and station.counted != studied:
        notes.append(
            f"Beware: the table says {station.counted} homes; the {studied} of {where} were "
            "studied."
        )
    if station.feeder is not None and station.homes_list is None:
        lost = sum(
            _nameless(c) and (c.phase is not None or c.kind != "") for c in station.customers
        )
        if lost:
            notes.append(
                f"Beware: the phase and class of {lost} homes are not used: they do not say "
                "which load of the feeder they are."
            )
    return notes


def _nameless(customer: Customer) -> bool:
    """Whether it has only the name that it was given when it was counted."""
    return customer.home.startswith("home ")


def _figures(station: Station, study: Study) -> Row:
    built, own = study.summary["as_built"], study.summary["pbal"]
    money = own["money"]
    limit_a = study.options.loop.phase_limit_a
    row = failed(station, "")
    row |= {
        "status": "done",
        "homes": study.feeder.n_homes,
        "relays": n_relays(study.feeder, study.relays),
        "days": study.days,
        "rated_kva": study.feeder.transformer.rated_kva or None,
        "neutral_a_built": built["neutral_a"]["mean"],
        "neutral_a_pbal": own["neutral_a"]["mean"],
        "neutral_cut": own["neutral_a"]["cut"],
        "switchings_per_home_per_day": own["switchings"]["per_home_per_day"],
        "invested": money["invested"],
        "wear_per_year": money["wear_per_year"],
        "peak_phase_a_built": built["peak_10min"]["phase_a"],
        "peak_phase_a_pbal": own["peak_10min"]["phase_a"],
        "phase_limit_a": limit_a,
        "capacity_released_kw": money["capacity_released_kw"],
        "room_kw_pbal": money.get("room_kw"),
        "notes": " ".join(
            [
                *_guessed(station),
                *_unused(station, study.feeder.n_homes),
                *(n for n in study.notes if "Beware" in n),
            ]
        ),
    }
    for name in ("saved_per_year", "net_per_year", "pay_back_years", "net_present_value"):
        row[name] = money[name]
    if "losses" in own:
        row["losses_kwh_per_year_built"] = built["losses"]["kwh"] * 365 / study.days
        row["losses_saved_kwh_per_year"] = own["losses"]["saved_kwh_per_year"]
        row["losses_cut"] = own["losses"]["cut"]
    for when, said in (("built", built), ("pbal", own)):
        found = 0
        if limit_a:
            over = int(said["peak_10min"]["phase_a"] > limit_a)
            row[f"overloaded_{when}"] = over
            found += over
        if "voltage" in said:
            row[f"voltage_failed_{when}"] = said["voltage"]["en50160_homes_failed"]
            row[f"unbalance_failed_{when}"] = said["vuf"]["en50160_sites_failed"]
            found += row[f"voltage_failed_{when}"] + row[f"unbalance_failed_{when}"]
        row[f"violations_{when}"] = found if limit_a or "voltage" in said else None
        if "transformer" in said:
            row[f"ageing_rate_{when}"] = said["transformer"]["ageing_rate"]
    if row["violations_built"] is not None:
        row["violations_gone"] = row["violations_built"] - row["violations_pbal"]
    return row
