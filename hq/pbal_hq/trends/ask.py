"""One question of long ranges: Druid answers where it is there, DuckDB from the lake where not."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable

from pbal_hq.config import DruidConfig
from pbal_hq.database import Connection
from pbal_hq.errors import TrendsError
from pbal_hq.lake import Lake
from pbal_hq.trends.druid import Druid
from pbal_hq.trends.months import Month, months, placed
from pbal_hq.trends.rollup import months_by_druid, transformers

log = logging.getLogger(__name__)


async def ask(
    db: Connection,
    druid: DruidConfig,
    lake: Callable[[], Lake],
    level: str,
    since: datetime.date,
    until: datetime.date,
    now: datetime.datetime,
) -> tuple[list[Month], str]:
    """The areas' months, those of `since` up to that before `until`; and who answered.

    `lake`: opens it, where Druid does not answer. Raises LakeError, ConfigError.
    """
    areas = await placed(db, level)
    if druid.broker:
        sites = await transformers(db)
        server = Druid(druid.broker, druid.coordinator)
        try:
            found = months_by_druid(server, druid.source, areas, sites, since, until, now)
            return found, "Druid"
        except TrendsError as error:
            log.warning("Druid does not answer; the lake does", extra={"why": str(error)})
    return months(lake(), areas, since, until, now), "the lake"
