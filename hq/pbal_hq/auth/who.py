"""The user who is logged in: checked before anything is shown or done."""

from __future__ import annotations

from dataclasses import dataclass

from pbal_hq.auth.errors import NotAllowed
from pbal_hq.auth.roles import MEANINGS, Grant, Permission, Scope, permissions, scope


@dataclass(frozen=True)
class Who:
    """A user with a session. `pending`: "", or what has to be done first ("password", "totp")."""

    id: int
    name: str
    full_name: str
    session_id: int
    grants: tuple[Grant, ...]
    pending: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        """What they may do somewhere; nothing while something is pending."""
        return frozenset() if self.pending else permissions(self.grants)

    def scope(self, permission: Permission) -> Scope:
        """Where they may. Raises NotAllowed where that is nowhere."""
        if self.pending == "password":
            raise NotAllowed("Choose your own password first.")
        if self.pending:
            raise NotAllowed("Set up the second factor first.")
        found = scope(self.grants, permission)
        if found.nowhere:
            raise NotAllowed(f"Your roles do not allow you to {MEANINGS[permission]}.")
        return found
