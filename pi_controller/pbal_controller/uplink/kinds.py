"""Which link to HQ the configuration names, and the gateway for other sites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pbal_controller.config import Config
from pbal_controller.journal import AsyncJournal
from pbal_controller.keys import KeyStore
from pbal_controller.uplink.commands import Commands
from pbal_controller.uplink.gateway import Gateway
from pbal_controller.uplink.link import Uplink
from pbal_controller.uplink.lora import LoraUplink
from pbal_controller.uplink.lorawan import LorawanUplink
from pbal_uplink import State, Summary

Link = Uplink | LoraUplink | LorawanUplink


def gateway_of(
    config: Config,
    keys: KeyStore,
    journal: AsyncJournal,
    wall: Callable[[], float],
    wake: Callable[[], None],
) -> Gateway | None:
    """The gateway for the sites that the configuration names; None without one."""
    given = config.gateway
    if given is None:
        return None
    roots = {each.site: keys.link(each.site) for each in given.site}
    return Gateway(
        journal, given, config.radio[given.radio], roots, config.uplink.resend_s, wall, wake
    )


def link_of(
    config: Config,
    keys: KeyStore,
    journal: AsyncJournal,
    state: Callable[[int, int], State],
    commands: Commands,
    reading: Callable[[], Awaitable[Summary | None]],
    wall: Callable[[], float],
    gateway: Gateway | None,
) -> Link:
    """The link of the configured kind. Raises ConfigError, KeyStoreError."""
    uplink, site = config.uplink, config.site.id
    if uplink.kind == "lora":
        return LoraUplink(
            journal, uplink, config.radio[uplink.radio], keys.link(site), site, state, commands,
            reading, wall,
        )  # fmt: skip
    if uplink.kind == "lorawan":
        return LorawanUplink(journal, uplink, state, commands, reading)
    return Uplink(journal, uplink, site, state, commands, reading, wall, gateway, keys.tls_secret())
