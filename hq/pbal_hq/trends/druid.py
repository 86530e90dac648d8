"""Apache Druid: hours of summaries with sketches, and the figures of trends from them.

Rows come from `hq.summary` as they are said, and a day's are replaced by the lake's when it is
corrected: the lake has each window once. A row is an hour of a site; what is a mean in reports is
kept as a weighted sum beside the weight, so that hours add up as the store's do.
"""

from __future__ import annotations

import datetime
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pbal_hq.errors import TrendsError

_ANSWER_S = 120.0
_SAMPLED = '"length_s" * "complete_percent" / 100.0'


@dataclass(frozen=True)
class Measure:
    """One figure of a row. `expression`: over a summary's fields, null where not known."""

    name: str
    how: str  # Druid's aggregator
    expression: str


def _mean(name: str, field: str) -> list[Measure]:
    """The weight of what is known, and the sum with that weight."""
    return [
        Measure(f"{name}_s", "doubleSum", f'if(isnull("{field}"), 0, {_SAMPLED})'),
        Measure(f"{name}_sum", "doubleSum", f'if(isnull("{field}"), 0, "{field}" * {_SAMPLED})'),
    ]


def _added(fields: Sequence[str]) -> str:
    return " + ".join(f'"{field}"' for field in fields)


MEASURES: tuple[Measure, ...] = (
    Measure("sampled_s", "doubleSum", _SAMPLED),
    Measure("import_kwh", "doubleSum", _added([f"e{p}_import_kwh" for p in "abc"])),
    Measure("export_kwh", "doubleSum", _added([f"e{p}_export_kwh" for p in "abc"])),
    *_mean("neutral", "in_mean_a"),
    *_mean("pvur", "pvur_percent"),
    Measure("neutral_max_a", "doubleMax", '"in_max_a"'),
    Measure("load_max_percent", "doubleMax", '"load_max_percent"'),
    Measure("hotspot_max_c", "doubleMax", '"hotspot_c"'),
    Measure("min_v", "doubleMin", 'least("va_min_v", "vb_min_v", "vc_min_v")'),
    Measure("max_v", "doubleMax", 'greatest("va_max_v", "vb_max_v", "vc_max_v")'),
    Measure("saved_wh", "doubleSum", '"losses_avoided_wh"'),
    Measure("moved", "longSum", '"confirmed"'),
    Measure("not_moved", "longSum", _added(["refused", "failed", "expired", "disagreed"])),
)
# For quantiles over any number of rows, of what was in the windows.
SKETCHES = {"pvur_quantiles": "pvur_percent", "load_quantiles": "load_max_percent",
            "neutral_quantiles": "in_max_a"}  # fmt: skip
_SKETCH_K = 64
# A day may be replaced while rows come in.
_TOGETHER = {"useConcurrentLocks": True}
FIELDS = (
    "site", "start_s", "length_s", "complete_percent", "in_mean_a", "in_max_a", "pvur_percent",
    *(f"e{p}_{way}_kwh" for way in ("import", "export") for p in "abc"),
    "load_max_percent", "hotspot_c",
    *(f"v{p}_{end}_v" for end in ("min", "max") for p in "abc"),
    "losses_avoided_wh", "confirmed", "refused", "failed", "expired", "disagreed",
)  # fmt: skip


def schema(source: str) -> dict[str, Any]:
    """What a row is made of and how hours are rolled up."""
    transforms = [
        {"type": "expression", "name": f"m_{each.name}", "expression": each.expression}
        for each in MEASURES
    ]
    metrics = [{"type": "count", "name": "windows"}]
    metrics += [
        {"type": each.how, "name": each.name, "fieldName": f"m_{each.name}"} for each in MEASURES
    ]
    metrics += [
        {"type": "quantilesDoublesSketch", "name": name, "fieldName": field, "k": str(_SKETCH_K)}
        for name, field in SKETCHES.items()
    ]
    return {
        "dataSource": source,
        "timestampSpec": {"column": "start_s", "format": "posix"},
        "dimensionsSpec": {"dimensions": [{"type": "long", "name": "site"}]},
        "transformSpec": {"transforms": transforms},
        "metricsSpec": metrics,
        "granularitySpec": {
            "segmentGranularity": "DAY", "queryGranularity": "HOUR", "rollup": True,
        },
    }  # fmt: skip


def _input(prefix: str) -> dict[str, Any]:
    fields = [{"type": "path", "name": name, "expr": f"$.{prefix}{name}"} for name in FIELDS]
    return {"type": "json", "flattenSpec": {"useFieldDiscovery": False, "fields": fields}}


def supervisor(
    source: str, topic: str, consumer: Mapping[str, str], *, tasks: int = 1
) -> dict[str, Any]:
    """Takes a topic's records in as they come. `consumer`: settings of Kafka's client in Java."""
    return {"type": "kafka", "spec": {
        "dataSchema": schema(source),
        "ioConfig": {
            "topic": topic, "inputFormat": _input("fields."), "useEarliestOffset": True,
            "consumerProperties": dict(consumer), "taskCount": tasks, "replicas": 1,
            "taskDuration": "PT1H", "startDelay": "PT1S", "period": "PT10S",
        },
        "tuningConfig": {"type": "kafka", "maxRowsInMemory": 150_000},
    }, "context": _TOGETHER}  # fmt: skip


def correction(source: str, day: datetime.date, folder: str, pattern: str) -> dict[str, Any]:
    """Puts the rows of files in a folder that indexers see in the place of a day's."""
    after = day + datetime.timedelta(days=1)
    data = schema(source)
    data["granularitySpec"] = {**data["granularitySpec"], "intervals": [f"{day}/{after}"]}
    return {"type": "index_parallel", "spec": {
        "dataSchema": data,
        "ioConfig": {
            "type": "index_parallel", "dropExisting": True, "appendToExisting": False,
            "inputSource": {"type": "local", "baseDir": folder, "filter": pattern},
            "inputFormat": _input(""),
        },
        "tuningConfig": {
            "type": "index_parallel", "maxNumConcurrentSubTasks": 1,
            "partitionsSpec": {"type": "dynamic"},
        },
    }, "context": _TOGETHER}  # fmt: skip


def retention(keep_days: int) -> list[dict[str, Any]]:
    """What is kept, and what is not."""
    kept = {"type": "loadByPeriod", "period": f"P{keep_days}D", "includeFuture": True,
            "tieredReplicants": {"_default_tier": 1}}  # fmt: skip
    return [kept, {"type": "dropForever"}]


_SQL = {"doubleSum": "SUM", "longSum": "SUM", "doubleMax": "MAX", "doubleMin": "MIN"}
_MEANS = ("neutral", "pvur")
_PLAIN = ", ".join(
    f"{_SQL[each.how]}({each.name}) AS {each.name}"
    for each in MEASURES
    if each.name not in {f"{mean}_{part}" for mean in _MEANS for part in ("s", "sum")}
)
# Over rows that have means already, weighted by the seconds that were sampled.
_SUMS = f"{_PLAIN}, " + ", ".join(
    f"SUM({m} * sampled_s) / NULLIF(SUM(CASE WHEN {m} IS NOT NULL THEN sampled_s ELSE 0 END), 0)"
    f" AS {m}"
    for m in _MEANS
)


def _hours(
    source: str, since: datetime.date, until: datetime.date, sites: Sequence[int] | None = None
) -> str:
    """SQL of `hours`, the sites' hours; to follow a WITH."""
    means = ", ".join(f"SUM({m}_sum) / NULLIF(SUM({m}_s), 0) AS {m}" for m in _MEANS)
    only = "" if sites is None else f" AND site IN ({_listed(sites)})"
    return (
        f"hours AS (SELECT site, TIME_FLOOR(__time, 'PT1H') AS at_hour, {_PLAIN}, {means} "
        f"{_within(source, since, until)}{only} GROUP BY 1, 2)"
    )


def by_month(source: str, since: datetime.date, until: datetime.date) -> str:
    """SQL: each site's months, summed up over hours and days as the store does it."""
    return (
        f"WITH {_hours(source, since, until)}, "
        f"days AS (SELECT site, TIME_FLOOR(at_hour, 'P1D') AS at_day, {_SUMS} "
        "FROM hours GROUP BY 1, 2) "
        "SELECT site, TIME_FORMAT(TIME_FLOOR(at_day, 'P1M'), 'yyyy-MM-dd') AS \"month\", "
        f"{_SUMS} FROM days GROUP BY 1, 2"
    )


_SLOTS = {"hours": "PT1H", "days": "P1D"}


def _within(source: str, since: datetime.date, until: datetime.date) -> str:
    return (
        f"FROM \"{source}\" WHERE __time >= TIMESTAMP '{since} 00:00:00' "
        f"AND __time < TIMESTAMP '{until} 00:00:00'"
    )


def _slot(time: str) -> str:
    return f"TIMESTAMP_TO_MILLIS({time}) / 1000 AS slot"


def by_slot(
    source: str,
    since: datetime.date,
    until: datetime.date,
    step: str,
    sites: Sequence[int] | None,
) -> str:
    """SQL: each site's hours or days (`step`), as the store sums them up; `slot`: their begin, s
    since 1970. `sites`: only these; None for all."""
    slot = _slot(f"TIME_FLOOR(at_hour, '{_SLOTS[step]}')")
    return (
        f"WITH {_hours(source, since, until, sites)} SELECT site, {slot}, {_SUMS} FROM hours"
        " GROUP BY 1, 2"
    )


def quantiles(
    source: str,
    since: datetime.date,
    until: datetime.date,
    step: str,
    lines: Sequence[Sequence[int]],
    asked: Sequence[tuple[str, float]],
) -> str:
    """SQL: of each line (the sites of an area, by its place) and hour or day these quantiles, q0
    and so on. `asked`: sketch and share."""
    cases = " ".join(f"WHEN site IN ({_listed(each)}) THEN {n}" for n, each in enumerate(lines))
    every = _listed([site for each in lines for site in each])
    terms = ", ".join(
        f"APPROX_QUANTILE_DS({sketch}, {share}) AS q{n}" for n, (sketch, share) in enumerate(asked)
    )
    slot = _slot(f"TIME_FLOOR(__time, '{_SLOTS[step]}')")
    return (
        f"SELECT CASE {cases} END AS line, {slot}, {terms} "
        f"{_within(source, since, until)} AND site IN ({every}) GROUP BY 1, 2"
    )


def _listed(sites: Sequence[int]) -> str:
    return ", ".join(map(str, sites))


class Druid:
    """The two addresses of a cluster. All methods raise TrendsError."""

    def __init__(self, broker: str, coordinator: str) -> None:
        self._broker, self._coordinator = broker.rstrip("/"), coordinator.rstrip("/")

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Rows of a query."""
        body = {"query": query, "context": {"sqlTimeZone": "UTC"}}
        found = _call(f"{self._broker}/druid/v2/sql", body)
        assert isinstance(found, list)
        return found

    def supervise(self, spec: Mapping[str, Any]) -> None:
        """Begin to take a topic in, or go on with another specification."""
        _call(f"{self._coordinator}/druid/indexer/v1/supervisor", spec)

    def suspend(self, source: str) -> None:
        """Have the tasks that take a topic in publish what they have, and start no others."""
        _call(f"{self._coordinator}/druid/indexer/v1/supervisor/{source}/suspend", {})

    def running(self, source: str) -> int:
        """How many tasks run."""
        url = f"{self._coordinator}/druid/indexer/v1/runningTasks?datasource={source}"
        return len(_call(url))

    def keep(self, source: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set the rules of retention."""
        _call(f"{self._coordinator}/druid/coordinator/v1/rules/{source}", list(rules))

    def rules(self, source: str) -> list[dict[str, Any]]:
        """The rules of retention."""
        found = _call(f"{self._coordinator}/druid/coordinator/v1/rules/{source}")
        assert isinstance(found, list)
        return found

    def submit(self, spec: Mapping[str, Any]) -> str:
        """Begin a task; its id."""
        return str(_call(f"{self._coordinator}/druid/indexer/v1/task", spec)["task"])

    def status(self, task: str) -> tuple[str, str]:
        """RUNNING, SUCCESS or FAILED; and why."""
        found = _call(f"{self._coordinator}/druid/indexer/v1/task/{task}/status")["status"]
        return str(found["status"]), str(found.get("errorMsg") or "")


def _call(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        said = error.read(1000).decode(errors="replace")
        raise TrendsError(f"{url}: {error.code} {said}") from None
    except (OSError, ValueError) as error:
        raise TrendsError(f"Druid, {url}: {error}; is it up, is druid.* right?") from None
