"""Numbers beyond what is kept and texts that no database holds: no route fails at them."""

import itertools
import json
import re
from urllib.parse import quote

import psycopg
import pytest
from rigs import people

from pbal_hq.api import API
from pbal_hq.api.faults import _read
from pbal_hq.auth import tokens
from pbal_hq.portal import PAGES

# Beyond int4, int8 and everything; below zero. NUL, half of a surrogate pair, no UTF-8, SQL.
VALUES = ("99999999999", "9" * 19, "9" * 40, "-1", "%00", "%ED%A0%80", "%FF", "'%20OR%20''='")
READ = [
    (route.path, [each.alias for each in route.dependant.query_params])
    for routes in (*API, *PAGES)
    for route in routes.router.routes
    if "GET" in (route.methods or ()) and "provider" not in route.path
]


@pytest.mark.parametrize("name", ["engineer-whole", "administrator-whole"])
async def test_no_route_fails_at_a_strange_value(database_url, name):
    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        await people.make(conn)
        _, access = await people.who(conn, name)
        client.cookies.set("__Host-pbal", access)
        headers = {"authorization": f"Bearer {access}"}
        tried = 0
        for (path, asked), value in itertools.product(READ, VALUES):
            if "{" in path:
                given = [re.sub(r"{\w+}", value, path)]
            else:
                most = {"area_id": "1", "period": "2026-11", "since": "2026-11-01",
                        "last": "2026-11-02"}  # fmt: skip
                held = {name: most[name] for name in asked if name in most}
                given = [
                    f"{path}?" + "&".join(f"{k}={v}" for k, v in (held | {one: value}).items())
                    for one in asked
                ]
            for each in given:
                client.desk.calls.forget(name)
                got = await client.get(each, headers=headers)
                assert got.status_code < 500, f"{each}: {got.text}"
                tried += 1
        assert tried > 300


async def test_no_login_fails_at_a_strange_text(database_url):
    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        fleet = await people.make(conn)
        for text in ("a\0b", "\ud800", "\x1b[31m\n"):
            given = {"name": text, "password": text, "code": "123456", "refresh": text}
            for path in ("/api/v1/login", "/api/v1/refresh"):
                got = await client.post(path, content=json.dumps(given).encode())
                assert got.status_code in (401, 422), f"{path}: {text!r}"
            form = "&".join(
                f"{key}={quote(value.encode('utf-8', 'surrogatepass'))}"
                for key, value in given.items()
            )
            head = {"content-type": "application/x-www-form-urlencoded"}
            got = await client.post("/login", content=form.encode(), headers=head)
            assert got.status_code in (401, 422), repr(text)
        who, access = await people.who(conn, "operator-whole")
        client.cookies.set("__Host-pbal", access)
        alarm = await people.alarm(conn, fleet, "T1")
        token = tokens.form_token(client.desk.keys, who.session_id)
        words = {"token": token, "words": "a\0b"}
        got = await client.post(f"/alarms/{alarm}/comment", data=words)
        assert got.status_code == 422
        assert "cannot be kept" in got.text


def test_a_wrong_statement_of_ours_is_no_fault_of_who_asks():
    assert _read(psycopg.errors.NumericValueOutOfRange("too large"))[0] == 422
    with pytest.raises(psycopg.errors.DivisionByZero):
        _read(psycopg.errors.DivisionByZero("division by zero"))
