"""Makes the State that HQ gets with every birth."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from pbal_controller import __version__
from pbal_controller.config import Config
from pbal_controller.documents import dump_json
from pbal_controller.standing import Mode, Restraint, Standing
from pbal_controller.uplink.facts import shortened
from pbal_uplink import VERSION, State, names

_NAME = next(field for field in State.DECLARED if field.name == "name").high


def version_number(text: str) -> int:
    """A version such as 1.2.3 as one number; 0 where it is none."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        return 0
    major, minor, patch = (min(255, int(part or 0)) for part in found.groups())
    return major << 16 | minor << 8 | patch


class StateMaker:
    """Knows the configuration and what HQ has asked for."""

    def __init__(
        self,
        config: Config,
        restraint: Restraint,
        standing: Standing,
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._config = config
        self._restraint = restraint
        self._standing = standing
        self._wall = wall
        self._now = now
        self._started = now()
        # Paths and keys are part of it, and cannot be read back from it.
        text = dump_json(config.model_dump(mode="json"))
        self._hash = hashlib.sha256(text.encode()).digest()[:8]

    def mode(self) -> int:
        """What becomes of the planner's moves now (names.MODES)."""
        if self._standing.why_not(self._now()):
            return names.MODE_STANDS_DOWN
        if self._restraint.mode is Mode.HOLD or not self._config.planner.enabled:
            return names.MODE_HOLD
        if self._restraint.mode is Mode.DRY_RUN or self._config.planner.dry_run:
            return names.MODE_DRY_RUN
        return names.MODE_RUN

    def _capabilities(self) -> int:
        t = self._config.transformer
        has = {
            "meter": t.meter is not None,
            "rating": t.rated_kva is not None,
            "losses": t.line_ohm is not None or (t.load_loss_w and t.rated_kva) is not None,
            "rollouts": self._config.update.directory is not None,
            "commands": bool(self._config.uplink.hq_keys),
        }
        return sum(bit for bit, name in names.CAPABILITIES.items() if has[name])

    def state(self, backlog: int, thinned: int) -> State:
        """The state now, with what the outbox holds."""
        c = self._config
        limit = self._restraint.limit_a(c.planner.phase_limit_a)
        return State(
            site=c.site.id,
            at_s=int(self._wall()),
            version=version_number(__version__),
            words=VERSION,
            config_hash=self._hash,
            capabilities=self._capabilities(),
            mode=self.mode(),
            homes=len(c.home),
            rated_kva=c.transformer.rated_kva,
            phase_limit_a=None if limit is None else min(6000.0, limit),
            max_moving_percent=round(
                100 * self._restraint.moving_share(c.planner.max_moving_share)
            ),
            window_s=c.uplink.window_s,
            uptime_s=int(self._now() - self._started),
            backlog=backlog,
            thinned=thinned,
            name=shortened(c.site.name, _NAME),
        )
