"""Facts, roles and counts as families of Prometheus: prefix pbal_hq_, base units.

What could not be read is left out, so that no old figure stands for a new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pbal_hq import __version__
from pbal_hq.metrics.counts import REGISTRY
from pbal_hq.metrics.facts import ENDED_ORDERS, OPEN_ORDERS, Facts
from pbal_hq.supervisor import RoleState

Samples = Iterable[tuple[Sequence[str], float]]


@dataclass(frozen=True)
class Process:
    """The process: its name, as its target file has it, and its roles."""

    name: str
    started_s: float
    roles: Sequence[RoleState]


def _gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"pbal_hq_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(f"pbal_hq_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _process(process: Process) -> Iterator[Metric]:
    yield _gauge("build_info", "Version of HQ.", ["version"], [([__version__], 1)])
    yield _gauge("uptime_seconds", "Time since start.", [],
                 [([], time.time() - process.started_s)])  # fmt: skip
    roles = process.roles
    yield _gauge("role_last_success_age_seconds", "Age of a role's last success.", ["role"],
                 [([role.name], role.success_age_s) for role in roles])  # fmt: skip
    yield _gauge("role_failing", "1 while a role does not work, or waits.", ["role"],
                 [([role.name], role.failing) for role in roles])  # fmt: skip
    yield _counter("role_restarts", "Restarts of a role.", ["role"],
                   [([role.name], role.restarts) for role in roles])  # fmt: skip


def _database(facts: Facts) -> Iterator[Metric]:
    yield _gauge("database_up", "1 while the database answers this process.", [],
                 [([], facts.database_up)])  # fmt: skip
    pool = facts.pool
    size, idle = pool.get("pool_size", 0), pool.get("pool_available", 0)
    yield _gauge("database_connections", "Connections of this process, by what they do.",
                 ["state"], [(["idle"], idle), (["busy"], size - idle)])  # fmt: skip
    yield _gauge("database_connections_limit", "The most connections that it may have.", [],
                 [([], pool.get("pool_max", 0))])  # fmt: skip
    yield _gauge("database_waiting", "What waits for a connection now.", [],
                 [([], pool.get("requests_waiting", 0))])  # fmt: skip


def _fleet(facts: Facts) -> Iterator[Metric]:
    fleet = facts.fleet
    if fleet is None:
        return
    yield _gauge("sites", "Sites that are not removed, by state.", ["state"],
                 [([state], n) for state, n in fleet.sites.items()])  # fmt: skip
    if fleet.newest_window_age_s is not None:
        yield _gauge("newest_window_age_seconds",
                     "Since the start of the newest window that is stored.", [],
                     [([], fleet.newest_window_age_s)])  # fmt: skip
    yield _gauge("alarms_open", "Alarms that are not over.", ["severity", "acknowledged"],
                 [([word, "yes" if seen else "no"], n) for (word, seen), n in fleet.alarms.items()]
                 )  # fmt: skip
    yield _gauge("orders_open", "Orders to sites without an end yet.", ["status"],
                 [([each], fleet.orders[each]) for each in OPEN_ORDERS])  # fmt: skip
    yield _counter("orders_ended", "Orders to sites by their end.", ["status"],
                   [([each], fleet.orders[each]) for each in ENDED_ORDERS])  # fmt: skip
    yield _gauge("sites_renewal_late", "Sites whose certificate ends in less than 14 days.", [],
                 [([], fleet.certificates_ending)])  # fmt: skip


def _host(facts: Facts) -> Iterator[Metric]:
    if facts.bus_up is not None:
        yield _gauge("bus_up", "1 while the bus answers this process.", [], [([], facts.bus_up)])
    if facts.lag is not None:
        yield _gauge("bus_lag_records", "Records that a group of consumers has before it.",
                     ["group", "topic"], [(key, n) for key, n in facts.lag.items()])  # fmt: skip
    if facts.bus_free_bytes is not None:
        yield _gauge("data_free_bytes", "Free on the disk of HQ's data and bus.", [],
                     [([], facts.bus_free_bytes)])  # fmt: skip
    if facts.certificates_left_s:
        yield _gauge("certificate_left_seconds",
                     "For how long HQ's own certificates and its revocation list are good.",
                     ["certificate"],
                     [([name], s) for name, s in facts.certificates_left_s.items()])  # fmt: skip


class _Now(Collector):
    def __init__(self, process: Process, facts: Facts) -> None:
        self._process, self._facts = process, facts

    def collect(self) -> Iterator[Metric]:
        yield from _process(self._process)
        yield from _database(self._facts)
        yield from _fleet(self._facts)
        yield from _host(self._facts)


def render(process: Process, facts: Facts) -> bytes:
    """All metrics of this process, in Prometheus' text format 0.0.4."""
    now = CollectorRegistry()
    now.register(_Now(process, facts))
    ProcessCollector(registry=now)
    return generate_latest(now) + generate_latest(REGISTRY)
