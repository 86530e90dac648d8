"""What a row of `feeder_present` is made of: who keeps it and who reads it add up by the same SQL.

What changes with each window (currents, homes, who is online, savings) is as it was when the row
was made, a minute ago. A feeder whose transformers, sites or alarms changed since, and one whose
rows are old or not there, is added up from its transformers.
"""

FRESH_S = 300
# Of an alarm `a`: people are to see it.
OPEN = "a.closed_at IS NULL AND (a.shelved_until IS NULL OR a.shelved_until <= now())"
BACKLOG = "t.backlog > 12"  # of a site `t`: more waits there than an hour at five minutes
TODAY = "(now() AT TIME ZONE 'UTC')::date"

# Column of feeder_present: SQL over rows `t` of present, `v` of saved and `x` of open alarms.
SUMS = {
    "transformers": "count(*)",
    "sites": "count(t.site_id)",
    "online": "count(*) FILTER (WHERE t.online)",
    "in_alarm": "count(x.n)",
    "alarms_open": "coalesce(sum(x.n), 0)",
    "worst_neutral_a": "max(t.in_a)",
    "homes": "coalesce(sum(t.homes) FILTER (WHERE t.site_id IS NOT NULL), 0)",
    "homes_fresh": "coalesce(sum(t.homes_fresh) FILTER (WHERE t.site_id IS NOT NULL), 0)",
    "homes_quarantined":
        "coalesce(sum(t.homes_quarantined) FILTER (WHERE t.site_id IS NOT NULL), 0)",
    "moves_today": "coalesce(sum(v.moves_today), 0)",
    "today_wh": "sum(v.today_wh::float8)",
    "year_wh": "sum(coalesce(v.today_wh, 0)::float8 + coalesce(v.before_wh, 0)::float8)"
               " FILTER (WHERE coalesce(v.today_wh, v.before_wh) IS NOT NULL)",
    "saved_known": "count(coalesce(v.today_wh, v.before_wh))",
    "silent_since": "min(coalesce(t.seen_at, '-infinity'))"
                    " FILTER (WHERE t.site_id IS NOT NULL AND NOT coalesce(t.online, false))",
    "backlog_most": f"max(t.backlog) FILTER (WHERE t.site_id IS NOT NULL AND {BACKLOG})",
    "certificate_until": "min(t.certificate_until) FILTER (WHERE t.site_id IS NOT NULL)",
    "window_least": "min(t.window_at) FILTER (WHERE t.site_id IS NOT NULL)",
}  # fmt: skip
_SAVED = f"LEFT JOIN saved v ON v.transformer_id = t.id AND v.day = {TODAY}"
_KEY = ("feeder_id", "version", "mode", "in_service")
_COLUMNS = ", ".join((*_KEY, *SUMS))
_SUMMED = f"SELECT {', '.join(f't.{name}' for name in _KEY)}, {', '.join(SUMS.values())}"
_BY = f"GROUP BY {', '.join(f't.{name}' for name in _KEY)}"

# Of few transformers: the alarms of each are looked up.
_FEW = (
    f"{_SUMMED} FROM present t {_SAVED} LEFT JOIN LATERAL (SELECT nullif(count(*), 0) AS n"
    f" FROM alarm a WHERE a.transformer_id = t.id AND {OPEN}) x ON true"
)
# Of the feeders %(feeders)s: all open alarms are counted first.
KEEP = (
    f"INSERT INTO feeder_present (made_at, day, {_COLUMNS})"
    f" SELECT now(), {TODAY}, s.* FROM ({_SUMMED} FROM present t {_SAVED}"
    " LEFT JOIN (SELECT a.transformer_id, count(*) AS n FROM alarm a"
    f" WHERE {OPEN} GROUP BY 1) x ON x.transformer_id = t.id"
    f" WHERE t.feeder_id = ANY(%(feeders)s) {_BY}) s"
)


def seen(feeder_in_scope: str) -> str:
    """SQL: `parts`, rows of `feeder_present` for what somebody may see, to stand behind WITH.

    `feeder_in_scope`: the condition on `t` that all of the feeder t.feeder_id may be seen; further
    transformers are %(transformers)s.
    """
    return (
        "entire AS MATERIALIZED (SELECT t.feeder_id FROM (SELECT id AS feeder_id FROM area) t"
        f" WHERE {feeder_in_scope}),"
        " fresh AS MATERIALIZED (SELECT k.* FROM feeder_present k JOIN entire USING (feeder_id)"
        " LEFT JOIN (SELECT DISTINCT feeder_id FROM feeder_present_due) d USING (feeder_id)"
        f" WHERE d.feeder_id IS NULL AND k.day = {TODAY}"
        f" AND k.made_at > now() - interval '{FRESH_S} seconds'),"
        f" parts AS MATERIALIZED (SELECT {_COLUMNS} FROM fresh UNION ALL"
        " SELECT y.* FROM (SELECT feeder_id FROM entire EXCEPT SELECT feeder_id FROM fresh) s"
        f" CROSS JOIN LATERAL ({_FEW} WHERE t.feeder_id = s.feeder_id {_BY}) y UNION ALL"
        f" {_FEW} WHERE t.id = ANY(%(transformers)s) AND NOT {feeder_in_scope} {_BY})"
    )
