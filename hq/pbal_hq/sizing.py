"""How many processors and disks a fleet needs (docs/scale.md): `pbal-hq size`.

What a summary costs was measured by `python -m bench.hq --profile large`, whose JSON may be given
in the place of the figures here. Prices and the room that is left are assumptions, and inputs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from pbal_hq.config import StoreConfig
from pbal_hq.errors import ConfigError

_DAY_S = 86_400
_OPEN_DAYS = 4  # the schema's policy compresses a day when three more are over


@dataclass(frozen=True)
class Costs:
    """What one summary takes: processor time in us of each part, and bytes where it is kept.

    Of Kafka all that roles do with it, of PostgreSQL a row and its hours; rows with their indexes.
    """

    bridge_us: float = 120
    mosquitto_us: float = 87
    decode_us: float = 179
    store_us: float = 218
    sums_us: float = 2
    detect_us: float = 144
    lake_us: float = 79
    kafka_us: float = 722
    postgres_us: float = 138
    raw_bytes: float = 74  # in hq.spb.raw
    summary_bytes: float = 220  # in hq.summary
    row_bytes: float = 265
    compressed_bytes: float = 131  # the same in TimescaleDB, when its day is compressed
    hour_bytes: float = 307
    day_bytes: float = 173
    lake_bytes: float = 102
    # Of a page, portal and PostgreSQL, in the mean: in any fleet, and more for each transformer.
    page_ms: float = 26
    page_transformer_us: float = 1.2

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Of what the bench printed. Raises ConfigError."""
        try:
            roles = measured["roles"]

            def worse(name: str, what: str) -> float:
                """With one process of the role or with two: what takes more."""
                ways = (roles[name].get(way) for way in ("one", "two"))
                return max(float(each[what]) for each in ways if each)

            fleet = measured["fleets"][-1]
            page_ms, page_transformer_us = _pages(measured["fleets"])
            found = {
                **{f"{name}_us": worse(name, "us") for name in roles},
                "mosquitto_us": roles["bridge"]["one"]["mosquitto_us"],
                "kafka_us": sum(worse(name, "kafka_us") for name in roles),
                "postgres_us": sum(worse(name, "postgres_us") for name in roles),
                **{n: measured[n] for n in ("raw_bytes", "summary_bytes", "lake_bytes")},
                "row_bytes": measured["row_bytes"], "hour_bytes": measured["row_hourly_bytes"],
                "day_bytes": fleet["summary_daily_bytes"],
                "page_ms": page_ms, "page_transformer_us": page_transformer_us,
            }  # fmt: skip
            if compressed := measured.get("compressed"):
                found["compressed_bytes"] = compressed["streets"]["after_bytes"]
            else:  # where TimescaleDB was not there to be measured
                found["compressed_bytes"] = cls.compressed_bytes
            return cls(**{each.name: float(found[each.name]) for each in fields(cls)})
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"these are no figures of `bench.hq --profile large --json`: {error!r}"
            ) from None


def _pages(fleets: list[dict[str, Any]]) -> tuple[float, float]:
    """(ms of a page in any fleet, us more for each transformer) by the smallest and the largest
    fleet; of a single one all of it is in any."""
    by_size = sorted(fleets, key=lambda fleet: int(fleet["transformers"]))
    small, large = by_size[0], by_size[-1]
    many = large["transformers"] - small["transformers"]
    if not many:
        return float(large["page_ms"]), 0.0
    each_ms = max(0.0, (large["page_ms"] - small["page_ms"]) / many)
    return max(0.0, small["page_ms"] - each_ms * small["transformers"]), 1000 * each_ms


@dataclass(frozen=True)
class Assumed:
    """What a utility decides, or has to ask for. Prices are assumptions, in a currency of yours."""

    headroom: float = 10.0  # the load that fits, over the load that there is
    busy: float = 0.7  # how much of a processor may be taken at that load
    core_speed: float = 1.0  # of a core, over one of the computer that measured
    machine_cores: int = 16
    machine_price: float = 500.0  # of one for a month
    disk_price: float = 40.0  # of a terabyte for a month
    replicas: int = 3  # of Kafka's records
    database_copies: int = 2  # the primary and its standbys
    timescale: bool = False  # days that are over are compressed
    kafka_days: float = 7.0
    lake_years: float = 10.0
    pages_per_s: float = 5.0  # that people ask for


@dataclass(frozen=True)
class Size:
    """What a fleet needs. Cores are busy ones at the load that there is, TB with all copies."""

    transformers: int
    window_s: float
    summaries_per_s: float
    cores: dict[str, float]
    terabytes: dict[str, float]
    cores_for_headroom: float
    database_cores_for_headroom: float
    machines: int
    price_month: float

    @property
    def fits_one(self) -> bool:
        """Whether one machine carries it with the headroom."""
        return self.machines == 1


def size(
    transformers: int,
    window_s: float = 300.0,
    costs: Costs | None = None,
    assumed: Assumed | None = None,
    store: StoreConfig | None = None,
) -> Size:
    """The formula. `store`: for how long rows and hours are kept. Raises ConfigError."""
    costs, assumed, store = costs or Costs(), assumed or Assumed(), store or StoreConfig()
    if transformers < 1 or not 1 <= window_s <= 3600:
        raise ConfigError("a fleet has a transformer or more, and windows of 1 to 3600 s")
    rate = transformers / window_s
    cores = {
        name: rate * getattr(costs, f"{name}_us") / 1e6 / assumed.core_speed
        for name in ("bridge", "mosquitto", "decode", "store", "sums", "detect", "lake", "kafka",
                     "postgres")
    }  # fmt: skip
    # People do not become ten times as many when sites send ten times as much.
    page_ms = costs.page_ms + costs.page_transformer_us * transformers / 1000
    pages = assumed.pages_per_s * page_ms / 1000 / assumed.core_speed
    wanted = (assumed.headroom * sum(cores.values()) + pages) / assumed.busy
    daily = transformers * _DAY_S / window_s
    hours = transformers * (24 * costs.hour_bytes * store.hourly_days)
    # Days are kept for ever: as long as the lake is reckoned with.
    days = transformers * costs.day_bytes * 365 * assumed.lake_years
    open_days = min(store.raw_days, _OPEN_DAYS) if assumed.timescale else store.raw_days
    closed_days = store.raw_days - open_days
    rows = daily * (costs.row_bytes * open_days + costs.compressed_bytes * closed_days)
    kept = costs.raw_bytes + costs.summary_bytes
    terabytes = {
        "database": (rows + hours + days) * assumed.database_copies / 1e12,
        "kafka": daily * kept * assumed.kafka_days * assumed.replicas / 1e12,
        "lake": daily * costs.lake_bytes * 365 * assumed.lake_years / 1e12,
    }
    machines = math.ceil(wanted / assumed.machine_cores)
    money = machines * assumed.machine_price + sum(terabytes.values()) * assumed.disk_price
    database = assumed.headroom * cores["postgres"] / assumed.busy
    return Size(
        transformers, window_s, rate, cores | {"portal": pages}, terabytes, wanted, database,
        machines, money,
    )  # fmt: skip


def costs_of(path: Path) -> Costs:
    """Of a file with the bench's JSON. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return Costs.of(found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
