"""The users as which Grafana asks the database, and its files that name them.

Grafana without a licence has no rights on single data sources, but organisations: people of one
see its data sources alone. So an area has an organisation, and that a data source with a user of
its own, who finds views of the area's rows where others find the tables: the same dashboards, and
no more rows for somebody who writes SQL.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pbal_hq.errors import ConfigError
from pbal_hq.readers import reader

USER = "pbal_grafana"
_TABLES = (
    "area, area_within, transformer, site, site_live, summary, summary_hourly, summary_daily, alarm"
)
_PATH = re.compile(r"[\w .-]+(/[\w .-]+){0,3}")
_LONGEST = 63  # of a name in PostgreSQL


def whole() -> str:
    """SQL that makes the user who reads the whole fleet."""
    return (
        "-- Grafana's user: figures of transformers, and nothing of users, sessions, tokens, orders"
        f" or the\n-- audit log (docs/hq-monitoring.md).\nBEGIN;\n{reader(USER)}"
        f"GRANT SELECT ON {_TABLES} TO {USER};\n-- Not their contents.\n"
        f"GRANT SELECT (at, source, kind, reason) ON dead_letter TO {USER};\nCOMMIT;\n"
    )


def user_of(path: str) -> str:
    """The user who reads an area's rows. `path`: as in "KL/EKM". Raises ConfigError."""
    if not _PATH.fullmatch(path):
        raise ConfigError(f"{path!r} is no area: the codes down to it, as KL/EKM")
    name = f"{USER}_{re.sub('[^a-z0-9]+', '_', path.lower())}"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def area(path: str) -> str:
    """SQL that makes the user who reads an area's rows, and all views anew. Raises ConfigError."""
    user = user_of(path)
    views = Path(__file__).with_name("areas.sql").read_text(encoding="utf-8")
    return f"""\
-- Grafana's user of the area {path} (docs/hq-monitoring.md). Again after each upgrade of HQ.
BEGIN;
{reader(user)}
{views}
DO $$
DECLARE wanted int := (
    SELECT w.area_id FROM public.area_within w JOIN public.area a ON a.id = w.ancestor_id
    GROUP BY w.area_id HAVING string_agg(a.code, '/' ORDER BY area_level(a.level)) = '{path}'
);
BEGIN
    IF wanted IS NULL THEN
        RAISE EXCEPTION 'there is no area {path}';
    END IF;
    IF EXISTS (SELECT 1 FROM grafana.reader WHERE role = '{user}' AND area_id <> wanted) THEN
        RAISE EXCEPTION '{user} is the user of another area';
    END IF;
    INSERT INTO grafana.reader VALUES ('{user}', wanted) ON CONFLICT DO NOTHING;
END $$;
GRANT pbal_grafana_areas TO {user};
ALTER ROLE {user} SET search_path = grafana;
COMMIT;
"""


def provisioning(path: str, org: int) -> dict[str, str]:
    """Grafana's own files for an organisation: below provisioning/, by name. Raises ConfigError."""
    user = user_of(path)
    file = f"pbal-{user.removeprefix(f'{USER}_')}.yml"
    head = f"# The area {path} (docs/hq-monitoring.md)\napiVersion: 1\n"
    return {
        f"datasources/{file}": head + f"""\
datasources:
  - name: pbal HQ PostgreSQL
    uid: pbal-hq-postgresql
    orgId: {org}
    type: grafana-postgresql-datasource
    access: proxy
    url: localhost:5432
    user: {user}
    jsonData:
      database: pbal_hq
      sslmode: require
      postgresVersion: 1500
    secureJsonData:
      password: ${user.upper()}_PASSWORD
""",
        f"dashboards/{file}": head + f"""\
providers:
  - name: pbal {path}
    orgId: {org}
    folder: pbal
    type: file
    options:
      path: /var/lib/grafana/pbal-areas
""",
    }  # fmt: skip
