"""Tables of the link to HQ: this site's own, LoRaWAN's, and a gateway's for the sites behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pbal_controller.config.tables import Seconds
from pbal_controller.naming import Name
from pbal_host.tables import Table

# An id within a Sparkplug topic: no level separator, no wildcard.
TopicId = Annotated[str, Field(pattern=r"^[^/+#\x00-\x1f]{1,64}$")]
HqCommand = Literal["mode", "limits", "rebirth", "rollout", "reading"]
Eui = Annotated[str, Field(pattern="^[0-9a-fA-F]{16}$")]


class LorawanConfig(Table):
    """A LoRaWAN modem on a serial port (docs/gateway.md)."""

    # A file of boards/modems by its name, or the path of one.
    modem: str = Field(max_length=4096)
    port: str = Field(min_length=1)
    # As the modem's file has it.
    baud: int | None = Field(default=None, ge=1200, le=1_000_000)
    # As the modem's file names them, e.g. "EU868".
    region: str = Field(min_length=1, max_length=16)
    join_eui: Eui
    # The modem's own by default.
    dev_eui: Eui | None = None
    # A file of mode 600 with the 32 hex digits of the AppKey.
    app_key_file: Path
    # The network chooses the data rate; else this one is kept.
    adr: bool = True
    data_rate: int = Field(default=0, ge=0, le=15)
    # The shortest time between two messages beside what the region's duty cycle asks.
    every_s: float = Field(default=10.0, ge=1, le=3600)


class UplinkConfig(Table):
    """Summaries, events and state for HQ (docs/uplink.md).

    `null` sends nothing: the outbox keeps the latest summaries. `sparkplug` is Sparkplug B over
    MQTT with TLS 1.3 and this site's certificate. `lora` is the radio link to a gateway, which
    publishes for this site; `lorawan` a modem on a LoRaWAN network (docs/gateway.md).
    """

    kind: Literal["null", "sparkplug", "lora", "lorawan"] = "null"
    # Of kind lora: the [radio.NAME] of the link, which no home uses.
    radio: Name = ""
    # Of kind lorawan.
    lorawan: LorawanConfig | None = None
    # A summary of so long a time; windows end on the clock.
    window_s: int = Field(default=300, ge=10, le=3600)
    # More than these are thinned out, the oldest first.
    max_summaries: int = Field(default=20_000, ge=100, le=1_000_000)
    host: str = ""
    port: int = Field(default=8883, ge=1, le=65535)
    # Sparkplug's group id (a region, say) and edge node id (default: the site's number).
    group: TopicId = "pbal"
    node: TopicId | None = None
    # The authority that signed the broker's certificate, and its list of revoked ones.
    ca: Path | None = None
    crl: Path | None = None
    # This site's own certificate and key.
    certificate: Path | None = None
    key: Path | None = None
    # HQ's enrolment endpoint, which renews the certificate; empty: it is not renewed.
    renew_url: str = Field(default="", pattern=r"^(https://[^/?#@\s]+/?)?$")
    mqtt: Literal["3.1.1", "5"] = "5"
    # One metric of bytes a message, or one metric a field, for hosts that are not pbal's.
    form: Literal["packed", "plain"] = "packed"
    # Who acknowledges that a message is stored: HQ itself, or the broker that took it (QoS 1).
    acknowledged_by: Literal["host", "broker"] = "host"
    # Sparkplug's primary host: nothing is sent while it is offline. Empty: not checked.
    primary_host: str = Field(default="", pattern=r"^[^/+#\x00-\x1f]{0,64}$")
    keepalive_s: int = Field(default=900, ge=15, le=3600)
    # Summaries of many sites do not all come in the same second.
    spread_s: float = Field(default=60.0, ge=0, le=600)
    # What waited while HQ was away goes out at this rate, after what is new.
    replay_per_s: float = Field(default=5.0, gt=0, le=1000)
    # Not acknowledged after this long: sent again. HQ acknowledges once an hour.
    resend_s: Seconds = 7200.0
    # The longest pause between two attempts to connect; a modem's bytes cost money.
    retry_s: float = Field(default=900.0, ge=1, le=86400)
    # HQ's command keys (Ed25519, public, hex), and which commands this site takes.
    hq_keys: tuple[Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")], ...] = ()
    allow: tuple[HqCommand, ...] = ("rebirth", "reading")

    @model_validator(mode="after")
    def _complete(self) -> UplinkConfig:
        if self.kind in ("lora", "lorawan"):
            return self._complete_brief()
        if self.kind == "null":
            return self
        for name in ("host", "ca", "certificate", "key"):
            if not getattr(self, name):
                raise ValueError(
                    f'kind "sparkplug" needs {name}; docs/operations.md (Uplink) has an example'
                )
        return self

    def _complete_brief(self) -> UplinkConfig:
        if self.window_s % 60:
            raise ValueError(
                f'kind "{self.kind}" sends windows of whole minutes; make window_s a multiple of '
                f"60, not {self.window_s}"
            )
        if self.kind == "lora" and not self.radio:
            raise ValueError(
                'kind "lora" needs radio, the name of a [radio.NAME] table; docs/gateway.md has an '
                "example"
            )
        if self.kind == "lora" and self.acknowledged_by != "host":
            raise ValueError('kind "lora" is acknowledged by the host; leave acknowledged_by out')
        if self.kind == "lorawan" and self.lorawan is None:
            raise ValueError(
                'kind "lorawan" needs a table [uplink.lorawan] with port, modem, region, join_eui '
                "and app_key_file; docs/gateway.md has an example"
            )
        if self.kind == "lorawan" and "acknowledged_by" not in self.model_fields_set:
            raise ValueError(
                'kind "lorawan" needs acknowledged_by: "broker", the network server by its '
                'acknowledgement; or "host", where HQ itself sends STORED down (docs/gateway.md)'
            )
        return self


class GatewaySite(Table):
    """A site whose messages this gateway brings to HQ. Its key is in the key store
    (`pbal-controller keys link`).
    """

    site: int = Field(ge=1, le=0xFFFFFFFF)
    # Its name as a Sparkplug device; by default the site's number.
    node: TopicId | None = None


class GatewayConfig(Table):
    """Role gateway: sites without a link of their own reach HQ over it (docs/gateway.md)."""

    # The [radio.NAME] of the link, which no home uses.
    radio: Name
    site: tuple[GatewaySite, ...] = Field(min_length=1, max_length=20)
    # A site that was not heard for so long counts as gone, until it is heard again.
    silent_s: float = Field(default=1800.0, ge=30, le=86400)
    # Of each site at most so many messages wait here; more stay at the site.
    max_waiting: int = Field(default=5000, ge=100, le=1_000_000)

    @model_validator(mode="after")
    def _distinct(self) -> GatewayConfig:
        for what, values in (
            ("site", [str(each.site) for each in self.site]),
            ("node", [each.node or str(each.site) for each in self.site]),
        ):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two gateway.site tables have {what} {twice}; keep one")
        return self
