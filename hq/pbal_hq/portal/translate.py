"""Pages in other languages: what stands in a template in English is the message.

The text between two tags or statements of a template is a message; an expression within it is {0},
{1}, ... and may stand elsewhere in the translation. So are the attributes that people read, and
what is given to `_("...")`. Nothing is marked in the templates; a new text is a message that the
test of the catalogues names.

A catalogue is languages/LANGUAGE.po (gettext). Its messages are put into the template's source when
it is loaded, so a page in another language takes no longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
from babel.messages.pofile import read_po

LANGUAGES = {"en": "English", "hi": "हिन्दी", "ml": "മലയാളം"}

_JINJA = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}", re.S)
_ATTRIBUTE = re.compile(r'(\s(?:aria-label|alt|title|data-h)=")([^"]*)(")')
_CALL = re.compile(r'\b_\("((?:[^"\\]|\\.)*)"\)')
# An expression or statement is one private character while HTML is read.
_EXPRESSION, _STATEMENT = 0xE000, 0xF0000
_HELD = re.compile(f"[{chr(_EXPRESSION)}-{chr(_EXPRESSION + 0x17FF)}]")
_SPLIT = re.compile(f"(<[^>]*>|[{chr(_STATEMENT)}-{chr(_STATEMENT + 0xFFF)}])", re.S)
_WITHIN_TAG = re.compile(r'[a-z-]+="')
_WORD = re.compile(r"[A-Za-z]{2}")

Look = Callable[[str], str]


def _message(text: str) -> tuple[str, list[str]]:
    """The message of a text, and what its placeholders stand for."""
    held: list[str] = []

    def number(found: re.Match[str]) -> str:
        held.append(found[0])
        return f"{{{len(held) - 1}}}"

    return " ".join(_HELD.sub(number, text).split()), held


def _put(text: str, look: Look) -> str:
    """A text in the other language, with the space around it as it was."""
    message, held = _message(text)
    # What stands within a tag in a block of its own is no text.
    if not _WORD.search(re.sub(r"{\d+}", "", message)) or _WITHIN_TAG.match(message):
        return text
    made = look(message)
    for number, each in enumerate(held):
        made = made.replace(f"{{{number}}}", each)
    before = text[: len(text) - len(text.lstrip())]
    return before + made + text[len(text.rstrip()) :]


def translated(source: str, look: Look) -> str:
    """A template's source with each message as `look` has it."""
    kept: dict[str, str] = {}

    def hold(found: re.Match[str]) -> str:
        is_value = found[0].startswith("{{")
        key = chr((_EXPRESSION if is_value else _STATEMENT) + len(kept))
        kept[key] = found[0]
        return key

    text = _JINJA.sub(hold, source)
    parts = []
    for part in _SPLIT.split(text):
        if part.startswith("<"):
            part = _ATTRIBUTE.sub(lambda found: found[1] + _put(found[2], look) + found[3], part)
        elif part not in kept or _HELD.fullmatch(part):
            part = _put(part, look)
        parts.append(part)
    made = "".join(parts)
    for key, was in kept.items():
        made = made.replace(key, was)
    return made


def messages(source: str) -> list[str]:
    """Every message of a template."""
    out: list[str] = [call[1] for call in _CALL.finditer(source)]

    def note(message: str) -> str:
        out.append(message)
        return message

    translated(source, note)
    return out


class Catalogue:
    """The messages of one language. English is itself."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """From a .po file."""
        with path.open("rb") as file:
            return cls({str(m.id): str(m.string) for m in read_po(file) if m.id and m.string})

    def __call__(self, message: str) -> str:
        """The message in this language, or in English where it is not known."""
        return self.words.get(message, message)


class Loader(jinja2.FileSystemLoader):
    """Loads templates in one language."""

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        super().__init__(folder)
        self._catalogue = catalogue

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """The source, translated."""
        source, name, fresh = super().get_source(environment, template)
        return translated(source, self._catalogue), name, fresh


def chosen(cookie: str, accepted: str) -> str:
    """The language of a reader: what they chose, else the first of Accept-Language that is here."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        word = part.split(";")[0].strip().lower().split("-")[0]
        if word in LANGUAGES:
            return word
    return "en"
