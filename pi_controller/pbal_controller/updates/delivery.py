"""The delivery of one release to one home: the next Update to send. Pure, without waiting.

A home has at most one Update on the line; the status that answers it decides what comes next.
Silence, resets and other bearers need no special care: the node reports how far it is.
"""

from __future__ import annotations

from pbal_controller.updates.release import Release
from pbal_protocol import records as r

# Bytes of the stream in one frame; the sealed frame then has 223.
CHUNK = 200
# What its record takes of a frame: identifier, op, offset (4), length, and the chunk.
ROOM = CHUNK + 7
# Asking again a node that is busy (it verifies, copies, writes) or that only waits.
ASK_AGAIN_S = 0.4
WATCH_S = 2.0


class Delivery:
    """`commit` starts the trial once the node is ready; `forget` drops an earlier failure first."""

    def __init__(self, release: Release, *, forget: bool = False) -> None:
        self.release = release
        self.status: r.UpdateStatus | None = None
        self.status_at = float("-inf")
        self.commit = False
        self.forget = forget
        self.bytes_sent = 0
        self._digest = release.digest
        self._stream = release.stream
        self._asked_at = float("-inf")
        self._answered = True

    @property
    def concerned(self) -> bool:
        """Whether the latest status is about this release."""
        return self.status is not None and self.status.digest == self._digest[:8]

    @property
    def stage(self) -> int:
        """STAGE_* of this release at the node; idle while that is not known."""
        return self.status.stage if self.status is not None and self.concerned else r.STAGE_IDLE

    @property
    def hungry(self) -> bool:
        """Whether the node waits for data and none is under way."""
        return (
            self._answered
            and self.status is not None
            and self.stage == r.STAGE_RECEIVING
            and self.status.want > 0
        )

    def received(self, status: r.UpdateStatus, now: float) -> None:
        """The node answered."""
        self.status = status
        self.status_at = now
        self._answered = True

    def order(self, now: float) -> r.Update | None:
        """The Update for the next frame, None when there is nothing to send yet."""
        if self.hungry:
            status = self.status
            assert status is not None
            data = self._stream[status.next : status.next + min(CHUNK, status.want)]
            self.bytes_sent += len(data)
            return self._sent(r.Update(op=r.OP_DATA, at=status.next, data=data), now)
        calm = self.stage in (r.STAGE_READY, r.STAGE_TRIAL, r.STAGE_GOOD, r.STAGE_FAILED)
        acting = self.forget or (self.commit and self.stage == r.STAGE_READY)
        if now - self._asked_at < (WATCH_S if calm and not acting else ASK_AGAIN_S):
            return None
        if self.forget and self.concerned and self.stage == r.STAGE_FAILED:
            self.forget = False
            return self._sent(r.Update(op=r.OP_ABORT, data=self._digest[:8]), now)
        if self.commit and self.stage == r.STAGE_READY:
            return self._sent(r.Update(op=r.OP_COMMIT, data=self._digest[:8]), now)
        # An offer is also a question, and what a node that restarted needs.
        data = self._digest + self.release.signature
        return self._sent(r.Update(op=r.OP_OFFER, at=len(self.release.manifest), data=data), now)

    def _sent(self, order: r.Update, now: float) -> r.Update:
        self._asked_at = now
        self._answered = False
        return order
