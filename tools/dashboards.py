#!/usr/bin/env python3
"""HQ's dashboards for Grafana, as code: what each shows, and the files that Grafana reads.

    tools/dashboards.py      writes hq/monitoring/grafana/dashboards/ anew

A panel asks PostgreSQL (as a user that `pbal-hq grafana` makes) or Prometheus; the tests
run every query of every panel. Made with grafana-foundation-sdk (Apache-2.0), for Grafana 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.common import BigValueGraphMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from pbal_hq.database.feeder_present import OPEN

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "hq" / "monitoring" / "grafana" / "dashboards"
# As provisioning/datasources names them.
SQL = DataSourceRef(type_val="grafana-postgresql-datasource", uid="pbal-hq-postgresql")
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="pbal-hq-prometheus")

_KINDS: dict[str, Any] = {"line": timeseries.Panel, "stat": stat.Panel, "table": table.Panel}


@dataclass(frozen=True)
class Show:
    """A panel: what it is called, how it looks, in which unit, and what it asks.

    `kind`: line, stat or table. `width`: of 24. `asks`: SQL, or for Prometheus (legend,
    expression).
    """

    title: str
    kind: str
    unit: str
    asks: tuple[str | tuple[str, str], ...]
    width: int = 12
    note: str = ""


class _Sql(Builder[UnknownDataquery]):
    """The SDK has no query of PostgreSQL."""

    def __init__(self, sql: str, ref: str, form: str) -> None:
        self._query = UnknownDataquery(
            {"refId": ref, "datasource": SQL, "rawQuery": True, "editorMode": "code",
             "format": form, "rawSql": " ".join(sql.split())}
        )  # fmt: skip

    def build(self) -> UnknownDataquery:
        """The query."""
        return self._query


def _panel(show: Show) -> Any:
    made = _KINDS[show.kind]().title(show.title).description(show.note).unit(show.unit)
    made = made.span(show.width).height(4 if show.kind == "stat" else 8)
    if show.kind == "stat":
        made = made.graph_mode(BigValueGraphMode.NONE)
        made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if show.kind == "line":
        made = made.legend(common.VizLegendOptions().show_legend(True)).fill_opacity(10)
    for number, asked in enumerate(show.asks):
        ref = chr(ord("A") + number)
        if isinstance(asked, tuple):
            legend, expression = asked
            query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref)
            made = made.datasource(PROMETHEUS).with_target(query.datasource(PROMETHEUS))
        else:
            form = "time_series" if show.kind == "line" else "table"
            made = made.datasource(SQL).with_target(_Sql(asked, ref, form))
    return made


def _dashboard(name: str, title: str, since: str, shows: list[Show]) -> dashboard.Dashboard:
    made = dashboard.Dashboard(title).uid(f"pbal-hq-{name}").tags(["pbal"]).readonly()
    made = made.refresh("1m").time(since, "now").timezone("browser")
    if name == "transformer":
        made = made.with_variable(
            dashboard.QueryVariable("transformer")
            .label("Transformer")
            .datasource(SQL)
            .query("SELECT code FROM transformer WHERE in_service ORDER BY code")
        )
    for show in shows:
        made = made.with_panel(_panel(show))
    return made


FLEET = [
    Show("Sites online", "stat", "short", (
        "SELECT count(*) FROM site_live l JOIN site s ON s.id = l.site_id"
        " WHERE l.online AND s.removed_at IS NULL",), 6),
    Show("Sites", "stat", "short", ("SELECT count(*) FROM site WHERE removed_at IS NULL",), 6),
    Show("Transformers", "stat", "short", (
        "SELECT count(*) FROM transformer WHERE in_service",), 6),
    Show("Open alarms", "stat", "short", (
        f"SELECT count(*) FROM alarm a WHERE {OPEN}",), 6),
    Show("Neutral current of the fleet", "line", "amp", (
        'SELECT start_at AS "time", avg(in_mean_a) AS "mean", max(in_max_a) AS "highest"'
        " FROM summary_hourly WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",),
        note="Mean and highest of all transformers, each hour."),
    Show("Load of the fleet", "line", "percent", (
        'SELECT start_at AS "time", avg(load_mean_percent) AS "mean",'
        ' percentile_cont(0.95) WITHIN GROUP (ORDER BY load_max_percent) AS "95th percentile"'
        " FROM summary_hourly WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",)),
    Show("Highest load", "table", "none", (
        'SELECT t.code AS "transformer", f.code AS "feeder", t.rated_kva AS "kVA",'
        ' max(h.load_max_percent) AS "load %", max(h.vuf_max_percent) AS "VUF %"'
        " FROM summary_hourly h JOIN transformer t ON t.id = h.transformer_id"
        " JOIN area f ON f.id = t.feeder_id WHERE $__timeFilter(h.start_at)"
        " GROUP BY 1, 2, 3 ORDER BY 4 DESC NULLS LAST LIMIT 20",)),
    Show("Districts", "table", "none", (
        'SELECT d.name AS "district", count(DISTINCT t.id) AS "transformers",'
        ' count(DISTINCT s.id) AS "sites",'
        ' count(DISTINCT s.id) FILTER (WHERE l.online) AS "online",'
        ' count(DISTINCT a.id) AS "open alarms" FROM area d'
        " JOIN area_within w ON w.ancestor_id = d.id JOIN transformer t ON t.feeder_id = w.area_id"
        " LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL"
        " LEFT JOIN site_live l ON l.site_id = s.id"
        f" LEFT JOIN alarm a ON a.transformer_id = t.id AND {OPEN}"
        " WHERE d.level = 'district' GROUP BY d.id, d.name ORDER BY 5 DESC, 1 LIMIT 50",)),
]  # fmt: skip

_ONE = (
    " FROM {table} x JOIN transformer t ON t.id = x.transformer_id"
    " WHERE t.code = ${{transformer:sqlstring}} AND $__timeFilter(x.start_at) ORDER BY 1"
)


def _one(columns: str, source: str = "summary") -> tuple[str]:
    return (f'SELECT x.start_at AS "time", {columns}' + _ONE.format(table=source),)


TRANSFORMER = [
    Show("Phase currents", "line", "amp",
         _one('x.ia_mean_a AS "A", x.ib_mean_a AS "B", x.ic_mean_a AS "C"'),
         note="Means of each window."),
    Show("Neutral current", "line", "amp", _one('x.in_mean_a AS "mean", x.in_max_a AS "highest"')),
    Show("Voltages", "line", "volt",
         _one('x.va_mean_v AS "A", x.vb_mean_v AS "B", x.vc_mean_v AS "C",'
              ' least(x.va_min_v, x.vb_min_v, x.vc_min_v) AS "lowest"')),
    Show("Unbalance", "line", "percent", _one('x.vuf_percent AS "VUF", x.pvur_percent AS "PVUR"')),
    Show("Load", "line", "percent",
         _one('x.load_mean_percent AS "mean", x.load_max_percent AS "highest"')),
    Show("Hot spot", "line", "celsius", _one('x.hotspot_c AS "hot spot"'),
         note="Of the winding, IEC 60076-7."),
    Show("Moves", "line", "short",
         _one('x.confirmed, x.refused, x.failed, x.expired, x.disagreed, x.autonomous',
              "summary_hourly"), note="Each hour, by their end."),
    Show("Homes", "line", "short",
         _one('x.homes, x.homes_alive AS "alive", x.homes_fresh AS "fresh",'
              ' x.homes_quarantined AS "quarantined"')),
    Show("Alarms", "table", "none", (
        'SELECT a.raised_at AS "raised", a.kind, a.address AS "home", a.detail,'
        ' a.acknowledged_by AS "acknowledged by", a.closed_at AS "over"'
        " FROM alarm a JOIN transformer t ON t.id = a.transformer_id"
        " WHERE t.code = ${transformer:sqlstring} AND $__timeFilter(a.raised_at)"
        " ORDER BY 1 DESC LIMIT 50",), 24),
]  # fmt: skip

OPERATIONS = [
    Show("Roles that do not work", "stat", "short", (
        ("", "sum(pbal_hq_role_failing)"),), 6),
    Show("Processes away", "stat", "short", (
        ("", 'count(up{job="pbal-hq"} == 0) or vector(0)'),), 6),
    Show("Alarms nobody acknowledged", "stat", "short", (
        ("", 'sum(pbal_hq_alarms_open{acknowledged="no"})'),), 6),
    Show("Newest window", "stat", "s", (("", "max(pbal_hq_newest_window_age_seconds)"),), 6),
    Show("Messages from the broker", "line", "ops", (
        ("{{kind}}", "sum by (kind) (rate(pbal_hq_messages_total[5m]))"),)),
    Show("Rows written", "line", "ops", (
        ("{{table}}", "sum by (table) (rate(pbal_hq_rows_written_total[5m]))"),
        ("dead letters", "sum(rate(pbal_hq_dead_letters_total[5m]))"))),
    Show("Behind on the bus", "line", "short", (
        ("{{group}} {{topic}}", "max by (group, topic) (pbal_hq_bus_lag_records)"),)),
    Show("Since a role's last success", "line", "s", (
        ("{{instance}} {{role}}", "pbal_hq_role_last_success_age_seconds"),)),
    Show("Connections to PostgreSQL", "line", "short", (
        ("{{instance}} {{state}}", "pbal_hq_database_connections"),
        ("{{instance}} waiting", "pbal_hq_database_waiting"))),
    Show("Answers, 95th percentile", "line", "s", (
        ("{{service}}", "histogram_quantile(0.95, sum by (service, le)"
                        " (rate(pbal_hq_http_request_seconds_bucket[5m])))"),)),
    Show("Sites", "line", "short", (("{{state}}", "pbal_hq_sites"),)),
    Show("Certificates are good for", "line", "s", (
        ("{{certificate}}", "pbal_hq_certificate_left_seconds"),)),
    Show("Orders by their end", "line", "short", (
        ("{{status}}", "sum by (status) (increase(pbal_hq_orders_ended_total[1h]))"),)),
    Show("Memory of the processes", "line", "bytes", (
        ("{{instance}}", 'process_resident_memory_bytes{job="pbal-hq"}'),)),
]  # fmt: skip

SAVINGS = [
    Show("Losses avoided", "stat", "watth", (
        "SELECT sum(losses_avoided_wh) FROM summary_daily WHERE $__timeFilter(start_at)",), 8,
        note="As the sites measured or computed them; the portal's reports say how."),
    Show("Moves", "stat", "short", (
        "SELECT sum(confirmed) FROM summary_daily WHERE $__timeFilter(start_at)",), 8),
    Show("Losses avoided for each move", "stat", "watth", (
        "SELECT sum(losses_avoided_wh) / nullif(sum(confirmed), 0) FROM summary_daily"
        " WHERE $__timeFilter(start_at)",), 8),
    Show("Losses avoided each day", "line", "watth", (
        'SELECT start_at AS "time", sum(losses_avoided_wh) AS "avoided" FROM summary_daily'
        " WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",)),
    Show("Neutral current each day", "line", "amp", (
        'SELECT start_at AS "time", avg(in_mean_a) AS "mean" FROM summary_daily'
        " WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",)),
    Show("Districts", "table", "none", (
        'SELECT d.name AS "district", sum(x.losses_avoided_wh) / 1000 AS "kWh avoided",'
        ' sum(x.confirmed) AS "moves" FROM summary_daily x'
        " JOIN transformer t ON t.id = x.transformer_id"
        " JOIN area_within w ON w.area_id = t.feeder_id JOIN area d ON d.id = w.ancestor_id"
        " WHERE d.level = 'district' AND $__timeFilter(x.start_at)"
        " GROUP BY d.id, d.name ORDER BY 2 DESC NULLS LAST LIMIT 50",)),
    Show("Transformers", "table", "none", (
        'SELECT t.code AS "transformer", sum(x.losses_avoided_wh) / 1000 AS "kWh avoided",'
        ' sum(x.confirmed) AS "moves" FROM summary_daily x'
        " JOIN transformer t ON t.id = x.transformer_id WHERE $__timeFilter(x.start_at)"
        " GROUP BY 1 ORDER BY 2 DESC NULLS LAST LIMIT 20",)),
]  # fmt: skip

QUALITY = [
    Show("Time that was sampled", "line", "percent", (
        'SELECT start_at AS "time", 100 * avg(least(1, sampled_s / 3600)) AS "sampled"'
        " FROM summary_hourly WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",),
        note="Share of each hour, mean of the transformers that reported in it."),
    Show("Transformers that reported", "line", "short", (
        'SELECT start_at AS "time", count(*) AS "transformers" FROM summary_hourly'
        " WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",)),
    Show("Windows that came late", "line", "short", (
        "SELECT date_trunc('hour', start_at) AS \"time\","
        ' count(*) FILTER (WHERE historical) AS "late", count(*) AS "all"'
        " FROM summary WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",),
        note="They waited at their site while HQ could not be reached."),
    Show("Homes fresh enough", "line", "percent", (
        'SELECT start_at AS "time",'
        ' 100.0 * sum(homes_fresh_min) / nullif(sum(homes_max), 0) AS "fresh",'
        ' 100.0 * sum(homes_quarantined_max) / nullif(sum(homes_max), 0) AS "quarantined"'
        " FROM summary_hourly WHERE $__timeFilter(start_at) GROUP BY 1 ORDER BY 1",)),
    Show("Dead letters", "table", "none", (
        'SELECT left(reason, 80) AS "reason", kind, count(*) AS "letters",'
        ' count(DISTINCT source) AS "sources", max(at) AS "latest" FROM dead_letter'
        " WHERE $__timeFilter(at) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20",)),
    Show("Sites that are silent", "table", "none", (
        'SELECT s.id AS "site", t.code AS "transformer", l.online, l.seen_at AS "heard",'
        ' l.summary_at AS "newest window" FROM site s'
        " JOIN transformer t ON t.id = s.transformer_id"
        " LEFT JOIN site_live l ON l.site_id = s.id WHERE s.removed_at IS NULL"
        " AND (l.seen_at IS NULL OR l.seen_at < now() - interval '1 hour')"
        " ORDER BY l.seen_at NULLS FIRST LIMIT 50",)),
]  # fmt: skip

DASHBOARDS = {
    "fleet": ("pbal: the fleet", "now-24h", FLEET),
    "transformer": ("pbal: one transformer", "now-24h", TRANSFORMER),
    "operations": ("pbal: HQ's operations", "now-6h", OPERATIONS),
    "savings": ("pbal: savings", "now-30d", SAVINGS),
    "quality": ("pbal: quality of data", "now-7d", QUALITY),
}


def files() -> dict[str, str]:
    """Each file's name and text."""
    return {
        f"{name}.json": JSONEncoder(sort_keys=True, indent=1).encode(
            _dashboard(name, title, since, shows).build()
        )
        + "\n"
        for name, (title, since, shows) in DASHBOARDS.items()
    }


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
        print(FOLDER.relative_to(ROOT) / name)


if __name__ == "__main__":
    main()
