"""Who uses HQ while its programs change: a person at the portal, and sites that enrol and renew."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from pathlib import Path

import httpx

from pbal_controller.errors import BearerError
from pbal_controller.uplink import KeyFile, certificate, enrolment
from pbal_engines import Service
from pbal_hq.failover import balancer
from pbal_sim.hq import free_port
from rigs import people
from rigs.hq import Headquarters
from rigs.needs import require_tool


class Portals:
    """Portals of this computer behind HAProxy, as `pbal-hq portal balancer` configures it."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.ports = ports
        front = free_port()
        self.address = f"http://127.0.0.1:{front}"
        conf = folder / "haproxy.cfg"
        named = [f"127.0.0.1:{port}" for port in ports]
        conf.write_text(balancer(named, f"127.0.0.1:{front}", None, None))
        program = require_tool("haproxy", "haproxy")
        self._service = Service("haproxy", [program, "-db", "-f", conf], folder / "haproxy")

    def start(self) -> None:
        self._service.start()

    def stop(self) -> None:
        self._service.stop()

    def said(self, number: int, state: str) -> int:
        """How often it noticed that a portal (0, 1, ...) is "UP" or "DOWN"."""
        found = self._service.log.read_text(errors="replace")
        return found.count(f"instances/portal{number + 1} is {state}")


class Person:
    """Somebody who logged in once and looks at page after page. `codes`: what came of each."""

    def __init__(self, portals: Portals) -> None:
        self._portals = portals
        self.codes: list[int] = []
        self.slowest_s = 0.0
        self._client = httpx.AsyncClient(base_url=portals.address, timeout=60)

    async def log_in(self) -> None:
        said = await self._client.post(
            "/login", headers={"origin": self._portals.address},
            data={"name": "operator-whole", "password": people.PASSWORD, "code": people.code()},
        )  # fmt: skip
        assert said.status_code == 303, said.text[-500:]

    async def look(self) -> None:
        """Page after page, for ever; each shows the alarm."""
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            page = await self._client.get("/alarms")
            self.slowest_s = max(self.slowest_s, clock() - begun)
            self.codes.append(page.status_code)
            assert "secret-T1" in page.text, page.text[-500:]
            await asyncio.sleep(0.1)

    async def sees(self, number: int) -> bool:
        """Whether a portal shows the page to this session, asked without the balancer."""
        page = await self._client.get(f"http://127.0.0.1:{self._portals.ports[number]}/alarms")
        return page.status_code == 200 and "secret-T1" in page.text

    async def close(self) -> None:
        await self._client.aclose()


class Newcomers:
    """Sites that come one after the other: each enrols with its token, and renews.

    Each asks the one address first and the next the other; where nobody answers, the other one.

    held : site -> serials of the certificates that it was given.
    given_by : the address of each certificate.
    lost : how often nobody answered.
    """

    def __init__(self, hq: Headquarters, folder: Path, ports: list[int]) -> None:
        self._hq, self._folder = hq, folder
        self.addresses = [f"https://localhost:{port}" for port in ports]
        self.held: dict[int, list[int]] = {}
        self.given_by: list[str] = []
        self.lost = 0
        self._turn = itertools.cycle(range(len(ports)))

    async def come(self) -> None:
        """For ever."""
        self._folder.mkdir()
        for site in itertools.count(1001):
            await self.join(site)
            await asyncio.sleep(0.5)

    async def join(self, site: int) -> None:
        token = await self._hq.add_site(site, group="north")
        key = KeyFile(self._folder / f"{site}.key")
        pem, ca = self._folder / f"{site}.crt", self._folder / "ca.crt"
        self.held[site] = []

        async def first(url: str) -> enrolment.Given:
            trusted = await enrolment.authority(url, token)
            ca.write_text(trusted)
            csr = certificate.request(key, str(site))
            return await enrolment.enrol(url, token, csr, trusted)

        async def following(url: str) -> enrolment.Given:
            return await enrolment.renew(url, certificate.request(key, str(site)), ca, pem, key)

        for ask in (first, following):
            given = await self._answered(ask)
            now = datetime.datetime.now(datetime.UTC)
            certificate.install(pem, key, given.certificate, given.authority, now)
            self.held[site].append(certificate.read(pem).serial_number)

    async def _answered(self, ask) -> enrolment.Given:
        """The answer of whoever answers; a refusal is raised."""
        for number in itertools.count(next(self._turn)):
            url = self.addresses[number % len(self.addresses)]
            try:
                given = await ask(url)
            except BearerError as error:
                if "refused" in str(error) and "HTTP" in str(error):
                    raise
                self.lost += 1
                await asyncio.sleep(0.2)
            else:
                self.given_by.append(url)
                return given
        raise AssertionError
