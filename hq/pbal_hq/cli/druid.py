"""`pbal-hq druid`: Apache Druid, which answers long-range questions."""

from __future__ import annotations

from typing import Annotated

import typer

from pbal_hq import roles
from pbal_hq.bus import topics
from pbal_hq.cli.base import ConfigOption, group
from pbal_hq.cli.days import DAY, FromOption, ToOption, read_day
from pbal_hq.config import Config, load
from pbal_hq.errors import ConfigError
from pbal_hq.javaclient import client_of

app = group("Apache Druid (docs/hq-large.md). Example: pbal-hq druid set-up")


def _configured(config: Config) -> None:
    if not config.druid.broker:
        raise ConfigError("no Druid is configured: set druid.broker and druid.coordinator")


@app.command("set-up")
def set_up(
    tasks: Annotated[
        int, typer.Option(min=1, max=1000, help="That read at the same time; partitions at most.")
    ] = 1,
    config: ConfigOption = None,
) -> None:
    """Have Druid take in summaries from Kafka, and keep them as configured.

    Example: pbal-hq druid set-up --tasks 4
    """
    loaded = load(config)
    _configured(loaded)
    client = client_of(loaded)
    roles.need_packages()
    from pbal_hq.trends import druid

    how = loaded.druid
    server = druid.Druid(how.broker, how.coordinator)
    consumer = {"bootstrap.servers": ",".join(client.servers), **client.settings()}
    server.supervise(druid.supervisor(how.source, topics.SUMMARY, consumer, tasks=tasks))
    server.keep(how.source, druid.retention(how.keep_days))
    print(f"{how.source} takes in {topics.SUMMARY}, and keeps {how.keep_days} days")


@app.command()
def correct(
    since: FromOption,
    until: ToOption,
    config: ConfigOption = None,
) -> None:
    """Replace days of Druid's by the lake's. Example: pbal-hq druid correct --from 2026-11-27 \
--to 2026-11-27
    """
    loaded = load(config)
    _configured(loaded)
    roles.need_lake(loaded)
    if loaded.druid.folder is None:
        raise ConfigError("druid.folder is missing: a folder that Druid's indexers see, too")
    day, last = read_day(since, "--from"), read_day(until, "--to")
    from pbal_hq.lake import lake_of
    from pbal_hq.trends.correct import correct as replace
    from pbal_hq.trends.druid import Druid

    lake = lake_of(loaded.lake)
    lake.check()
    server = Druid(loaded.druid.broker, loaded.druid.coordinator)
    while day <= last:
        rows = replace(lake, server, loaded.druid.source, day, loaded.druid.folder)
        print(f"{day}: {rows} windows")
        day += DAY
