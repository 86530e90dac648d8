"""Notices: who gets which, once, together, again after a failure; none is lost by a kill."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from aiohttp import web
from rigs import people
from rigs.needs import PATIENCE_S, long_tests, require_module

from pbal_hq import alarms, notify
from pbal_hq.config import Config, NotifyConfig
from pbal_sim.childprocess import die_with_parent

pytestmark = pytest.mark.timeout(600)
WHY = "crew is there"


class Box:
    """An SMTP server and a web server on loopback that keep what they get."""

    def __init__(self):
        self.mails, self.posts, self.refuse = [], [], 0

    async def handle_DATA(self, server, session, envelope):
        if self.refuse:
            self.refuse -= 1
            return "451 try later"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((tuple(envelope.rcpt_tos), mail))
        return "250 taken"

    async def post(self, request):
        body = await request.read()
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        self.posts.append((request.path, dict(request.headers), body))
        return web.Response(status=204)


@pytest.fixture
async def box():
    require_module("aiosmtpd", "dev")
    from aiosmtpd.smtp import SMTP

    made = Box()
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(lambda: SMTP(made, loop=loop), "127.0.0.1", 0)
    made.smtp = smtp.sockets[0].getsockname()[1]
    app = web.Application()
    app.router.add_post("/{path}", made.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.web = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield made
    smtp.close()
    await runner.cleanup()


@pytest.fixture
async def conn(peopled):
    return peopled


def config(box, *routes, url="", quiet_s=0, **alarm_tables):
    smtp = {"host": "127.0.0.1", "port": box.smtp, "sender": "hq@example.org"}
    return Config.model_validate(
        {"database": {"url": url}, "alarms": alarm_tables,
         "notify": {"smtp": smtp, "quiet_s": quiet_s, "portal_url": "https://hq.example.org",
                    "routes": routes}}
    )  # fmt: skip


MAIL = {"name": "desk", "kind": "email", "to": ["desk@example.org"]}


async def passes(conn, settings, now=None):
    return await notify.one_pass(conn, settings, notify.Senders(settings.notify), now)


async def raised(conn, where, kind="voltage", severity=2):
    return await alarms.raise_alarm(
        conn, conn.fleet.transformers[where], kind, 0, severity, "198 V", datetime.now(UTC)
    )


async def test_a_mail_for_each_change_and_none_for_a_repetition(conn, box):
    settings = config(box, MAIL)
    await raised(conn, "T1", severity=1)
    assert await passes(conn, settings) == 1
    assert await passes(conn, settings) == 0
    await raised(conn, "T1", severity=1)
    assert await passes(conn, settings) == 0, "counted at the open alarm, not told again"
    await raised(conn, "T1", severity=2)
    await alarms.settle(conn, conn.fleet.transformers["T1"], "voltage", 0, "over")
    assert await passes(conn, settings) == 1
    to, first = box.mails[0]
    assert to == ("desk@example.org",)
    assert first["Subject"] == "pbal warning raised: T1 voltage"
    assert "Kerala / Ernakulam / Aluva / Mill" in first.get_content()
    assert "https://hq.example.org/alarms/1" in first.get_content()
    assert first["Auto-Submitted"] == "auto-generated"
    second = box.mails[1][1]
    assert second["Subject"] == "pbal alarms: 1 worse, 1 closed"
    assert second["Message-ID"] != first["Message-ID"]


async def test_routes_take_what_they_are_for(conn, box):
    settings = config(
        box,
        {"name": "north", "kind": "webhook", "url": f"{box.web}/north", "area": "KL/EKM/D1"},
        {"name": "grave", "kind": "webhook", "url": f"{box.web}/grave", "least": "alarm",
         "closed": False},
        {"name": "volts", "kind": "webhook", "url": f"{box.web}/volts", "kinds": ["voltage"]},
    )  # fmt: skip
    await raised(conn, "T1", "voltage", 1)
    await raised(conn, "T2", "silence", 2)
    await passes(conn, settings)
    await alarms.settle(conn, conn.fleet.transformers["T2"], "silence", 0, "over")
    await passes(conn, settings)
    got = [(path, [(c["transformer"], c["change"]) for c in json.loads(body)["changes"]])
           for path, _, body in box.posts]  # fmt: skip
    assert sorted(got) == [
        ("/grave", [("T2", "raised")]), ("/north", [("T1", "raised")]),
        ("/volts", [("T1", "raised")]),
    ]  # fmt: skip


async def test_a_webhook_is_signed_and_a_push_has_a_title(conn, box, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    settings = config(
        box,
        {"name": "hook", "kind": "webhook", "url": f"{box.web}/hook", "secret_file": str(key)},
        {"name": "phone", "kind": "push", "url": f"{box.web}/phone", "secret_file": str(key)},
    )
    await raised(conn, "T1")
    assert await passes(conn, settings) == 2
    (_, headers, body), (_, push, text) = box.posts
    at, mac = (part.split("=")[1] for part in headers["X-Pbal-Signature"].split(","))
    assert abs(int(at) - time.time()) < 600
    wanted = hmac.new(b"s3cret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert mac == wanted
    assert headers["Idempotency-Key"] == json.loads(body)["id"]
    assert (push["Title"], push["Priority"]) == ("pbal alarm raised: T1 voltage", "5")
    assert push["Authorization"] == "Bearer s3cret"
    assert b"198 V" in text


async def test_a_long_push_ends_with_a_whole_character(conn, box, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"\xff\xfe")  # no text: the receiver's to refuse, and no end of the role
    phone = {"name": "phone", "kind": "push", "url": f"{box.web}/phone", "secret_file": str(key)}
    settings = config(box, phone)
    await conn.execute("UPDATE transformer SET name = %s", ("മില്ല് ലെയ്ൻ " * 8,))
    for number in range(30):
        await raised(conn, "T1", f"kind {number}")
    assert await passes(conn, settings) == 1
    ((_, _, text),) = box.posts
    assert 3890 < len(text) <= 3900
    assert text.decode().count("alarm, raised") < 30


async def test_a_storm_is_one_message(conn, box):
    settings = config(box, MAIL, quiet_s=60)
    now = datetime.now(UTC)
    for n in range(300):
        await people.alarm(conn, conn.fleet, "T1", f"kind {n}")
    assert await passes(conn, settings, now) == 1
    for n in range(20):
        await people.alarm(conn, conn.fleet, "T2", f"kind {n}")
        assert await passes(conn, settings, now + timedelta(seconds=n)) == 0
    assert await passes(conn, settings, now + timedelta(seconds=61)) == 1
    assert [mail["Subject"] for _, mail in box.mails] == [
        "pbal alarms: 300 raised", "pbal alarms: 20 raised",
    ]  # fmt: skip
    assert "and 250 others" in box.mails[0][1].get_content()


async def test_a_failure_is_tried_again_with_growing_pauses(conn, box):
    settings = config(box, MAIL)
    now = datetime.now(UTC)
    await raised(conn, "T1")
    box.refuse = 3
    tries = [n for n in range(200) if await at(conn, settings, box, now, n)]
    # At once, then after 10, 20, 40 s.
    assert tries == [0, 10, 30, 70]
    assert len(box.mails) == 1
    row = await (await conn.execute("SELECT tries, last_error FROM notice_route")).fetchone()
    assert row == (0, "")


async def at(conn, settings, box, now, seconds):
    """Whether a try was made then."""
    before = box.refuse, len(box.mails)
    await passes(conn, settings, now + timedelta(seconds=seconds))
    return (box.refuse, len(box.mails)) != before


async def test_a_receiver_that_does_not_answer_holds_up_no_other(conn, box):
    dead = {"name": "dead", "kind": "webhook", "url": "http://127.0.0.1:9/x"}
    missing = {"name": "bare", "kind": "webhook", "url": f"{box.web}/x", "secret_file": "/no/such"}
    settings = config(box, dead, missing, MAIL)
    await raised(conn, "T1")
    assert await passes(conn, settings) == 1
    assert len(box.mails) == 1
    rows = await (await conn.execute("SELECT name, tries FROM notice_route")).fetchall()
    assert sorted(rows) == [("bare", 1), ("dead", 1), ("desk", 0)]


async def test_what_nobody_acknowledges_goes_to_the_next(conn, box):
    chief = {"name": "chief", "kind": "email", "to": ["chief@example.org"], "level": 1}
    settings = config(box, MAIL, chief, escalate_after_min=[30, 240])
    one, two = await raised(conn, "T1"), await raised(conn, "T2")
    await raised(conn, "T1", "silence", 1)
    await passes(conn, settings)
    assert [to for to, _ in box.mails] == [("desk@example.org",)]
    who, _ = await people.who(conn, "operator-whole")
    await alarms.acknowledge(conn, who, two)
    await conn.execute("UPDATE alarm SET raised_at = raised_at - interval '31 min'")
    await passes(conn, settings)
    mail = dict(box.mails)[("chief@example.org",)]
    assert mail["Subject"] == "pbal alarm escalated: T1 voltage"
    await conn.execute("UPDATE alarm SET raised_at = raised_at - interval '4 hours'")
    await passes(conn, settings)
    rows = await (await conn.execute("SELECT id FROM alarm WHERE escalated = 2")).fetchall()
    assert rows == [(one,)]
    # A shelved one is neither escalated nor told.
    await raised(conn, "T2", "thermal overload")
    await conn.execute("UPDATE alarm SET raised_at = raised_at - interval '9 hours'")
    for (number,) in await (await conn.execute("SELECT id FROM alarm")).fetchall():
        await alarms.shelve(conn, who, number, 3600, WHY)
    await conn.execute("UPDATE notice SET shared = true")
    assert await notify.escalate(conn, [30, 240]) == 0


async def test_what_is_wrong_in_the_configuration_is_said():
    for routes, words in (
        ([{"name": "a", "kind": "email"}], "needs `to`"),
        ([{"name": "a", "kind": "webhook", "url": "http://example.org/x"}], "https://"),
        ([MAIL, MAIL], "two routes are named desk"),
    ):
        with pytest.raises(ValueError, match=words):
            NotifyConfig.model_validate({"routes": routes})


SCRIPT = """
import asyncio, json, sys
from pbal_hq.config import Config
from pbal_hq.database import pool
from pbal_hq.notify import loop
loop.EVERY_S = 0.02
async def main():
    config = Config.model_validate(json.loads(sys.argv[1]))
    async with pool(config.database) as database:
        await loop.notify(config, database, lambda: None)
asyncio.run(main())
"""


async def test_kills_lose_nothing(conn, box, database_url):
    hook = {"name": "hook", "kind": "webhook", "url": f"{box.web}/hook"}
    settings = config(box, hook, url=database_url).model_dump_json()
    made = set()
    over = False

    async def storm():
        while not over:
            made.add(await people.alarm(conn, conn.fleet, "T1", f"kind {len(made)}"))
            await asyncio.sleep(0.01)

    def start():
        return subprocess.Popen([sys.executable, "-c", SCRIPT, settings], env=dict(os.environ),
                                preexec_fn=die_with_parent)  # fmt: skip

    raising = asyncio.create_task(storm())
    for n in range(6 if long_tests() else 2):
        process, seen, end_s = start(), len(box.posts), time.monotonic() + PATIENCE_S
        while len(box.posts) == seen:
            assert process.poll() is None, "the role ended by itself"
            assert time.monotonic() < end_s
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.013 * n)
        process.send_signal(signal.SIGKILL)
        process.wait()
    over = True  # an alarm that is cut short may be in the table, unknown to us
    await raising

    def told():
        once = {headers["Idempotency-Key"]: json.loads(body) for _, headers, body in box.posts}
        return [c["alarm"] for message in once.values() for c in message["changes"]]

    process, end_s = start(), time.monotonic() + PATIENCE_S
    try:
        while len(told()) < len(made) and time.monotonic() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert sorted(told()) == sorted(made), "each once, by the messages' ids"
