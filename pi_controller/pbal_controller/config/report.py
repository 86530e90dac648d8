"""What a configuration means, in words for a person: `pbal-controller check-config`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from pbal_controller.config.whole import Config
from pbal_host import counted

if TYPE_CHECKING:
    from pbal_controller.balancing import PlannerConfig


def _homes_on(config: Config, bearer: str) -> int:
    return sum(any(way.bearer == bearer for way in home.ways) for home in config.home)


def describe(config: Config, core: PlannerConfig, keys: str) -> list[str]:
    """The lines. `core`: the planner's settings; `keys`: what the key store holds, in words."""
    name = f" {config.site.name!r}" if config.site.name else ""
    out = [f"site {config.site.id}{name}"]
    for name, bus in config.bus.items():
        count = _homes_on(config, name)
        out.append(f"bus {name}: {bus.port}, {bus.baud} baud, 8{bus.parity}{bus.stop_bits}, "
                   f"{counted(count, 'home')}")  # fmt: skip
    for name, bearer in config.bearer.items():
        count = _homes_on(config, name)
        out.append(f"bearer {name}: {bearer.kind}, {counted(count, 'home')}")
    for home in config.home:
        mark = ", fixed" if home.fixed else ""
        ways = "; then ".join(
            f"bus {bearer}, unit {where}" if bearer in config.bus else f"bearer {bearer}, {where}"
            for bearer, where in config.ways(home)
        )
        out.append(f"  home {home.address}: {ways}{mark}"
                   f"{', ' + home.name if home.name else ''}")  # fmt: skip
    p = config.planner
    if p.enabled:
        limit = f", at once above {p.phase_limit_a:.0f} A" if p.phase_limit_a else ""
        out += [
            f"planner: every {p.every_s:g} s{limit}; at most {p.max_moving_share:.0%} of homes "
            f"moving; needs {p.min_fresh_share:.0%} fresher than {p.max_age_s:g} s",
            *_choice(core),
        ]
    else:
        out.append("planner: off, nothing is ever moved")
    out.append(f"commands: expire after {config.dispatch.ttl_s} s, "
               f"confirmed by measurement within {config.dispatch.confirm_s:g} s")  # fmt: skip
    if config.plausibility.strict:
        out.append("one home's word: bounded against every earlier moment (plausibility.strict)")
    meter = config.transformer.meter
    named = f", profile {meter.profile}" if meter and meter.profile else ""
    out.append(f"transformer meter: {meter.kind if meter else 'none'}{named}")
    out += _uplink(config)
    standby = config.standby
    if standby is not None:
        out.append(
            f"standby: this is {standby.member}, the other one listens at {standby.peer}, this one "
            f"at {standby.host}:{standby.port}; taken over after {standby.take_s:g} s of silence"
        )
    out.append(f"journal: {config.journal.path}")
    out.append(f"keys: {config.keys.file}, {keys}")
    http = config.http
    out.append(f"status: http://{http.host}:{http.port}/" if http.enabled else "status: off")
    if http.enabled and http.token_file is not None:
        out.append(f"  readers show the token in {http.token_file}")
    return out


def _choice(core: PlannerConfig) -> list[str]:
    """By what homes are chosen; then what else of the planner's settings is not as usual."""
    usual = type(core)()
    budget = core.wear_budget_per_day
    wear = (
        f"a fixed price of {core.price or 0:g}"
        if budget is None
        else f"{budget:g} switching{'s' * (budget != 1)} a day for each home in the mean"
    )
    out = [
        f"  wear: {wear}; of one home at most {core.daily_cap} in 24 h, "
        f"{core.dwell_s / 60:g} min apart"
    ]
    if core.limits_a is not None:
        import numpy as np

        limits = np.atleast_1d(np.asarray(core.limits_a, float))
        out.append(f"  phase limit: {', '.join(f'{amps:g}' for amps in limits)} A")
    said = (
        "price",
        "wear_budget_per_day",
        "daily_cap",
        "dwell_s",
        "limits_a",
        "resistance",
        "fixed",
    )
    others = [
        f"{each.name} = {getattr(core, each.name)}"
        for each in fields(core)
        if each.name not in said and getattr(core, each.name) != getattr(usual, each.name)
    ]
    return [*out, f"  other than usual: {', '.join(others)}"] if others else out


def _uplink(config: Config) -> list[str]:
    u = config.uplink
    if u.kind == "null":
        return ["uplink: none"]
    if u.kind == "lora":
        return [f"uplink: LoRa over radio {u.radio} to a gateway, every {u.window_s} s"]
    if u.lorawan is not None and u.kind == "lorawan":
        w = u.lorawan
        return [f"uplink: LoRaWAN {w.region}, {w.modem} on {w.port}, every {u.window_s} s"]
    node = u.node or str(config.site.id)
    out = [
        f"uplink: {u.host}:{u.port}, Sparkplug {u.group}/{node}, {u.form}, every {u.window_s} s, "
        f"acknowledged by the {u.acknowledged_by}"
    ]
    out.append(f"  certificate: renewed at {u.renew_url or 'no address, by hand'}")
    if u.hq_keys:
        out.append(f"  commands of {len(u.hq_keys)} HQ keys: {', '.join(u.allow) or 'none'}")
    else:
        out.append("  commands: none, there is no HQ key")
    if config.gateway is not None:
        g = config.gateway
        sites = ", ".join(str(each.site) for each in g.site)
        out.append(f"gateway: over radio {g.radio} for site{'s' * (len(g.site) > 1)} {sites}")
    return out
