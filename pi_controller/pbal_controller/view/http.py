"""The local status server: page, JSON, Prometheus, event stream. It can change nothing.

It listens on the loopback address by default; beyond it readers show a token (`access`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web

from pbal_controller.config import HttpConfig
from pbal_controller.documents import dump_json
from pbal_controller.errors import JournalError
from pbal_controller.view import access, metrics
from pbal_controller.view.site import SiteView
from pbal_controller.view.status import home_dict, status_dict, summary_dict

log = logging.getLogger(__name__)

# A reader of /events that is this far behind is dropped.
STREAM_BACKLOG = 200
MAX_STREAMS = 20
# More connections than this are turned away: a program on this computer may deny others the page,
# but not the controller its file descriptors.
MAX_CONNECTIONS = 64
# The large answers are made anew at most this often, so that requests in a loop do not take time
# from polling.
KEEP_S = 0.2
SUMMARY_EVERY_S = 1.0
# Wrong tokens are noted this often at most, so that guessing does not fill the disk.
REFUSED_EVERY_S = 60.0

Login = Callable[[bool, str, str], Awaitable[None]]


# The page: its address, its file here, and what that is.
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def _answer(data: Any, status: int = 200) -> web.Response:
    return web.json_response(data, status=status, dumps=dump_json)


class Streams:
    """Hands events to the readers of /events; a slow reader loses events, never delays us."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[tuple[str, str]]] = set()
        self.dropped = 0

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Tell all readers."""
        if not self._readers:
            return
        text = dump_json(data, separators=(",", ":"))
        for reader in self._readers:
            if reader.full():
                self.dropped += 1
            else:
                reader.put_nowait((kind, text))

    @property
    def readers(self) -> int:
        """How many are listening."""
        return len(self._readers)

    def join(self) -> asyncio.Queue[tuple[str, str]]:
        """A new reader's queue. Raises web.HTTPServiceUnavailable when there are too many."""
        if len(self._readers) >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(text="too many readers of /events; close one\n")
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(STREAM_BACKLOG)
        self._readers.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[tuple[str, str]]) -> None:
        """The reader is gone."""
        self._readers.discard(queue)


class _TurnedAway(asyncio.Protocol):
    """A connection above the limit: refused with a message, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
        )
        transport.close()


class StatusServer:
    """The server as one supervised loop."""

    def __init__(self, view: SiteView, config: HttpConfig, streams: Streams, login: Login) -> None:
        """`login` is called with each one: whether the token was right, from where, what else."""
        self._c = view
        self._login = login
        self._refused = 0
        self._refused_at = -REFUSED_EVERY_S
        self._config = config
        self._token = access.read_token(config.token_file)
        self._streams = streams
        self.port = 0
        self._kept: dict[str, tuple[float, bytes]] = {}

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._known_host])
        app.add_routes(
            [
                *(web.get(path, self._file) for path in PAGE),
                web.get("/api/status", self._status),
                web.get("/api/homes/{address}", self._home),
                web.get("/api/moves", self._moves),
                web.get("/api/events", self._node_events),
                web.get("/metrics", self._metrics),
                web.get("/events", self._events),
                web.get("/healthz", self._healthz),
            ]
        )
        return app

    @web.middleware
    async def _known_host(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Refuse requests that a foreign web page sends to a name it pointed at this computer."""
        host = (request.url.host or "").lower()
        if host not in ("localhost", "127.0.0.1", "::1", self._config.host):
            return web.Response(
                status=403, text=f"not served under the name {host}; use localhost\n"
            )
        answer = access.refuse(request, self._token)
        if answer is None:
            return await handler(request)
        await self._note(request, answer)
        return answer

    async def _note(self, request: web.Request, answer: web.Response) -> None:
        """A login, or a wrong token, goes into the audit log; of the latter one a minute."""
        good = answer.status == 303
        shown = "token" in request.query or "Authorization" in request.headers
        if not good:
            if not shown:
                return
            self._refused += 1
            if self._c.now() - self._refused_at < REFUSED_EVERY_S:
                return
            self._refused_at = self._c.now()
        why = "" if good else f"{self._refused} wrong so far"
        with contextlib.suppress(JournalError):  # its disk is full: the page must work then
            await self._login(good, request.remote or "", why)

    async def run(self, beat: Callable[[], None]) -> None:
        """Serve until cancelled."""
        config = self._config
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        listener: asyncio.Server | None = None

        def take() -> asyncio.BaseProtocol:
            served = runner.server
            if served is None or len(served.connections) >= MAX_CONNECTIONS:
                return _TurnedAway()
            return served()

        try:
            try:
                listener = await asyncio.get_running_loop().create_server(
                    take, config.host, self.port or config.port
                )
            except OSError as error:
                raise OSError(
                    f"http: {config.host}:{config.port} cannot be used ({error.strerror}); "
                    "set http.port to a free port, or 0"
                ) from None
            self.port = listener.sockets[0].getsockname()[1]
            if config.port_file is not None:
                await asyncio.to_thread(_write_port, config.port_file, self.port)
            log.info("status page", extra={"url": f"http://{config.host}:{self.port}/"})
            while True:
                if self._streams.readers:
                    self._streams.publish("summary", summary_dict(self._c))
                beat()
                await asyncio.sleep(SUMMARY_EVERY_S)
        finally:
            if listener is not None:
                listener.close()
            await runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = PAGE[request.path]
        text = resources.files("pbal_controller.view").joinpath(name).read_text("utf-8")
        return web.Response(
            text=text,
            content_type=kind,
            headers={
                "Content-Security-Policy": "default-src 'none'; connect-src 'self'; "
                "style-src 'self'; script-src 'self'; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-cache",
            },
        )

    def _keep(self, name: str, make: Callable[[], str]) -> bytes:
        """The answer of that name, made anew when it is too old."""
        now = self._c.now()
        at, body = self._kept.get(name, (-KEEP_S, b""))
        if now - at >= KEEP_S:
            body = make().encode()
            self._kept[name] = (now, body)
        return body

    async def _status(self, request: web.Request) -> web.Response:
        body = self._keep("status", lambda: dump_json(status_dict(self._c)))
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def _home(self, request: web.Request) -> web.Response:
        text = request.match_info["address"]
        home = self._c.fleet.get(int(text)) if text.isdecimal() and len(text) < 6 else None
        if home is None:
            known = ", ".join(str(h.address) for h in list(self._c.fleet)[:20])
            return _answer(
                {"error": f"no home {text}; addresses are {known or 'none'}"}, status=404
            )
        return _answer(home_dict(home, self._c.now(), full=True))

    async def _moves(self, request: web.Request) -> web.Response:
        return _answer({"moves": list(self._c.moves.recent)[::-1]})

    async def _node_events(self, request: web.Request) -> web.Response:
        return _answer({"events": await self._c.node_events()})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._keep("metrics", lambda: metrics.render(self._c)),
            headers={"Content-Type": metrics.CONTENT_TYPE},
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        now = self._c.now()
        late = self._c.loops.late(now)
        why_not = self._c.moves.why_not(now)
        standby = None if self._c.standby is None else self._c.standby.as_dict()
        if standby is not None and not standby["serving"]:
            why_not = standby["why_not_ready"]
        bad = [f"late: {', '.join(late)}"] if late else []
        bad += [f"nothing is ordered: {why_not}"] if why_not else []
        return web.Response(text="\n".join(bad or ["ok"]) + "\n", status=503 if bad else 200)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        queue = self._streams.join()
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        try:
            await response.prepare(request)
            while True:
                kind, text = await queue.get()
                await response.write(f"event: {kind}\ndata: {text}\n\n".encode())
        except ConnectionError:
            return response
        finally:
            self._streams.leave(queue)


def _write_port(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(f"{port}\n", encoding="ascii")
    fresh.replace(path)
