"""`pbal monitor`: what it makes of a controller's status, and of everything else that answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from rigs import quick

from pbal_tools import statusclient
from pbal_tools.errors import InputError, PeerError, UnreachableError
from pbal_tools.monitor import Watcher
from pbal_tools.picture import Picture, sentence
from pbal_tools.view import link_line

STATUS: dict[str, Any] = {
    "time_s": 1000.0,
    "uptime_s": 61.0,
    "site": {"id": 1, "name": "Mill Lane"},
    "homes_configured": 3,
    "homes_fresh": 2,
    "neutral_current_a": 12.0,
    "neutral_history": [[940.0, 30.0], [950.0, 30.0], [960.0, 12.0]],
    "phase_currents_a": [20.0, 10.0, 8.0],
    "phase_voltages_v": [229.0, 231.0, None],
    "telemetry_age_p95_s": 0.7,
    "frames": {"answers": 100, "lost": 2, "auth_failed": 1, "replayed": 0, "malformed": 1},
    "homes": [
        {"address": 1, "name": "No. 1", "phase": 1, "p_w": 900.0, "age_s": 0.2, "alive": True,
         "flags": []},
        {"address": 2, "name": "", "phase": 2, "p_w": 50.0, "age_s": 0.3, "alive": True,
         "flags": ["fixed"]},
        {"address": 3, "name": "No. 3", "phase": 0, "age_s": 99.0, "alive": False,
         "flags": ["lockout"]},
    ],
    "moves": [
        {"id": 5, "home": 1, "from": 2, "to": 1, "issued_s": 955, "reason": "because",
         "state": "confirmed", "detail": "measured", "transfer_ms": 140},
        {"id": 6, "home": 3, "from": 1, "to": 2, "issued_s": 970, "reason": "so",
         "state": "refused", "detail": "dwell", "transfer_ms": 0},
    ],
}  # fmt: skip

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A controller's status server whose answer a test sets."""

    def __init__(self) -> None:
        self.status = 200
        self.body: str = json.dumps(STATUS)
        self.url = ""
        self.runner: web.AppRunner | None = None

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(status=self.status, text=self.body)

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/api/status", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    await one.start()
    yield one
    await one.stop()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


def test_a_status_becomes_a_picture() -> None:
    picture = Picture("x")
    statusclient.Feed(picture).apply(STATUS)
    assert picture.neutral_a == 12.0
    assert picture.neutral_before_a == 30.0
    assert [home.name for home in picture.homes] == ["No. 1", "2", "No. 3"]
    assert [home.fixed for home in picture.homes] == [False, True, False]
    assert [home.trouble for home in picture.homes] == ["", "", "lockout"]
    newest, oldest = picture.moves
    assert (newest.home, newest.failed, newest.state) == (
        "No. 3",
        True,
        "refused by the node: dwell",
    )
    assert (oldest.home, oldest.done, oldest.state) == ("No. 1", True, "confirmed, 140 ms off")
    assert (picture.link.fresh, picture.link.frames_lost, picture.link.frames_refused) == (2, 2, 2)


def test_a_group_key_on_its_way_and_homes_it_left_behind() -> None:
    picture = Picture("x")
    statusclient.Feed(picture).apply(STATUS)
    assert "group key" not in link_line(picture.link).plain
    behind = [{"address": 3, "state": "not heard"}]
    key = {"number": 2, "next": 3, "homes_with_newest": 2, "homes_behind": behind, "alarm": []}
    statusclient.Feed(picture).apply(STATUS | {"group_key": key})
    assert link_line(picture.link).plain.endswith(" · group key 3 at 2/3")
    assert not picture.link.group_key_alarm
    statusclient.Feed(picture).apply(STATUS | {"group_key": key | {"next": None}})
    assert "group key" not in link_line(picture.link).plain
    statusclient.Feed(picture).apply(STATUS | {"group_key": key | {"next": None, "alarm": [3]}})
    assert link_line(picture.link).plain.endswith(" · 1 without the group key")
    assert picture.link.group_key_alarm


def test_a_node_that_waits_is_told_from_one_that_moves() -> None:
    accepted = STATUS["moves"][0] | {"state": "accepted"}
    assert statusclient.move_line(accepted | {"issued_s": 999}, {}, 1000.0).waiting is False
    assert statusclient.move_line(accepted | {"issued_s": 990}, {}, 1000.0).waiting is True


def test_frame_rate_forgets_a_restart() -> None:
    rate = statusclient.FrameRate()
    assert rate.update(0.0, 100) is None
    assert rate.update(1.0, 150) == 50.0
    assert rate.update(2.0, 10) is None
    assert rate.update(3.0, 30) == 20.0


async def test_nothing_there(session: aiohttp.ClientSession) -> None:
    with pytest.raises(UnreachableError, match="refused"):
        await statusclient.fetch(session, "http://127.0.0.1:9")


async def test_a_token_that_is_asked_for(
    session: aiohttp.ClientSession, server: Server, tmp_path: Path
) -> None:
    server.status, server.body = 401, "token"
    with pytest.raises(InputError, match="asks for its token") as refused:
        await statusclient.fetch(session, server.url)
    assert "--token-file" in refused.value.remedy
    (tmp_path / "token").write_text("abc\n")
    assert statusclient.bearer(tmp_path / "token") == {"Authorization": "Bearer abc"}
    assert statusclient.bearer(None) == {}
    with pytest.raises(InputError, match="cannot be read"):
        statusclient.bearer(tmp_path / "none")


@pytest.mark.parametrize("url", ["street", "127.0.0.1:8480", "ftp://127.0.0.1", "http://", ""])
async def test_no_address(session: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        await statusclient.fetch(session, url)


@pytest.mark.parametrize(
    ("status", "body"), [(404, "no"), (200, "<html>"), (200, "[]"), (200, "{}"), (500, "{}")]
)
async def test_another_program_answers(
    server: Server, session: aiohttp.ClientSession, status: int, body: str
) -> None:
    server.status, server.body = status, body
    with pytest.raises(PeerError, match="not a pbal controller"):
        await statusclient.fetch(session, server.url)


async def test_the_view_outlives_a_restart_of_the_controller(
    server: Server, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbal_tools.monitor.POLL_S", 0.0)
    picture = Picture("x")
    watcher = Watcher(server.url, session, picture)
    await watcher.first()
    assert "Mill Lane" in picture.title
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    assert await watcher.update()
    assert "Trying again" in sentence(picture)
    assert picture.neutral_a == 12.0, "the last picture stays on the screen"
    await server.start(port)
    assert await watcher.update()
    assert picture.stage == "running"
    watcher.stopped.set()
    assert not await watcher.update()


def test_command_line_errors_have_their_codes() -> None:
    assert quick.shared is not None
    for url, wanted in (("http://127.0.0.1:9", 5), ("nonsense", 3)):
        code, _, err = quick.shared.run(["monitor", "--url", url], quick.BARE, Path("/"), 60)
        assert code == wanted
        assert "Traceback" not in err


def test_homes_on_a_radio_come_with_what_they_have_to_spare() -> None:
    radio = {"rssi_dbm": -110.0, "snr_db": -8.0, "sf": 9, "airtime_share": 0.004}
    homes = [
        {"address": 1, "radio": radio, "path": "village"},
        {"address": 2, "radio": None, "path": "street"},
        {"address": 3, "radio": radio | {"snr_db": -12.0}, "path": None},
        {"address": 4, "radio": radio | {"sf": 0}, "path": "village"},
    ]
    lines = statusclient.radio_lines(homes)
    assert [(line.home, line.path, line.spare_db) for line in lines] == [
        ("4", "village", None), ("3", "", 0.5), ("1", "village", 4.5),
    ]  # fmt: skip


def test_what_else_is_on_a_channel_is_told_in_one_line() -> None:
    assert statusclient.channel_note([{"name": "wire"}, {"name": "air", "neighbours": 0}]) == ""
    found = statusclient.channel_note([{"name": "air", "neighbours": 2, "jammed": 1, "forged": 3}])
    assert found == "air is jammed, air: false beacons, air: 2 neighbours"
