"""HQ's roles: what `pbal-hq all` runs in one process and `pbal-hq run ROLE` by itself.

All of them share one bus and one pool of connections. A role is a loop that may fail and is run
again; unfinished work is still on the bus. One begins when what it needs is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import importlib.util
import logging
import time
from collections.abc import Awaitable, Callable

from pbal_hq import enrol, logstore, metrics, store
from pbal_hq.awaited import Awaited
from pbal_hq.broker import reload
from pbal_hq.bus import topics
from pbal_hq.ca import Pki
from pbal_hq.config import Config
from pbal_hq.database import Lease
from pbal_hq.errors import BrokerError, ConfigError, LogsError
from pbal_hq.ingest import Bridge, Chirpstack, Decoder, decode, orders
from pbal_hq.ingest import bridge as bridging
from pbal_hq.ingest import chirpstack as lorawan
from pbal_hq.metrics import facts
from pbal_hq.notify import notify
from pbal_hq.resources import Hq, Opening, open_database
from pbal_hq.storm import STORM, Taker
from pbal_hq.supervisor import Beat, Supervisor

log = logging.getLogger(__name__)

_SUMS_EVERY_S = 5.0
# Days of feeders are each a pass over a feeder: those of the running day not at every window.
_FEEDERS_EVERY_S = 300.0
_FEEDERS_AT_ONCE_S = 10.0  # then hours come first again
_PRUNE_EVERY_S = 3600.0
_TRIM_EVERY_S = 60.0

# The lake's group on the bus: its room takes a second to load, and is not loaded for its name.
_LAKE = "lake"

# The consumers of each topic: records that all have read may be deleted.
CONSUMERS: dict[str, tuple[str, ...]] = {
    topics.RAW: (decode.GROUP,),
    topics.OUT: (bridging.GROUP,),
    **dict.fromkeys(store.TOPICS, (store.GROUP,)),
}


def consumers(config: Config) -> dict[str, tuple[str, ...]]:
    """CONSUMERS, with the lake, Storm and ChirpStack where they are."""
    without = idle(config)
    kept = () if "lake" in without else (topics.SUMMARY, topics.EVENT)
    found = {t: (*groups, _LAKE) if t in kept else groups for t, groups in CONSUMERS.items()}
    if "alarms" not in without:
        found[topics.ALARM] = (Taker.GROUP,)
        found[topics.SUMMARY] = (*found[topics.SUMMARY], STORM)
    if "chirpstack" not in without:
        found[topics.OUT] = (*found[topics.OUT], lorawan.GROUP)
    return found


async def _bridge(hq: Hq, beat: Beat) -> None:
    await Bridge(hq.bus, hq.config).run(beat)


async def _chirpstack(hq: Hq, beat: Beat) -> None:
    await Chirpstack(hq.bus, hq.database, hq.config.chirpstack).run(beat)


async def _decode(hq: Hq, beat: Beat) -> None:
    await Decoder(hq.bus, hq.config.ingest).run(beat)


async def _store(hq: Hq, beat: Beat) -> None:
    await store.Writer(hq.bus, hq.database, hq.config.store).run(beat)


async def _sums(hq: Hq, beat: Beat) -> None:
    clock = asyncio.get_running_loop().time
    feeders_at = clock()
    while True:
        await store.sum_due(hq.database, beat)
        beat()
        if clock() >= feeders_at and await store.sum_feeders(hq.database, beat, _FEEDERS_AT_ONCE_S):
            feeders_at = clock() + _FEEDERS_EVERY_S
        await asyncio.sleep(_SUMS_EVERY_S)


async def _orders(hq: Hq, beat: Beat) -> None:
    await orders.send_orders(hq.database, hq.bus, beat)


async def _enrol(hq: Hq, beat: Beat) -> None:
    issuing = enrol.Issuing(hq.database, hq.pki.authority(), hq.config)
    async with enrol.serve(issuing, hq.pki, hq.config.enrol) as port:
        log.info("enrolment is open", extra={"port": port})
        while True:
            beat()
            await asyncio.sleep(10)


async def _keep_house(hq: Hq, beat: Beat) -> None:
    """Deletes what is too old; renews the revocation list long before it expires."""
    pruned = float("-inf")
    clock = asyncio.get_running_loop().time
    while True:
        if clock() - pruned >= _PRUNE_EVERY_S:
            async with hq.database.connection() as db:
                gone = await store.prune(db, hq.config, datetime.datetime.now(datetime.UTC))
                await enrol.write_list(db, hq.pki)
            log.debug("pruned", extra=gone)
            try:
                await reload(hq.config.broker, enrol.pid_file(hq.config))
            except BrokerError as error:
                log.warning("the broker could not be told", extra={"why": str(error)})
            await _forget_logs(hq.config)
            pruned = clock()
        keep_s = hq.config.bus.keep_hours * 3600
        while hq.open_bus and await hq.bus.trim(consumers(hq.config), keep_s):
            beat()
        beat()
        await asyncio.sleep(_TRIM_EVERY_S)


async def _forget_logs(config: Config) -> None:
    """Drops the days of logs that are too old, where they are in OpenSearch."""
    if not config.logs.url:
        return

    def expire() -> None:
        with logstore.opened(config) as place:
            place.expire(datetime.datetime.now(datetime.UTC))

    try:
        await asyncio.to_thread(expire)
    except (LogsError, ConfigError) as error:
        log.warning("old logs could not be dropped", extra={"why": str(error)})


async def _alarms(hq: Hq, beat: Beat) -> None:
    await Taker(hq.bus, hq.database).run(beat)


async def _notify(hq: Hq, beat: Beat) -> None:
    await notify(hq.config, hq.database, beat)


async def _portal(hq: Hq, beat: Beat) -> None:
    from pbal_hq import portal  # see _LARGE

    await portal.run(hq.config, hq.database, beat=beat)


async def _lake(hq: Hq, beat: Beat) -> None:
    from pbal_hq import lake  # see _LARGE

    await lake.LakeWriter(hq.bus, hq.database, hq.config, lake.lake_of(hq.config.lake), _LAKE).run(
        beat
    )


ROLES: dict[str, Callable[[Hq, Beat], Awaitable[None]]] = {
    "bridge": _bridge,
    "chirpstack": _chirpstack,
    "decode": _decode,
    "store": _store,
    "sums": _sums,
    "orders": _orders,
    "enrol": _enrol,
    "house": _keep_house,
    "alarms": _alarms,
    "notify": _notify,
    "portal": _portal,
    "lake": _lake,
}


# What a role works on; all others work on the database alone. `house` trims the bus where it is
# open, and is not kept from its other work where it is not.
_ON_THE_BUS = frozenset({"bridge", "chirpstack", "decode", "store", "orders", "alarms", "lake"})
_WITHOUT_DATABASE = frozenset({"bridge", "decode"})

# Rooms that take a second and more to load, which no other role needs. They are loaded before there
# are loops that would stand still for it: their connections to the database would be late.
_LARGE = {"portal": "pbal_hq.portal", "lake": "pbal_hq.lake"}


def idle(config: Config) -> dict[str, str]:
    """The roles that have nothing to do, and why: what is to be set before they have."""
    why = {}
    if not config.lake.url:
        why["lake"] = "no lake is configured: set lake.url (docs/hq-lake.md)"
    if not config.chirpstack.host:
        why["chirpstack"] = "no ChirpStack is configured: set chirpstack.host (docs/gateway.md)"
    if config.alarms.detectors != "storm":
        why["alarms"] = 'detectors run in the portal: set alarms.detectors = "storm"'
    return why


def wanted(config: Config) -> list[str]:
    """The roles that this configuration has something to do for."""
    without = idle(config)
    return [name for name in ROLES if name not in without]


def need_lake(config: Config) -> None:
    """Raises ConfigError where no lake is configured, or its packages are missing."""
    if why := idle(config).get("lake"):
        raise ConfigError(why)
    need_packages()


def need_packages() -> None:
    """Raises ConfigError where those of the lake and of long ranges are missing."""
    for name in ("duckdb", "fsspec", "pyarrow"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"the lake needs the package {name!r}: pip install pbal[hq,lake]")


async def run(config: Config, names: list[str]) -> None:
    """Run these roles until cancelled. Raises HqErrors that keep HQ from starting, and do not pass
    by themselves: roles wait for a database or a bus that is not there yet.
    """
    strange = [name for name in (*names, *config.standby.roles) if name not in ROLES]
    if strange:
        raise ConfigError(f"there is no role {strange[0]}; roles are {', '.join(ROLES)}")
    for name, why in idle(config).items():
        if name in names:
            raise ConfigError(why)
    if "lake" in names:
        need_lake(config)
    # The authority's key is on the machine of these two alone.
    if {"enrol", "house"} & set(names):
        Pki(config.data / "pki").authority()
    for name in names:
        if name in _LARGE:
            importlib.import_module(_LARGE[name])
    if "portal" in names and config.oidc.issuer:
        importlib.import_module("pbal_hq.auth.oidc")
    if "portal" in names and (config.druid.broker or config.lake.url):
        # For its reports; where it is not installed the portal says that the store answers them.
        with contextlib.suppress(ImportError):
            importlib.import_module("pbal_hq.trends")
            if config.lake.url:
                importlib.import_module("pyarrow.dataset")  # see pbal_hq.lake.scan
    async with contextlib.AsyncExitStack() as stack:
        hq = Hq(config)
        database = Awaited("the database", lambda: open_database(hq, stack))
        bus = Awaited("the bus", Opening(hq, stack))
        on_bus = bool({*_ON_THE_BUS, "house"} & set(names))
        supervisor = Supervisor()
        for name in names:
            needs = [bus] if name in _ON_THE_BUS else []
            if name not in _WITHOUT_DATABASE or name in config.standby.roles:
                needs.append(database)
            supervisor.add(name, _bound(name, hq), *needs)
        place = metrics.where(names, wanted(config), list(ROLES), config.metrics)
        supervisor.add("metrics", lambda beat: _metrics(hq, supervisor, place, on_bus, beat))
        log.info("HQ runs", extra={"roles": " ".join(names)})
        await supervisor.run(*([database, bus] if on_bus else [database]))


async def _metrics(
    hq: Hq, supervisor: Supervisor, place: metrics.Where, on_bus: bool, beat: Beat
) -> None:
    """Beside the roles of every process: what it says about them."""
    started_s = time.time()

    async def text() -> bytes:
        # One process alone says what is the same for all.
        fleet = "house" in supervisor.loops
        found = await facts.read(
            hq.config, hq.open_bus, hq.open_database, consumers(hq.config), fleet=fleet
        )
        if on_bus and hq.open_bus is None:
            found.bus_up = False
        now = metrics.Process(place.process, started_s, supervisor.states())
        return metrics.render(now, found)

    def wrong() -> list[str]:
        failing = [each for each in supervisor.states() if each.failing]
        return [f"{each.name}: {' '.join(each.why.split())}" for each in failing]

    async with metrics.serve(hq.config, place, text, wrong):
        while True:
            beat()
            await asyncio.sleep(10)


def _bound(name: str, hq: Hq) -> Callable[[Beat], Awaitable[None]]:
    """A role's loop; of one with standbys, only while this process has the lease."""
    role, standby = ROLES[name], hq.config.standby

    async def body(beat: Beat) -> None:
        await role(hq, beat)

    async def alone(beat: Beat) -> None:
        lease = Lease(hq.database, name, standby.takeover_s)
        await lease.run(lambda: role(hq, beat), beat)

    return alone if name in standby.roles else body
