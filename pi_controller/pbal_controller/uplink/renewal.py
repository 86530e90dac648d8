"""Keeps this site's certificate valid, and its key sealed.

It is renewed when a third of its validity is left. A key in the clear is sealed when this version
has run for an hour: by then it is not taken back for an older one that could not read it.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from pbal_controller.config import UplinkConfig
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.journal import AsyncJournal, note_change
from pbal_controller.loops import Backoff
from pbal_controller.uplink import certificate, enrolment
from pbal_controller.uplink.keyfile import KeyFile

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 3600.0
_RETRY_FIRST_S, _RETRY_MOST_S = 600.0, 6 * 3600.0
_STEP_S = 30.0
_SEAL_AFTER_S = 3600.0


class Renewal:
    """One loop: looks every hour, asks HQ when it is time, again later when HQ is away."""

    def __init__(
        self,
        config: UplinkConfig,
        site: int,
        journal: AsyncJournal,
        wall: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        secret: bytes = b"",
    ) -> None:
        """`wall` gives unix time, s. A renewal is noted in the journal's audit log, and the seal.

        `secret`: what the key is sealed with (`KeyStore.tls_secret`).
        """
        assert config.certificate is not None, "the tables see to it"
        assert config.key is not None
        assert config.ca is not None
        self._url = config.renew_url
        self._certificate: Path = config.certificate
        self._key = KeyFile(config.key, secret)
        self._ca: Path = config.ca
        self._name = config.node or str(site)
        self._wall = wall
        self._journal = journal
        self._sleep = sleep
        self._said = ""
        self._ran_s = 0.0
        self._unsealed = ""  # why the key stays in the clear, as it was logged
        self.renewed_total = 0

    async def run(self, beat: Callable[[], None]) -> None:
        """Until cancelled."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while True:
            await self._seal()
            why = await self.look()
            if why and why != self._said:
                log.error("the site's certificate is not renewed", extra={"why": why})
            elif self._said and not why:
                log.info("the site's certificate is good again", extra={"was": self._said})
            self._said = why
            if not why:
                backoff.reset()
            left = backoff.next() if why else _LOOK_EVERY_S
            while left > 0:
                beat()
                step_s = min(left, _STEP_S)
                await self._sleep(step_s)
                left -= step_s
                self._ran_s += step_s

    async def _seal(self) -> None:
        if self._ran_s < _SEAL_AFTER_S:
            return
        try:
            if not await asyncio.to_thread(self._key.seal):
                return
        except (ConfigError, OSError) as error:
            if str(error) != self._unsealed:
                log.warning("the uplink's key stays in the clear", extra={"why": str(error)})
            self._unsealed = str(error)
            return
        log.info("the uplink's key was in the clear and is sealed now")
        await self._journal.call(note_change, "certificate", "key", "sealed")

    async def look(self) -> str:
        """Renew it if it is time. Why that failed; empty when it did not, or was not due."""
        if not self._url:
            return ""
        now = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC)
        try:
            await asyncio.to_thread(certificate.settle, self._certificate, self._key)
            present = await asyncio.to_thread(certificate.read, self._certificate)
            if not certificate.is_due(present, now):
                return ""
            if present.not_valid_after_utc <= now:
                return (
                    f"it expired on {present.not_valid_after_utc:%Y-%m-%d} and renews nothing any "
                    "more; a new token: pbal-hq site token, then pbal-controller enrol"
                )
            csr = await asyncio.to_thread(certificate.request, self._key, self._name)
            given = await enrolment.renew(self._url, csr, self._ca, self._certificate, self._key)
            trusted = await asyncio.to_thread(self._ca.read_text, "ascii")
            await asyncio.to_thread(
                certificate.install, self._certificate, self._key, given.certificate, trusted, now
            )
        except (BearerError, ConfigError) as error:
            return str(error)
        made = await asyncio.to_thread(certificate.read, self._certificate)
        self.renewed_total += 1
        until = f"{made.not_valid_after_utc:%Y-%m-%d}"
        log.info("the site's certificate was renewed", extra={"until": until})
        serial = f"{made.serial_number:x}"
        await self._journal.call(note_change, "certificate", serial, f"valid until {until}")
        return ""
