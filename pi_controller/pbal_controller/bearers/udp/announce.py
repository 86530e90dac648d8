"""Answers to NAME.local by multicast DNS, with the package zeroconf (extra `mdns`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

SERVICE = "_pbal._udp.local."


@contextlib.asynccontextmanager
async def announced(name: str, host: str, port: int) -> AsyncIterator[None]:
    """While inside, this computer answers to `name`.local, and lists the service.

    A name that cannot be announced is logged once: homes with an address of ours need none.
    """
    if not name:
        yield
        return
    from zeroconf import Error as MdnsError
    from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

    everywhere = host in ("0.0.0.0", "::")
    made, telling = None, None
    try:
        made = AsyncZeroconf(
            interfaces=InterfaceChoice.All if everywhere else [host], ip_version=IPVersion.V4Only
        )
        addresses = _own_addresses() if everywhere else [host]
        info = ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            port=port,
            server=f"{name}.local.",
            parsed_addresses=addresses,
        )
        telling = await made.async_register_service(info, allow_name_change=False)
        log.info("answers by mDNS", extra={"host": f"{name}.local", "addresses": addresses})
    except (OSError, MdnsError) as error:
        log.error(
            "cannot answer by mDNS",
            extra={
                "host": f"{name}.local",
                "why": str(error) or type(error).__name__,
                "remedy": "another name, or nodes with this computer's address",
            },
        )
    try:
        yield
    finally:
        if isinstance(telling, asyncio.Future):
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        if made is not None:
            await made.async_close()


def _own_addresses() -> list[str]:
    import ifaddr

    return [
        str(ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) and not ip.ip.startswith("127.")
    ] or [socket.gethostbyname(socket.gethostname())]
