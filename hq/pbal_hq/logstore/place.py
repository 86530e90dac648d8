"""OpenSearch by its HTTP API."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Self

from pbal_hq.ca import Pki
from pbal_hq.config import Config, LogsConfig, secret
from pbal_hq.errors import ConfigError, LogsError
from pbal_hq.logstore.search import Wanted

if TYPE_CHECKING:
    import httpx

_ANSWER_S = 30.0
_DAY = re.compile(r"\d{4}\.\d{2}\.\d{2}")
MOST = 10_000  # lines that OpenSearch gives at once


@dataclass(frozen=True)
class Seen:
    """What `pbal-hq doctor` asks. `newest`: when the latest line came."""

    status: str  # green, yellow, red
    days: int
    newest: datetime | None
    known: bool  # whether its template is there


def opened(config: Config) -> Place:
    """The place that is configured, to be entered. Raises ConfigError."""
    logs = config.logs
    if not logs.url:
        raise ConfigError("no OpenSearch is configured: set logs.url (docs/hq-logs.md)")
    import httpx  # most HQs have no OpenSearch, and start without it

    verify: ssl.SSLContext | bool = True
    if logs.url.startswith("https"):
        ca = logs.ca or Pki(config.data / "pki").ca
        try:
            verify = ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"logs.ca: {ca}: {error}") from None
    auth = None
    if logs.password_file is not None:
        auth = httpx.BasicAuth(logs.user, secret(logs.password_file, "logs.password_file"))
    client = httpx.Client(base_url=logs.url, verify=verify, auth=auth, timeout=_ANSWER_S)
    return Place(client, logs)


class Place:
    """The indices of logs. Its methods raise LogsError."""

    def __init__(self, client: httpx.Client, logs: LogsConfig) -> None:
        self._client = client
        self._logs = logs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def set_up(self) -> None:
        """Say how lines are indexed. Days that are there keep what they have."""
        folder = resources.files("pbal_hq.logstore")
        made = json.loads(folder.joinpath("template.json").read_text(encoding="utf-8"))
        made["index_patterns"] = [f"{self._logs.index}-*"]
        made["template"]["settings"]["number_of_replicas"] = self._logs.replicas
        self._ask("PUT", f"/_index_template/{self._logs.index}", made)

    def lines(self, wanted: Wanted, most: int) -> list[dict[str, Any]]:
        """The latest lines of these, oldest first; each once."""
        return self._found(wanted.query(), [{"time": "desc"}, {"id": "desc"}], most)[::-1]

    def came(self, wanted: Wanted, most: int = MOST) -> list[dict[str, Any]]:
        """Those that came since `wanted.since`, in the order in which they came."""
        return self._found(wanted.query("received"), [{"received": "asc"}, {"id": "asc"}], most)

    def _found(
        self, query: dict[str, Any], sort: list[dict[str, str]], most: int
    ) -> list[dict[str, Any]]:
        answer = self._ask(
            "POST", f"/{self._logs.index}-*/_search?ignore_unavailable=true",
            {"query": query, "sort": [{n: {"order": o, "unmapped_type": "keyword"}}
                                      for each in sort for n, o in each.items()],
             "size": min(most, MOST), "track_total_hits": False},
        )  # fmt: skip
        # One that came again after midnight is in two days.
        once = {hit["_id"]: hit["_source"] for hit in _at(answer, "hits", "hits")}
        return list(once.values())

    def days(self) -> list[date]:
        """Of which there are lines, oldest first."""
        rows = self._ask("GET", f"/_cat/indices/{self._logs.index}-*?format=json&h=index")
        found = []
        for row in rows:
            text = str(row["index"]).removeprefix(f"{self._logs.index}-")
            if _DAY.fullmatch(text):
                with contextlib.suppress(ValueError):  # 2026.02.31
                    found.append(datetime.strptime(text, "%Y.%m.%d").replace(tzinfo=UTC).date())
        return sorted(found)

    def expire(self, now: datetime) -> list[date]:
        """Drop the days that are too old; which."""
        first = now.astimezone(UTC).date() - timedelta(days=self._logs.keep_days)
        old = [day for day in self.days() if day < first]
        for day in old:
            self._ask("DELETE", f"/{self._logs.index}-{day:%Y.%m.%d}")
        return old

    def look(self) -> Seen:
        """How it is."""
        health = self._ask("GET", "/_cluster/health")
        known = self._reply("GET", f"/_index_template/{self._logs.index}")
        if known.status_code != 404:
            self._checked(known)
        since = datetime(1970, 1, 1, tzinfo=UTC)
        newest = self._found(Wanted(since).query("received"), [{"received": "desc"}], 1)
        return Seen(
            str(_at(health, "status")), len(self.days()),
            datetime.fromisoformat(newest[0]["received"]) if newest else None,
            known.status_code == 200,
        )  # fmt: skip

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        return self._checked(self._reply(method, path, body))

    def _reply(self, method: str, path: str, body: object = None) -> httpx.Response:
        with self._as_logs_errors():
            return self._client.request(method, path, json=body)

    @contextlib.contextmanager
    def _as_logs_errors(self) -> Iterator[None]:
        import httpx

        where = f"OpenSearch at {self._logs.url}"
        try:
            yield
        except httpx.TimeoutException:
            raise LogsError(f"{where}: no answer within {_ANSWER_S:.0f} s; try again") from None
        except httpx.HTTPError as error:
            hint = "does it run, and is logs.url right?"
            if "CERTIFICATE" in str(error):
                hint = "its certificate is not of the authority in logs.ca"
            raise LogsError(f"{where}: {error or type(error).__name__}; {hint}") from None

    def _checked(self, answer: httpx.Response) -> Any:
        where = f"OpenSearch at {self._logs.url}"
        code = answer.status_code
        if code in (401, 403):
            raise LogsError(
                f"{where} does not let {self._logs.user} in, or not do this ({code}): "
                "logs.user and logs.password_file"
            )
        if code in (429, 502, 503, 504):
            raise LogsError(f"{where} cannot do it now ({code}); it starts, or has too much to do")
        if code >= 400:
            raise LogsError(f"{where}: {_reason(answer)} ({code})")
        try:
            return answer.json()
        except ValueError:
            raise LogsError(f"{where} answers with no JSON: is it OpenSearch?") from None


def _at(answer: Any, *names: str) -> Any:
    """What lies there in an answer. Raises LogsError."""
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise LogsError(f"an answer without {name!r}: is logs.url an OpenSearch?")
        answer = answer[name]
    return answer


def _reason(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        return str(error["reason"] if isinstance(error, dict) else error)[:300]
    except (ValueError, LookupError, TypeError):
        return "it refused"
