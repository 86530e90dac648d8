"""Questions to the crew: on the terminal, or answered beforehand from a file.

An answers file is JSON or TOML; the question `calibrate.12.va` is looked up as
`{"calibrate": {"12": {"va": 230.4}}}`. With such a file nothing is asked: a missing answer takes
the question's default, and where there is none the step ends and names it.
"""

import sys
from pathlib import Path
from typing import Any

from pbal_controller.documents import read_json, read_toml
from pbal_controller.naming import shown

from ..errors import InputError

_YES, _NO = {"y", "yes", "true", "1"}, {"n", "no", "false", "0"}


class Asker:
    """Answers questions by key. `answers` None: ask on the terminal."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self._answers = answers

    @classmethod
    def load(cls, path: Path | None) -> "Asker":
        """From an answers file. Raises InputError."""
        if path is None:
            return cls(None)
        try:
            found = read_toml(path) if path.suffix == ".toml" else read_json(path)
        except FileNotFoundError:
            raise InputError(f"There is no file {path}.", "Check --answers.") from None
        except (OSError, ValueError) as exc:
            raise InputError(f"{path} is broken: {exc}", "It is JSON, or TOML (.toml).") from None
        if not isinstance(found, dict):
            raise InputError(f"{path} is no table of answers.", "Begin with {.")
        return cls(found)

    @property
    def headless(self) -> bool:
        """True when there is no person to ask."""
        return self._answers is not None or not sys.stdin.isatty()

    def _look(self, key: str) -> Any:
        at: Any = self._answers
        for part in key.split("."):
            if not isinstance(at, dict) or part not in at:
                return None
            at = at[part]
        return at

    def given(self, key: str) -> bool:
        """Whether the file has a value under this key."""
        return self._look(key) is not None

    def _get(self, key: str, words: str, default: str | None) -> str:
        found = self._look(key)
        if found is not None and not isinstance(found, dict | list):
            return str(found)
        if self.headless:
            if default is None:
                raise InputError(
                    f"The question {key!r} has no answer: {words}",
                    "Add it to the file given with --answers, or run it on a terminal.",
                )
            return default
        hint = f" [{default}]" if default else ""
        return _typed(f"  {words}{hint}: ").strip() or (default or "")

    def yes(self, key: str, words: str, default: bool | None = None) -> bool:
        """A question of yes or no. Raises InputError for another answer given in a file."""
        while True:
            shown = None if default is None else "yes" if default else "no"
            answer = self._get(key, words, shown).lower()
            if answer in _YES | _NO:
                return answer in _YES
            if self.headless:
                raise InputError(f"{key}: {answer!r} is neither yes nor no.", "Correct it.")
            print(f"  {answer!r} is neither yes nor no")

    def number(self, key: str, words: str, low: float, high: float) -> float | None:
        """A number in a range; None where it was left out."""
        while True:
            answer = self._get(key, f"{words} (empty: skip)", "").replace(",", ".")
            if not answer:
                return None
            try:
                value = float(answer)
            except ValueError:
                value = float("nan")
            if low <= value <= high:
                return value
            if self.headless:
                raise InputError(f"{key}: {answer!r} is not {low:g}..{high:g}.", "Correct it.")
            print(f"  {answer!r} is not {low:g}..{high:g}")

    def text(self, key: str, words: str, default: str = "") -> str:
        """A line of words."""
        return shown(self._get(key, words, default))

    def ready(self, key: str, words: str) -> None:
        """Waits until the crew has done something; returns at once where nobody can answer."""
        if not self.headless:
            _typed(f"  {words}, then press Enter ")


def _typed(words: str) -> str:
    """A line from the terminal. Raises InputError where it was closed."""
    try:
        return input(words)
    except EOFError:
        raise InputError(
            "The terminal was closed at a question.", "The same command goes on from here."
        ) from None
