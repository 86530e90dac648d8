"""The errors of engines; each text says what to do.

EngineError
  Missing        a program, a Java or an artifact that has to be installed first
  BadArtifact    what was fetched is not what was tested
  NotStarted     an engine ended, or was not ready in time; with the end of its log
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all of them."""


class Missing(EngineError):
    """A program, a Java or an artifact is not there, and cannot be fetched."""


class BadArtifact(EngineError):
    """A file's hash is another than the one in the list."""


class NotStarted(EngineError):
    """An engine ended by itself, or was not ready in time."""
