"""The users of the database as which dashboards ask: Superset's, Grafana's, and one of an area."""

from __future__ import annotations


def reader(user: str) -> str:
    """SQL that makes such a user, and may run again; what it may read is granted elsewhere.

    `user`: of small letters, digits and `_`.
    """
    assert user.replace("_", "a").isalnum()
    return f"""\
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{user}') THEN
        CREATE ROLE {user} LOGIN;
    END IF;
END $$;
-- A mistake in a panel does not hold the database up.
ALTER ROLE {user} SET statement_timeout = '20s';
ALTER ROLE {user} SET default_transaction_read_only = on;
ALTER ROLE {user} SET timezone = 'UTC';
"""
