"""Fixtures of HQ's tests."""

from rigs.hq import database_url, empty_url, postgres  # noqa: F401
