"""Errors as answers: a status, and a text for a person."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from pbal_hq.auth import AuthError, NotAllowed, NotKnown, TooMany
from pbal_hq.errors import BadInput, DatabaseError, HqError, NothingToDo

log = logging.getLogger(__name__)
Show = Callable[[Request, int, str], Awaitable[Response]]

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotKnown, 401),
    (NotAllowed, 403),
    (NothingToDo, 404),
    (TooMany, 429),
    (BadInput, 422),
    (AuthError, 422),
    (PoolTimeout, 503),
    (DatabaseError, 503),
    (psycopg.OperationalError, 503),
    # A number that is larger than its column, a text with NUL or half of a surrogate pair.
    (psycopg.DataError, 422),
    (UnicodeEncodeError, 422),
    (HqError, 500),
)

# Refused by psycopg itself; a number, a time, characters (PostgreSQL's class 22).
_OF_VALUES = (None, "22003", "22008", "22021", "22P05")


def _read(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return 422, f"{where}: {first['msg']}"
    status = next(number for kind, number in _STATUS if isinstance(error, kind))
    if isinstance(error, psycopg.DataError) and error.sqlstate not in _OF_VALUES:
        raise error  # a statement of ours that is wrong
    if isinstance(error, psycopg.DataError | UnicodeEncodeError):
        log.info("a value cannot be kept", extra={"why": str(error)})
        return status, "This cannot be kept: a number is too large, or a text is no text."
    if status == 503:
        log.error("the database does not answer", extra={"why": str(error)})
        return status, "The database does not answer. Try again in a minute."
    return status, str(error)


def install(app: FastAPI, show: Show | None) -> None:
    """Answer errors: JSON below /api/, and by `show` elsewhere."""

    async def answer(request: Request, error: Exception) -> Response:
        status, words = _read(error)
        made: Response
        if show is None or request.url.path.startswith("/api/"):
            made = JSONResponse({"error": words}, status)
        else:
            made = await show(request, status, words)
        if isinstance(error, TooMany):
            made.headers["retry-after"] = str(max(1, round(error.after_s)))
        if made.status_code == 401:
            made.headers["www-authenticate"] = "Bearer"
        return made

    for kind, _ in _STATUS:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(RequestValidationError, answer)
