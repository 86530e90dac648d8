"""Summaries for HQ."""

from pbal_controller.uplink.summaries import Uplink

__all__ = ["Uplink"]
