"""Loops that do not end: supervision, back-off, cancellation, systemd's watchdog."""

from pbal_controller.loops import sdnotify
from pbal_controller.loops.backoff import Backoff, pause
from pbal_controller.loops.supervisor import Ended, LoopBody, Supervisor

__all__ = ["Backoff", "Ended", "LoopBody", "Supervisor", "pause", "sdnotify"]
