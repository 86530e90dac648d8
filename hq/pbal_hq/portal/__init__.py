"""Pages for people over the same functions as the API."""

from fastapi import FastAPI

from pbal_hq.api import Desk, make_app


def make(desk: Desk) -> FastAPI:
    """The application with its pages."""
    return make_app(desk)


__all__ = ["make"]
