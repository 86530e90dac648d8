"""Who sees which rows in Superset: a rule on every dataset, and a role for each area.

The rule asks for the roles of who looks, and lets through the rows of the areas that these are
named after: somebody with "pbal KL/EKM" sees that district, with two such roles both, and with
none of them nothing. Superset's Admin alone is not limited. The role "pbal viewer" opens our
datasets and no others; beside it people have Superset's own Gamma, which opens pages and no SQL.

All of this goes through Superset's API; again is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import httpx

from pbal_hq.errors import SupersetError
from pbal_hq.superset.bundle import DATABASE
from pbal_hq.superset.data import DATASETS, SCHEMA

VIEWER = "pbal viewer"
UNLIMITED = "Admin"
RULE = "pbal areas"
CLAUSE = (
    f"feeder_id IN (SELECT feeder_id FROM {SCHEMA}.scope"
    " WHERE role IN {{ current_user_roles() | where_in }})"
)
_PAGE = 100  # the API gives no more
_ANSWER_S = 120.0


def role_of(path: str) -> str:
    """The role that sees an area's rows. `path`: as in "KL/EKM"."""
    return f"pbal {path}"


class Limits:
    """Superset's API as an administrator. All methods raise SupersetError."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_ANSWER_S)
        body = {"username": user, "password": password, "provider": "db"}
        token = self.call("POST", "security/login", body)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        # What changes something wants this beside the token.
        csrf = self.call("GET", "security/csrf_token/")["result"]
        self._http.headers["X-CSRFToken"] = csrf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """What the API answers."""
        try:
            answer = self._http.request(method, f"/api/v1/{path}", json=body, params=query)
            if answer.is_success:
                return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise SupersetError(f"{self._http.base_url}: {error}; is Superset there?") from None
        said = answer.text[:500]
        if answer.status_code == 401:
            said += "; do user and password fit?"
        raise SupersetError(f"{method} {path}: {answer.status_code} {said}")

    def listed(self, path: str) -> Iterator[dict[str, Any]]:
        """All that there are of something."""
        page = 0
        while True:
            found = self.call("GET", f"{path}/", q=f"(page:{page},page_size:{_PAGE})")["result"]
            yield from found
            if len(found) < _PAGE:
                return
            page += 1

    def datasets(self) -> dict[str, int]:
        """Ours, by name."""
        return {
            each["table_name"]: each["id"]
            for each in self.listed("dataset")
            if each["schema"] == SCHEMA and each["database"]["database_name"] == DATABASE
        }

    def roles(self) -> dict[str, int]:
        """All, by name."""
        return {each["name"]: each["id"] for each in self.listed("security/roles")}

    def permissions(self, datasets: dict[str, int]) -> list[int]:
        """Those that open these datasets."""
        wanted = {f"[{DATABASE}].[{name}](id:{number})" for name, number in datasets.items()}
        return [
            each["id"]
            for each in self.listed("security/permissions-resources")
            if each["permission"]["name"] == "datasource_access"
            and each["view_menu"]["name"] in wanted
        ]


def limit(server: Limits, paths: Iterable[str]) -> list[str]:
    """Make the rule, and the roles of these areas that are missing; those that were.

    Raises SupersetError.
    """
    datasets = server.datasets()
    missing = {each.name for each in DATASETS} - set(datasets)
    if missing:
        raise SupersetError(
            f"Superset has no dataset {sorted(missing)[0]} of ours: first pbal-hq superset bundle, "
            "and there superset import-dashboards"
        )
    roles = server.roles()
    # The rule comes first: nobody gets in while it is not there.
    rule = {
        "name": RULE, "description": "Rows of the areas that a person's roles are named after.",
        "filter_type": "Base", "tables": sorted(datasets.values()), "roles": [roles[UNLIMITED]],
        "clause": CLAUSE, "group_key": "",
    }  # fmt: skip
    there = [each["id"] for each in server.listed("rowlevelsecurity") if each["name"] == RULE]
    if there:
        server.call("PUT", f"rowlevelsecurity/{there[0]}", rule)
    else:
        server.call("POST", "rowlevelsecurity/", rule)
    made = [name for name in (VIEWER, *map(role_of, paths)) if name not in roles]
    for name in made:
        roles[name] = server.call("POST", "security/roles/", {"name": name})["id"]
    opened = server.permissions(datasets)
    if len(opened) != len(datasets):
        raise SupersetError("Superset lacks permissions of our datasets: superset init")
    server.call("POST", f"security/roles/{roles[VIEWER]}/permissions",
                {"permission_view_menu_ids": opened})  # fmt: skip
    return made
