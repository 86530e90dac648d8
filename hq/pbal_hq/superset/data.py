"""The views of views.sql as Superset's datasets: columns with types, and metrics by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pbal_hq.database import feeder_present
from pbal_hq.readers import reader

USER = "pbal_superset"
SCHEMA = "figures"
TIME = "at"  # every dataset's
_PLACE = {
    "transformer_id": "INTEGER", "transformer": "TEXT", "rated_kva": "REAL",
    "feeder_id": "INTEGER", "feeder": "TEXT", "division": "TEXT", "district": "TEXT",
    "state": "TEXT", TIME: "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """One view. `metrics`: name -> SQL over its rows."""

    name: str
    columns: Mapping[str, str]
    metrics: Mapping[str, str]


def _typed(kind: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, kind)


# An hour counts in a mean by the seconds that were sampled in it, as in reports.
def _mean(column: str) -> str:
    return (f"SUM({column} * sampled_s) / NULLIF(SUM(sampled_s)"
            f" FILTER (WHERE {column} IS NOT NULL), 0)")  # fmt: skip


DATASETS: tuple[Dataset, ...] = (
    Dataset(
        "hours",
        _PLACE
        | _typed("REAL", "sampled_s", "in_mean_a", "in_max_a", "load_mean_percent",
                 "load_max_percent", "vuf_max_percent", "hotspot_max_c", "saved_kwh")
        | _typed("INTEGER", "homes_max", "homes_fresh_min", "homes_quarantined_max", "moved",
                 "not_moved"),
        {
            "neutral mean A": _mean("in_mean_a"), "neutral max A": "MAX(in_max_a)",
            "load mean %": _mean("load_mean_percent"), "load max %": "MAX(load_max_percent)",
            "load 95th %": "PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY load_max_percent)",
            "VUF max %": "MAX(vuf_max_percent)", "hot spot °C": "MAX(hotspot_max_c)",
            "moved": "SUM(moved)", "not moved": "SUM(not_moved)",
            "transformers": "COUNT(DISTINCT transformer_id)",
            "sampled %": "100 * AVG(LEAST(1, sampled_s / 3600))",
            "homes fresh %": "100.0 * SUM(homes_fresh_min) / NULLIF(SUM(homes_max), 0)",
            "homes quarantined %":
                "100.0 * SUM(homes_quarantined_max) / NULLIF(SUM(homes_max), 0)",
        },
    ),
    Dataset(
        "days",
        _PLACE
        | _typed("REAL", "sampled_s", "in_mean_a", "in_max_a", "load_max_percent", "energy_kwh",
                 "saved_kwh")
        | _typed("INTEGER", "moved", "not_moved"),
        {
            "saved kWh": "SUM(saved_kwh)", "energy kWh": "SUM(energy_kwh)", "moved": "SUM(moved)",
            "not moved": "SUM(not_moved)", "neutral mean A": _mean("in_mean_a"),
            "saved Wh a move": "1000 * SUM(saved_kwh) / NULLIF(SUM(moved), 0)",
            "load max %": "MAX(load_max_percent)",
        },
    ),
    Dataset(
        "windows",
        _PLACE
        | _typed("REAL", "ia_mean_a", "ib_mean_a", "ic_mean_a", "in_mean_a", "in_max_a",
                 "va_mean_v", "vb_mean_v", "vc_mean_v", "lowest_v", "vuf_percent", "pvur_percent",
                 "load_mean_percent", "load_max_percent", "hotspot_c")
        | _typed("DOUBLE PRECISION", "delay_s")
        | _typed("INTEGER", "homes", "homes_alive", "homes_fresh")
        | {"moved": "SMALLINT", "late": "BOOLEAN"},
        {
            "A": "AVG(ia_mean_a)", "B": "AVG(ib_mean_a)", "C": "AVG(ic_mean_a)",
            "N": "AVG(in_mean_a)", "N max": "MAX(in_max_a)", "V A": "AVG(va_mean_v)",
            "V B": "AVG(vb_mean_v)", "V C": "AVG(vc_mean_v)", "V lowest": "MIN(lowest_v)",
            "VUF %": "MAX(vuf_percent)", "PVUR %": "MAX(pvur_percent)",
            "load mean %": "AVG(load_mean_percent)", "load max %": "MAX(load_max_percent)",
            "hot spot °C": "MAX(hotspot_c)", "homes": "MAX(homes)", "alive": "MIN(homes_alive)",
            "fresh": "MIN(homes_fresh)", "moved": "SUM(moved)", "windows": "COUNT(*)",
            "late windows": "COUNT(*) FILTER (WHERE late)",
            "delay, median s": "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY delay_s)",
        },
    ),
    Dataset(
        "sites",
        _PLACE
        | {"site": "BIGINT", "online": "BOOLEAN", "newest_window": "TIMESTAMP WITH TIME ZONE",
           "silent_h": "DOUBLE PRECISION"},
        {
            "sites": "COUNT(*)", "online": "COUNT(*) FILTER (WHERE online)",
            "not online": "COUNT(*) FILTER (WHERE NOT online)",
            "silent for an hour": "COUNT(*) FILTER (WHERE silent_h > 1)",
            # 1e6: never heard (views.sql).
            "silent h": "NULLIF(MAX(silent_h), 1e6)",
        },
    ),
    Dataset(
        "alarms",
        _PLACE
        | {"kind": "TEXT", "severity": "SMALLINT", "open": "BOOLEAN", "acknowledged": "BOOLEAN",
           "times": "INTEGER", "closed_at": "TIMESTAMP WITH TIME ZONE"},
        {
            "alarms": "COUNT(*)", "open": "COUNT(*) FILTER (WHERE open)",
            "open, not acknowledged": "COUNT(*) FILTER (WHERE open AND NOT acknowledged)",
        },
    ),
    Dataset(
        "orders",
        _PLACE
        | {"status": "TEXT", "sent_at": "TIMESTAMP WITH TIME ZONE",
           "answered_at": "TIMESTAMP WITH TIME ZONE", "answer_s": "DOUBLE PRECISION"},
        {
            "orders": "COUNT(*)",
            "answered after, median s": "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY answer_s)",
        },
    ),
    Dataset(
        "letters",
        _PLACE | _typed("TEXT", "source", "kind", "reason"),
        {"letters": "COUNT(*)", "sources": "COUNT(DISTINCT source)"},
    ),
)  # fmt: skip


def views() -> str:
    """The SQL that makes the views and the user that reads them."""
    text = (Path(__file__).parent / "views.sql").read_text(encoding="utf-8")
    text = text.replace("-- @READER\n", reader(USER)).replace("@USER", USER)
    return text.replace("@OPEN", feeder_present.OPEN)
