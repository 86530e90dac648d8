"""What outsiders can make the controller write is bounded: junk on HTTP, and floods of any line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from rigs import needs

import pbal_host
import pbal_host.logs as host_logs
from pbal_controller import logs
from pbal_controller.config import LogConfig

from .conftest import Site, until
from .fake import FakeNode

JUNK = (
    b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # a TLS hello
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -4\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX\x00Y: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"OK /\r\n\r\n" * 8,
    b"GET /api/homes/\xc2\xb2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
)
TURNS = 100


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the controller writes as it is configured for a site."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    logs.set_up(LogConfig())
    yield text
    root.handlers[:] = before
    root.setLevel(level)


async def throw(port: int, data: bytes, within_s: float = 2.0) -> bytes:
    """Sends junk; what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(65536), within_s)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_junk_on_http_writes_a_few_lines_only(
    make_site: Callable[..., Site], written: io.StringIO
) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.server.port)
        before = len(written.getvalue())
        refused = turns = 0
        # On a busy computer a turn may end before its answers come.
        while turns < TURNS or (refused < 5 and turns < 2 * TURNS):
            answers = await asyncio.gather(*(throw(c.server.port, data) for data in JUNK))
            refused = sum(b" 400 " in answer.partition(b"\r\n")[0] for answer in answers)
            turns += 1
        said = written.getvalue()[before:]
        assert refused >= 5
        assert "aiohttp.server" in said, "nothing was said at all"
        assert "Traceback" not in said
        assert len(said) < 4000, said[-2000:]
        good = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"
        good = await throw(c.server.port, good, needs.PATIENCE_S)
        assert good.startswith(b"HTTP/1.0 200 OK")


def line(name: str, lineno: int) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "x.py", lineno, "again", (), None)


def test_the_ration_is_for_each_place_and_each_minute() -> None:
    now = 0.0
    ration = pbal_host.Ration(lambda: now)
    ours, others = pbal_host.Ration.OURS, pbal_host.Ration.OTHERS
    assert sum(ration.filter(line("pbal_controller.x", 1)) for _ in range(10_000)) == ours
    assert sum(ration.filter(line("asyncio", 2)) for _ in range(10_000)) == others
    assert ration.filter(line("asyncio", 3))  # another place
    now = pbal_host.Ration.WINDOW_S - 0.1
    assert not ration.filter(line("asyncio", 2))
    now = pbal_host.Ration.WINDOW_S
    told = line("asyncio", 2)
    assert ration.filter(told)
    assert host_logs.fields(told) == {"not_shown": 10_001 - others}
    again = line("asyncio", 2)
    assert ration.filter(again)
    assert host_logs.fields(again) == {}


def test_a_defect_keeps_its_traceback(written: io.StringIO) -> None:
    try:
        raise RuntimeError("ours")
    except RuntimeError:
        logging.getLogger("pbal_controller.x").exception("a defect")
    assert "Traceback" in written.getvalue()


def test_lines_for_machines_are_json_whatever_was_measured() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    record = line("pbal_controller.x", 1)
    record.neutral_a = float("inf")
    text = pbal_host.JsonFormatter().format(record)
    assert json.loads(text, parse_constant=refuse)["neutral_a"] is None
