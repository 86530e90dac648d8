"""The settings of a UDP bearer, and where a home is on it."""

from __future__ import annotations

import importlib.util
import ipaddress
import re

from pydantic import Field, field_validator

from pbal_controller.bearers.base import Where
from pbal_host.tables import Table
from pbal_protocol.datagram import PORT

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class UdpConfig(Table):
    """One UDP port that homes speak to, over Wi-Fi, Ethernet or PPP."""

    # The address of this computer that it listens at; 0.0.0.0 or ::, all of them.
    host: str = "0.0.0.0"
    port: int = Field(default=PORT, ge=0, le=65535)
    # A home that has not answered after this long is taken for silent this time.
    answer_timeout_ms: float = Field(default=400.0, ge=5, le=10_000)
    # So many requests a second, over all homes, and so many on their way at a time.
    per_s: float = Field(default=100.0, ge=1, le=2000)
    window: int = Field(default=32, ge=1, le=1024)
    # Also answer to NAME.local by multicast DNS; not needed where the computer does so itself.
    mdns: str = ""

    @field_validator("host")
    @classmethod
    def _an_address(cls, host: str) -> str:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(
                f"{host!r} is no address; write one of this computer's, or 0.0.0.0 for all"
            ) from None
        return host

    @field_validator("mdns")
    @classmethod
    def _a_name(cls, name: str) -> str:
        label = name.removesuffix(".local")
        if name and not _LABEL.fullmatch(label):
            raise ValueError(
                f"{name!r} is no name for mdns; use small letters, digits and -, as in "
                'mdns = "pbal-7"'
            )
        if name and importlib.util.find_spec("zeroconf") is None:
            raise ValueError(
                "mdns needs the package zeroconf: install pbal[mdns], or leave mdns out and give "
                "the nodes this computer's own name (avahi answers NAME.local) or its address"
            )
        return label


def locate(settings: UdpConfig, address: int, at: object) -> Where:
    """A home is known by its site address, which its frames carry; its place is learnt."""
    if at is not None:
        raise ValueError(f"at = {at!r}: a home over UDP says by itself where it is; leave `at` out")
    return address
