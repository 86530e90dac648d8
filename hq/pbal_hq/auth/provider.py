"""What is known of a login at an OpenID Connect provider, and kept while it is under way."""

from __future__ import annotations

import json
from dataclasses import dataclass

BACK = "/login/provider/back"
KEPT_S = 600
NOT_BEGUN = "This login was not begun here. Begin it anew."
TOOK_LONG = "This login took too long. Begin it anew."


@dataclass(frozen=True)
class Begun:
    """One login that is under way: kept sealed in a cookie of the browser."""

    state: str
    nonce: str
    verifier: str
    onward: str
    until_s: float


@dataclass(frozen=True)
class Identity:
    """Who somebody is at the provider. `name`: the claim that HQ's users are named by."""

    issuer: str
    subject: str
    name: str


def keep(begun: Begun) -> str:
    """As text, to be sealed."""
    return json.dumps(begun.__dict__)


def kept(text: str) -> Begun:
    """Back from the text. Raises ValueError."""
    try:
        return Begun(**json.loads(text))
    except TypeError:
        raise ValueError("no login that is under way") from None
