"""Strings in constant tuples are kept once, as the interpreter's names.

MicroPython makes each string of a constant tuple an object of its own, unless it knows a name of
the same letters when the module is loaded: twice 64 bytes for each (half on the chip), and again
as a name where it becomes an attribute. A module's names are loaded before its constants, so a
statement that only mentions the strings makes them names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from keyword import iskeyword

from .trees import Nodes

_WORD = re.compile(r"[A-Za-z0-9_%*]{1,24}")
_LONG = 10  # the compiler makes a name of a string up to this length, and of any keyword
_PER_LINE = 8


def in_tuples(nodes: Nodes) -> list[str]:
    """Short strings in a module's tuples of constants, each once; those of outer tuples first."""
    found: dict[str, None] = {}
    tuples = [(node, depth) for node, depth in nodes if isinstance(node, ast.Tuple)]
    for node, _ in sorted(tuples, key=lambda at: at[1]):
        if isinstance(node.ctx, ast.Load):
            for part in node.elts:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found[part.value] = None
    return [text for text in found if _WORD.fullmatch(text)]


def mentioned(text: str, strings: Iterable[str]) -> str:
    """A module's source with statements at its end that mention those strings; lines stay."""
    short = [s for s in strings if len(s) <= _LONG]
    long = [s for s in strings if len(s) > _LONG and s.isidentifier() and not iskeyword(s)]
    lines = [repr(short[i : i + _PER_LINE]) for i in range(0, len(short), _PER_LINE)]
    lines += [
        "dict(" + ", ".join(f"{s}=0" for s in long[i : i + _PER_LINE]) + ")"
        for i in range(0, len(long), _PER_LINE)
    ]
    if not lines:
        return text
    return text + ("" if text.endswith("\n") else "\n") + "\n".join(lines) + "\n"
