"""Every route with every role at every place: who gets what, and that nothing leaks."""

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest
from rigs import people
from rigs.people import PLACES, SITES

from pbal_hq.api import API, Open, table
from pbal_hq.auth import NEED_TOTP, ROLES, WHOLE_TREE, Grant, Permission, Role, tokens
from pbal_hq.auth.roles import scope
from pbal_hq.portal import PAGES, make

ROUTES = table(API)
# Which of T1 and T2 a place holds.
HOLDS = {"whole": {"T1", "T2"}, "d1": {"T1"}, "t2": {"T2"}}
OWN = [r for r in ROUTES if isinstance(r.may, Permission)]
OF_PAGES = [r for r in table(PAGES) if isinstance(r.may, Permission)]

BODIES = {
    "/api/v1/import": {"csv": "code,state,district,division,feeder\nX,A,B,C,D\n"},
    "/api/v1/where-next": {"csv": "station,status,rank\nT1,done,1\n"},
    "/api/v1/users": {
        "name": "",
        "full_name": "X",
        "grants": [{"role": "official", "whole": True}],
    },
    "/api/v1/users/{user_id}/grants": {"grants": [{"role": "official", "whole": True}]},
    "/api/v1/users/{user_id}/active": {"active": False},
    "/api/v1/alarms/{alarm_id}/acknowledge": {"words": "seen"},
    "/api/v1/alarms/{alarm_id}/comment": {"words": "seen"},
    "/api/v1/alarms/{alarm_id}/shelve": {"for_s": 3600, "words": "crew is there"},
    "/api/v1/alarms/{alarm_id}/close": {"words": "done"},
    "/api/v1/transformers/{transformer_id}/commands": {"kind": "mode", "mode": "hold", "why": "x"},
}
# What a page's form sends besides its token.
FORMS = {
    "/where-next": {"file": BODIES["/api/v1/where-next"]["csv"]},
    "/import": {"file": BODIES["/api/v1/import"]["csv"]},
    "/import/take": {"text": BODIES["/api/v1/import"]["csv"]},
    "/users": {"full_name": "X", "role": "official", "place": "whole"},
    "/users/{user_id}/grants": {"role": "official", "place": "whole"},
    "/alarms/{alarm_id}/acknowledge": {"words": "seen"},
    "/alarms/{alarm_id}/comment": {"words": "seen"},
    "/alarms/{alarm_id}/shelve": {"for_s": "3600", "words": "crew is there"},
    "/alarms/{alarm_id}/close": {"words": "done"},
    "/transformers/{transformer_id}/commands": {"kind": "mode hold", "why": "x"},
}


# Their area is in the query.
OF_AN_AREA = ("/reports/file", "/trends/file", "/api/v1/trends")


def expected(route, role, place, where):
    """The status: by the table of roles, and by whether the object is in the scope."""
    if route.may not in ROLES[role] or (route.may in WHOLE_TREE and place != "whole"):
        return 403
    one_thing = any(f"{{{name}}}" in route.path for name in
                    ("transformer_id", "alarm_id", "command_id", "area_id"))  # fmt: skip
    one_thing = one_thing or route.path in OF_AN_AREA
    if one_thing and where not in HOLDS[place]:
        # A part of a transformer that is not there for somebody is an empty list.
        return 200 if route.path.endswith(("/day", "/events")) else 404
    return {"/api/v1/users": 201, "/api/v1/transformers/{transformer_id}/commands": 201}.get(
        route.path if route.method == "POST" else "", 204 if route.method == "PUT" else 200
    )


class Street:
    """The fleet with something to find at both transformers."""

    def __init__(self, conn, fleet):
        self.conn, self.fleet, self.n = conn, fleet, 0

    async def fill(self):
        for where, site in SITES.items():
            await people.summaries(self.conn, self.fleet, where)
            await people.event(self.conn, self.fleet, where)
            await people.alarm(self.conn, self.fleet, where)
            await people.command(self.conn, site, "somebody", where)
        await self.conn.execute("UPDATE transformer SET name = 'secret-' || code")

    async def path(self, route, where):
        """The route's path with a fresh object of T1 or T2 in it."""
        self.n += 1
        path = route.path
        if "{transformer_id}" in path:
            path = path.replace("{transformer_id}", str(self.fleet.transformers[where]))
        if "{alarm_id}" in path:
            alarm = await people.alarm(self.conn, self.fleet, where)
            path = path.replace("{alarm_id}", str(alarm))
        if "{command_id}" in path:
            command = await people.command(self.conn, SITES[where], "someone", where)
            path = path.replace("{command_id}", str(command))
        if "{user_id}" in path:
            user = await people.person(self.conn, people.Fleet(), f"dummy{self.n}")
            path = path.replace("{user_id}", str(user))
        if "{area_id}" in path:
            area = self.fleet.areas["D1" if where == "T1" else "D2"]
            path = path.replace("{area_id}", str(area))
            path = path.replace("{period}", datetime.now(UTC).strftime("%Y-%m"))
        if path == "/reports/file":
            area = self.fleet.areas["D1" if where == "T1" else "D2"]
            path += f"?area_id={area}&period={datetime.now(UTC):%Y-%m}&form=csv"
        if path in ("/trends/file", "/api/v1/trends"):
            area = self.fleet.areas["D1" if where == "T1" else "D2"]
            path += f"?area_id={area}&since={datetime.now(UTC):%F}&last={datetime.now(UTC):%F}"
        if path.endswith("/day"):
            now = datetime.now(UTC)
            path += f"?since={(now - timedelta(days=1)).isoformat()}&until={now.isoformat()}"
            path = path.replace("+", "%2B")
        return path


@pytest.fixture
async def street(database_url):
    async with people.connected(database_url) as conn:
        made = Street(conn, await people.make(conn))
        await people.person(conn, made.fleet, "someone", people.Grant(Role.ENGINEER, whole=True))
        await made.fill()
        yield made


@pytest.mark.parametrize("role", list(Role))
async def test_every_cell(street, database_url, role):
    assert len(OWN) >= 25
    async with people.portal(database_url) as client:
        for place in PLACES:
            _, access = await people.who(street.conn, f"{role}-{place}")
            headers = {"authorization": f"Bearer {access}"}
            for route in OWN:
                for where in ("T1", "T2"):
                    path = await street.path(route, where)
                    body = BODIES.get(route.path)
                    if body is not None and "name" in body:
                        body = body | {"name": f"made{street.n}"}
                    if route.method == "GET":
                        body = None
                    got = await client.request(route.method, path, json=body, headers=headers)
                    cell = f"{role} of {place}: {route.method} {path}"
                    wanted = expected(route, role, place, where)
                    assert got.status_code == wanted, f"{cell}: {got.status_code} {got.text}"
                    for hidden in {"T1", "T2"} - HOLDS[place]:
                        assert f"secret-{hidden}" not in got.text, cell
                    if (
                        wanted == 200
                        and route.may not in WHOLE_TREE
                        and where in HOLDS[place]
                        and route.path.endswith(("/transformers", "/alarms", "/commands"))
                    ):
                        assert f"secret-{where}" in got.text, cell


# Pages hold to the table of the API, which every role is tried on.
OF_PAGES_ROLES = [
    pytest.param(role, marks=[pytest.mark.long] * (role not in (Role.ENGINEER, Role.OFFICIAL)))
    for role in Role
]


@pytest.mark.parametrize("role", OF_PAGES_ROLES)
async def test_every_cell_of_the_pages(street, database_url, role):
    assert len(OF_PAGES) >= 25
    async with people.portal(database_url) as client:
        for place in PLACES:
            who, access = await people.who(street.conn, f"{role}-{place}")
            client.cookies.set("__Host-pbal", access)
            token = tokens.form_token(client.desk.keys, who.session_id)
            for route, where in itertools.product(OF_PAGES, ("T1", "T2")):
                path = await street.path(route, where)
                cell = f"{role} of {place}: {route.method} {path}"
                form = None
                if route.method == "POST":
                    form = FORMS.get(route.path, {}) | {"token": token}
                    if route.path == "/users":
                        form["name"] = f"made{street.n}"
                    forged = await client.post(path, data=form | {"token": ""})
                    assert forged.status_code == 403, f"{cell} without the form's token"
                got = await client.request(route.method, path, data=form)
                wanted = expected(route, role, place, where)
                # A form that was taken shows a page, or leads on to one.
                code = 200 if got.is_redirect and form else got.status_code
                assert code == (200 if wanted < 300 else wanted), f"{cell}: {code}"
                for hidden in {"T1", "T2"} - HOLDS[place]:
                    assert f"secret-{hidden}" not in got.text, cell


def test_no_route_stands_outside_of_the_tables():
    declared = {(r.method, r.path) for r in (*ROUTES, *table(PAGES))}
    # The files of the pages, and the description of the API, hold nothing of anybody.
    open_to_all = {("", "/static"), ("GET", "/api/v1/openapi.json")}
    found = {
        (method, route.path)
        for route in served(make(None).routes)
        for method in (getattr(route, "methods", None) or {""}) - {"HEAD"}
    }
    assert found == declared | open_to_all


def served(routes):
    """All of them, also of routers that an application includes."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else served(inner.routes)


async def test_nobody_gets_in_without_a_login(street, database_url):
    async with people.portal(database_url) as client:
        for route in ROUTES:
            if route.may is Open.ANYBODY:
                continue
            path = await street.path(route, "T1")
            for headers in ({}, {"authorization": "Bearer x.y.z"}, {"authorization": "Basic eDp5"}):
                got = await client.request(route.method, path, headers=headers)
                assert got.status_code == 401, f"{route.method} {path}"


async def test_a_first_password_opens_nothing(street, database_url):
    await street.conn.execute("UPDATE person SET password_is_initial = true")
    _, access = await people.who(street.conn, "administrator-whole")
    async with people.portal(database_url) as client:
        for route in OWN:
            path = await street.path(route, "T1")
            got = await client.request(
                route.method, path, headers={"authorization": f"Bearer {access}"}
            )
            assert got.status_code == 403, f"{route.method} {path}"
            assert "own password" in got.text


def test_the_rules_that_no_table_may_loosen():
    P = Permission
    ordering = {P.COMMAND_HOLD, P.COMMAND_RUN, P.COMMAND_ASK, P.COMMAND_ROLLOUT, P.COMMAND_APPROVE}
    assert not ordering & ROLES[Role.ADMINISTRATOR], "who hands out rights orders nothing"
    assert not ordering & (ROLES[Role.OFFICIAL] | ROLES[Role.AUDITOR])
    for permission, role in ((P.USER_MANAGE, Role.ADMINISTRATOR), (P.AUDIT_READ, Role.AUDITOR),
                             (P.IMPORT, Role.ENGINEER), (P.DEAD_READ, Role.ENGINEER)):  # fmt: skip
        assert scope([Grant(role, whole=True)], permission).whole
        assert scope([Grant(role, area_id=1)], permission).nowhere, "it concerns the whole tree"
    assert {Role.OPERATOR, Role.ENGINEER, Role.ADMINISTRATOR} == NEED_TOTP
    open_routes = {(r.method, r.path) for r in ROUTES if r.may is Open.ANYBODY}
    assert open_routes == {("POST", "/api/v1/login"), ("POST", "/api/v1/refresh")}


def test_a_route_without_a_permission_stops_the_start():
    from fastapi import FastAPI

    from pbal_hq.api import Routes
    from pbal_hq.api.declare import include

    routes = Routes("", "x")

    @routes.router.get("/x")
    async def forgotten() -> None: ...

    with pytest.raises(LookupError, match="does not say"):
        include(FastAPI(), [routes])


async def test_login_refresh_and_its_rate(database_url):
    async with people.connected(database_url) as conn:
        await people.make(conn)
    async with people.portal(database_url) as client:
        given = {"name": "operator-d1", "password": people.PASSWORD, "code": people.code()}
        got = (await client.post("/api/v1/login", json=given)).json()
        me = await client.get("/api/v1/me", headers={"authorization": f"Bearer {got['access']}"})
        assert me.json()["name"] == "operator-d1"
        assert "command.run" in me.json()["permissions"]
        again = await client.post("/api/v1/refresh", json={"refresh": got["refresh"]})
        assert again.status_code == 200
        client.desk.wall = lambda: time.time() + 60
        late = await client.post("/api/v1/refresh", json={"refresh": got["refresh"]})
        assert late.status_code == 401
        wrong = given | {"password": "wrong wrong wrong"}
        codes = [(await client.post("/api/v1/login", json=wrong)).status_code for _ in range(12)]
        assert codes == [401] * 10 + [429] * 2
        other = {"name": "operator-t2", "password": people.PASSWORD,
                 "code": people.code(time.time() + 60)}  # fmt: skip
        assert (await client.post("/api/v1/login", json=other)).status_code == 200


async def test_a_body_has_a_size(street, database_url):
    given = 0

    async def endless(begin):
        nonlocal given
        yield begin
        while True:
            given += 10_000
            yield b"x" * 10_000

    _, access = await people.who(street.conn, "engineer-whole")
    headers = {"authorization": f"Bearer {access}"}
    parts = {"content-type": "multipart/form-data; boundary=b"}
    file = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with people.portal(database_url) as client:
        for path, kind, begin, most in (
            ("/api/v1/login", {}, b"{", 100_000), ("/api/v1/refresh", {}, b"{", 100_000),
            ("/login", parts, file, 100_000), ("/login", form, b"name=", 100_000),
            ("/api/v1/import", {}, b"{", 20_000_000),
        ):  # fmt: skip
            given = 0
            got = await client.post(path, content=endless(begin), headers=headers | kind)
            assert got.status_code == 413, path
            assert given <= most + 10_000
        head = "code,state,district,division,feeder\n"
        many = head + "".join(f"N{n},KL,EKM,D1,F1\n" for n in range(20_000))
        got = await client.post("/api/v1/import", json={"csv": many}, headers=headers)
        assert got.status_code == 200, got.text


async def test_an_answer_has_a_tag(street, database_url):
    _, access = await people.who(street.conn, "official-whole")
    headers = {"authorization": f"Bearer {access}"}
    async with people.portal(database_url) as client:
        first = await client.get("/api/v1/areas", headers=headers)
        again = headers | {"if-none-match": first.headers["etag"]}
        second = await client.get("/api/v1/areas", headers=again)
        assert (second.status_code, second.content) == (304, b"")
        # The portal's own files as well: after an upgrade no page has the sheet of before.
        sheet = await client.get("/static/portal.css")
        assert sheet.headers["cache-control"] == "no-cache"
        asked = {"if-none-match": sheet.headers["etag"]}
        assert (await client.get("/static/portal.css", headers=asked)).status_code == 304
        schema = (await client.get("/api/v1/openapi.json")).json()
        assert "/api/v1/transformers" in schema["paths"]
        assert "default-src 'none'" in first.headers["content-security-policy"]
