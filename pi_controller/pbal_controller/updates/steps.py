"""The step in a rollout that follows from a home's answers and silences. Nothing here waits."""

from __future__ import annotations

from collections.abc import Callable

from pbal_controller.config import UpdateConfig
from pbal_controller.updates.delivery import Delivery
from pbal_controller.updates.progress import Progress, Rollout, Step
from pbal_protocol import records as r

# A home that is being updated is not moved meanwhile, for this long after it restarts.
_HOLD_S = 30.0

Change = tuple[Step, str]  # the step a home takes, and the detail that goes with it


def next_step(
    rollout: Rollout, p: Progress, config: UpdateConfig, busy: Callable[[int], bool], now: float
) -> Change | None:
    """The step that this home takes now; None: it stays where it is.

    `busy` says of an address whether that home is being moved. A home that is ready, and may, is
    ordered to restart.
    """
    if not p.step.under_way:
        return None
    home = p.home
    delivery = p.delivery
    if p.step is Step.WATCHED:
        return _watched(p, config, now)
    assert delivery is not None
    stage = delivery.stage
    if stage == r.STAGE_FAILED and not delivery.forget and p.step is not Step.READY:
        return Step.FAILED, _why(delivery)
    if stage == r.STAGE_GOOD:
        p.boots = home.boots
        return Step.WATCHED, p.old_faults
    if p.step is Step.SENDING and stage == r.STAGE_READY:
        return Step.READY, p.old_faults
    if (
        p.step in (Step.SENDING, Step.READY)
        and not delivery.commit
        and not home.alive
        and now - max(p.since, home.heard_at) > config.silent_s
    ):
        p.not_before = now + config.silent_s
        return Step.WAITING, "silent while it was sent to"
    if (
        p.step is Step.SENDING
        and home.alive
        and now - max(p.since, delivery.status_at) > config.silent_s
    ):
        return Step.FAILED, "the node takes no updates (old firmware, no room)"
    if p.step is Step.READY:
        return _ready(rollout, p, delivery, config, busy, now)
    if p.step is Step.TRIAL and now - p.since > config.trial_s:
        return Step.FAILED, "its trial did not end in time"
    return None


def _ready(
    rollout: Rollout,
    p: Progress,
    delivery: Delivery,
    config: UpdateConfig,
    busy: Callable[[int], bool],
    now: float,
) -> Change | None:
    """Restart into the trial, few homes at once and none that is being moved."""
    if delivery.stage in (r.STAGE_RESTARTING, r.STAGE_TRIAL):
        return Step.TRIAL, p.old_faults
    if delivery.stage == r.STAGE_FAILED:
        return Step.FAILED, _why(delivery)
    if delivery.commit:
        # The answer that says "restarting" may be lost: the node then comes back on trial. One
        # that does not come back at all must not block the rollout without an error.
        if now - p.since > config.trial_s:
            return Step.FAILED, "silent since it was told to restart"
        return None
    if rollout.restarting(besides=p) >= config.at_once or busy(p.home.address):
        return None
    p.home.hold_until = max(p.home.hold_until, now + _HOLD_S)
    p.home.hold_reason = "being updated"
    p.flags_before = p.home.flags
    p.since = now
    delivery.commit = True
    return None


def _watched(p: Progress, config: UpdateConfig, now: float) -> Change | None:
    """After the trial: whether the home works as well as before."""
    home = p.home
    if p.boots and home.boots > p.boots:
        return Step.FAILED, "restarted by itself after the update"
    if p.new_faults:
        return Step.FAILED, f"new fault flags 0x{p.new_faults:04x}"
    if not home.alive and now - home.heard_at > config.silent_s:
        return Step.FAILED, "silent after the update"
    if now - p.since >= config.soak_s and home.alive:
        return Step.DONE, ""
    return None


def _why(delivery: Delivery) -> str:
    """Why the node gave up, in words."""
    assert delivery.status is not None
    why = delivery.status.why
    for name, value in vars(r).items():
        if name.startswith("WHY_") and value == why:
            return f"the node gave up: {name.removeprefix('WHY_').lower().replace('_', ' ')}"
    return f"the node gave up: {why}"
