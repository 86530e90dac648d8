"""Fake nodes on a pty: what the status server says, for people, programs and Prometheus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import aiohttp
from rigs import needs

from .conftest import Site, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


async def test_http(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1), FakeNode(2, phase=2))
    site.changes["http"] = {"port_file": "http.port"}
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 3)
        await until(lambda: (site.folder / "http.port").exists())
        port = int((site.folder / "http.port").read_text())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            status = await (await http.get("/api/status")).json()
            assert status["homes_alive"] == 2
            assert status["homes"][0]["phase"] == 1
            assert status["switches"]["ordered"] == 0
            one = await (await http.get("/api/homes/2")).json()
            assert one["hello"]["firmware"] == "1.2.3"
            missing = await http.get("/api/homes/99")
            assert missing.status == 404
            assert "addresses are 1, 2" in (await missing.json())["error"]
            page = await (await http.get("/")).text()
            assert "http://" not in page.replace("http://www.w3.org", "")
            assert "https://" not in page
            metrics = await (await http.get("/metrics")).text()
            check_exposition(metrics)
            assert 'pbal_home_up{home="2"} 1' in metrics
            stream = await http.get("/events")
            await c.dispatcher.order(home, 3, "a test", 1.0)
            kinds = []
            async with asyncio.timeout(needs.PATIENCE_S):
                while "confirmed" not in kinds:
                    line = (await stream.content.readline()).decode()
                    if line.startswith("data:"):
                        kinds.append(json.loads(line[5:]).get("state"))
            stream.close()
            assert kinds.index("journaled") < kinds.index("confirmed")
            moves = (await (await http.get("/api/moves")).json())["moves"]
            assert moves[0]["reason"] == "a test"
            assert (await http.get("/healthz")).status == 200
            assert (await http.post("/api/status")).status == 405
            foreign = await http.get("/api/status", headers={"Host": "evil.example"})
            assert foreign.status == 403
        await until(lambda: c.streams.readers == 0)


def check_exposition(text: str) -> None:
    """Every sample belongs to a declared family, each family is declared once, together."""
    declared: list[str] = []
    current = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
            assert current not in declared
            declared.append(current)
            assert current.startswith("pbal_")
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name.split("{")[0] == current
            float(value.replace("+Inf", "inf"))
