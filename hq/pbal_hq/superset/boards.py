"""The dashboards: what each shows, declared once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """One chart.

    `kind`: number, line, bar or table. `metrics`: of the dataset, by name. `by`: columns that it is
    broken down by. `since`: in Superset's words, "" for all. `grain`: of a line's time, ISO 8601.
    `width`: of 12. `above`: only rows with more than so much in a column. `from_zero`: whether the
    axis of values begins there.
    """

    title: str
    kind: str
    data: str
    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    since: str = ""
    grain: str = "PT1H"
    width: int = 6
    note: str = ""
    above: tuple[str, float] | None = None
    from_zero: bool = True

    @property
    def clock(self) -> str:
        """How its axis of time says one: a day by hours, a week by days, else dates (strftime)."""
        return {_DAY: "%H:%M", _WEEK: "%a %d"}.get(self.since, "%d %b")


@dataclass(frozen=True)
class Board:
    """One dashboard. `one_of`: the column of which people choose one value, or ""."""

    name: str
    title: str
    charts: tuple[Chart, ...]
    one_of: str = ""


def _last(count: int, unit: str) -> str:
    # Superset's own "Last week" ends with the day before.
    return f'DATEADD(DATETIME("now"), -{count}, {unit}) : DATETIME("now")'


_DAY, _WEEK, _MONTH, _YEAR = (_last(1, unit) for unit in ("day", "week", "month", "year"))

BOARDS: tuple[Board, ...] = (
    Board("fleet", "pbal: the fleet", (
        Chart("Sites online", "number", "sites", ("online",), width=3),
        Chart("Sites", "number", "sites", ("sites",), width=3),
        Chart("Open alarms", "number", "alarms", ("open",), width=3),
        Chart("Open, not acknowledged", "number", "alarms", ("open, not acknowledged",), width=3),
        Chart("Neutral current of the fleet, A", "line", "hours",
              ("neutral mean A", "neutral max A"), since=_WEEK),
        Chart("Load of the fleet, %", "line", "hours", ("load mean %", "load 95th %"), since=_WEEK),
        Chart("Highest load", "table", "hours", ("load max %", "VUF max %", "hot spot °C"),
              ("transformer", "feeder"), _WEEK),
        Chart("Districts", "table", "sites", ("sites", "online", "silent for an hour"),
              ("state", "district")),
    )),
    Board("transformer", "pbal: one transformer", (
        Chart("Phase currents, A", "line", "windows", ("A", "B", "C"), since=_DAY, grain="PT5M"),
        Chart("Neutral current, A", "line", "windows", ("N", "N max"), since=_DAY, grain="PT5M"),
        Chart("Voltages, V", "line", "windows", ("V A", "V B", "V C", "V lowest"), since=_DAY,
              grain="PT5M", from_zero=False),
        Chart("Unbalance of the voltages, %", "line", "windows", ("VUF %", "PVUR %"), since=_DAY,
              grain="PT5M"),
        Chart("Load, %", "line", "windows", ("load mean %", "load max %"), since=_DAY,
              grain="PT5M"),
        Chart("Hot spot, °C", "line", "windows", ("hot spot °C",), since=_DAY, grain="PT5M",
              note="Of the winding, IEC 60076-7."),
        Chart("Homes", "line", "windows", ("homes", "alive", "fresh"), since=_DAY, grain="PT5M"),
        Chart("Alarms of it", "table", "alarms", ("alarms", "open"), ("kind",), _MONTH),
    ), one_of="transformer"),
    Board("operations", "pbal: HQ's operations", (
        Chart("Sites that are not online", "number", "sites", ("not online",), width=4),
        Chart("Dead letters, a day", "number", "letters", ("letters",), since=_DAY, width=4),
        Chart("From a window's end to HQ, s", "number", "windows", ("delay, median s",), since=_DAY,
              width=4, note="Median of the last day."),
        Chart("Alarms by kind", "bar", "alarms", ("alarms",), ("kind",), _MONTH, "P1D"),
        Chart("Orders by status", "bar", "orders", ("orders",), ("status",), _MONTH, "P1D"),
        Chart("Windows that came", "line", "windows", ("windows", "late windows"), since=_DAY),
        Chart("Answers to orders", "table", "orders", ("orders", "answered after, median s"),
              ("status",), _MONTH),
    )),
    Board("savings", "pbal: savings", (
        Chart("Losses avoided, kWh", "number", "days", ("saved kWh",), since=_MONTH, width=4,
              note="As the sites measured or computed them; the portal's reports say how."),
        Chart("Moves", "number", "days", ("moved",), since=_MONTH, width=4),
        Chart("Losses avoided for each move, Wh", "number", "days", ("saved Wh a move",),
              since=_MONTH, width=4),
        Chart("Losses avoided each day, kWh", "bar", "days", ("saved kWh",), ("district",), _MONTH,
              "P1D"),
        Chart("Neutral current each day, A", "line", "days", ("neutral mean A",), since=_YEAR,
              grain="P1D"),
        Chart("Savings by district", "table", "days", ("saved kWh", "moved", "not moved"),
              ("state", "district"), _MONTH),
        Chart("Savings by transformer", "table", "days", ("saved kWh", "moved", "energy kWh"),
              ("transformer",), _MONTH),
    )),
    Board("quality", "pbal: quality of data", (
        Chart("Time that was sampled, %", "line", "hours", ("sampled %",), since=_WEEK,
              note="Share of each hour, mean of the transformers that reported in it."),
        Chart("Transformers that reported", "line", "hours", ("transformers",), since=_WEEK),
        Chart("Homes, %", "line", "hours", ("homes fresh %", "homes quarantined %"), since=_WEEK),
        Chart("Windows that came late", "bar", "windows", ("late windows",), ("district",),
              _WEEK, "PT1H", note="They waited at their site while HQ could not be reached."),
        Chart("Sites that are silent for an hour", "table", "sites", ("silent h",),
              ("transformer", "site"), above=("silent_h", 1),
              note="N/A: one that was never heard."),
        Chart("Dead letters", "table", "letters", ("letters", "sources"), ("reason", "kind"),
              _WEEK),
    )),
)  # fmt: skip
