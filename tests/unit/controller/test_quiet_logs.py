"""At the level debug, of every library too, no log line has a key, a passphrase or a token."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable

import aiohttp
import pytest

from pbal_host import JsonFormatter

from .conftest import Site, until
from .fake import GROUP_ROOT, FakeNode, root_key

MakeSite = Callable[..., Site]
TOKEN = "0123456789abcdef" * 4


def forms(secret: bytes) -> set[str]:
    """How a secret may look in a line."""
    return {secret.hex(), secret.hex().upper(), base64.b64encode(secret).decode().rstrip("="),
            str(secret)[2:-1], str(list(secret))[1:-1]}  # fmt: skip


async def test_no_secret_in_the_log(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    site = make_site(FakeNode(1), FakeNode(2))
    (site.folder / "token").write_text(TOKEN + "\n")
    site.changes = {"http": {"token_file": str(site.folder / "token")}}
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))
            lines.append(repr(record.__dict__))

    handler = Lines()
    logging.getLogger().addHandler(handler)
    try:
        caplog.set_level(logging.DEBUG)
        for name in list(logging.Logger.manager.loggerDict):
            caplog.set_level(logging.DEBUG, logger=name)
        async with site.running() as c, aiohttp.ClientSession() as session:
            await until(lambda: c.server.port and all(n.synced for n in site.nodes.values()))
            base = f"http://127.0.0.1:{c.server.port}/"
            async with session.get(f"{base}?token={TOKEN}", allow_redirects=False) as answer:
                assert answer.status == 303
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            async with session.get(f"{base}api/status", headers=bearer) as answer:
                assert answer.status == 200
            home = c.fleet.get(1)
            await until(lambda: home.readings > 2)
            assert await c.dispatcher.order(home, home.phase % 3 + 1, "a test", 1.0)
            new = site.keys.new_group_key("a test", "a person").root
            await until(lambda: any("group key" in line for line in lines))
        told = len(lines)
        for way in (GROUP_ROOT, GROUP_ROOT.hex(), base64.b64encode(GROUP_ROOT).decode()):
            logging.getLogger("pbal_controller").debug("a slip", extra={"k": way})
    finally:
        logging.getLogger().removeHandler(handler)
    assert told >= 16
    said = "\n".join(lines[:told])
    secrets = [GROUP_ROOT, new, root_key(1), root_key(2), site.keys.vault_key(), TOKEN.encode()]
    for secret in secrets:
        for form in forms(secret):
            assert form not in said
    for slip in zip(lines[told::2], lines[told + 1 :: 2], strict=True):
        assert any(form in line for form in forms(GROUP_ROOT) for line in slip)
