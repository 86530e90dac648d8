"""All checks, in their order."""

from __future__ import annotations

from pbal_host import Finding
from pbal_hq.config import Config
from pbal_hq.doctor import cluster, computer, data, parts


async def examine(config: Config) -> list[Finding]:
    """What each of them found. Nothing is changed."""
    found = [*computer.disk(config), *computer.clock()]
    found += [each async for each in data.database(config)]
    found += cluster.cluster(config)
    found += data.backups(config.backup)
    found += parts.broker(config)
    found += parts.tunnel(config)
    found += [each async for each in parts.bus(config)]
    found += parts.lake(config)
    found += parts.logs(config)
    found += parts.certificates(config)
    found += parts.processes(config)
    return found
