"""Authentication, and what each user may do where.

roles     roles and permissions as data, grants in the tree, the scope of a query
people    users;  sessions: logging in, staying in, out
oidc      logging in at an OpenID Connect provider;  provider: what is kept of such a login
services  tokens of machines
keyring   keys made from the portal's master secret
"""

from pbal_hq.auth import passwords, people, services, sessions, tokens, totp
from pbal_hq.auth.errors import AuthError, NotAllowed, NotKnown, TooMany, WeakPassword
from pbal_hq.auth.keyring import Keyring, make_master, read_masters
from pbal_hq.auth.roles import (
    FEEDER_IN_SCOPE,
    IN_SCOPE,
    MEANINGS,
    NEED_TOTP,
    ROLES,
    WHOLE_TREE,
    Grant,
    Permission,
    Role,
    Scope,
)
from pbal_hq.auth.tries import Tries
from pbal_hq.auth.who import Who

__all__ = [
    "FEEDER_IN_SCOPE",
    "IN_SCOPE",
    "MEANINGS",
    "NEED_TOTP",
    "ROLES",
    "WHOLE_TREE",
    "AuthError",
    "Grant",
    "Keyring",
    "NotAllowed",
    "NotKnown",
    "Permission",
    "Role",
    "Scope",
    "TooMany",
    "Tries",
    "WeakPassword",
    "Who",
    "make_master",
    "passwords",
    "people",
    "read_masters",
    "services",
    "sessions",
    "tokens",
    "totp",
]
