"""What the API takes and gives, where it is not a dataclass of a room."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pbal_hq.auth import Grant, Role


class Taken(BaseModel):
    """Base of what is taken: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class LoginIn(Taken):
    """A name, a password, and the code of the second factor where there is one."""

    name: str = Field(max_length=100)
    password: str = Field(max_length=1000)
    code: str = Field(default="", max_length=10)


class RefreshIn(Taken):
    """A refresh token; it counts once."""

    refresh: str = Field(max_length=200)


class TokensOut(BaseModel):
    """Tokens: `access` for the next `expires_in_s` seconds; `refresh` None: yours stays good."""

    access: str
    refresh: str | None
    expires_in_s: int


class MeOut(BaseModel):
    """Who one is."""

    name: str
    full_name: str
    pending: str
    permissions: list[str]


class WordsIn(Taken):
    """Words for others."""

    words: str = Field(default="", max_length=1000)


class ShelveIn(WordsIn):
    """For how long, and why; 0 s takes it back."""

    for_s: int = Field(ge=0, le=30 * 86_400)


class CommandIn(Taken):
    """An order (docs/hq-portal.md, Commands)."""

    kind: Literal["mode", "limits", "rebirth", "reading", "rollout"]
    mode: Literal["run", "dry-run", "hold"] | None = None
    phase_limit_a: Annotated[float, Field(ge=1, le=6000)] | None = None
    max_moving_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    release: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    why: str = Field(min_length=1, max_length=200)
    good_for_s: int = Field(default=3600, ge=60, le=86_400)


class GrantIn(Taken):
    """A role at the whole tree, an area or a transformer: exactly one of them."""

    role: Role
    whole: bool = False
    area_id: int | None = None
    transformer_id: int | None = None

    def grant(self) -> Grant:
        """Raises BadInput."""
        return Grant(self.role, self.whole, self.area_id, self.transformer_id)


class GrantsIn(Taken):
    """All grants of a user, in place of those there were."""

    grants: list[GrantIn] = Field(max_length=100)


class UserIn(GrantsIn):
    """A new user."""

    name: str = Field(max_length=40)
    full_name: str = Field(default="", max_length=120)
    # How they log in: password, provider, or token (a machine).
    login: str = Field(default="password", max_length=20)


class ActiveIn(Taken):
    """Whether a user may log in."""

    active: bool


class ImportIn(Taken):
    """The utility's list as CSV text; `take`: not only compare it."""

    csv: str = Field(max_length=20_000_000)
    take: bool = False


class PasswordOut(BaseModel):
    """A first password, shown this once."""

    id: int
    password: str


class EntryOut(BaseModel):
    """An entry of the audit log; `detail` is JSON text, `hash` hex digits."""

    id: int
    at_us: int
    actor: str
    action: str
    object: str
    detail: str
    hash: str


class VerdictOut(BaseModel):
    """What checking the audit log found."""

    ok: bool
    entries: int
    last_id: int
    last_hash: str
    wrong: str
