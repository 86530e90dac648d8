"""Errors that no code of a node tells apart are one class in the compiled modules.

A class takes some 250 bytes of a node's heap (half on the chip) for its name alone. One that has
nothing but a docstring is what its base is; the message still says what was wrong.
"""

from __future__ import annotations

import ast
from functools import lru_cache

MODULE = "pbal_protocol/errors.py"


def _is_leaf(node: ast.stmt, bases: set[str]) -> bool:
    """A class with nothing but a docstring and one base, which no other class has as its own."""
    return (
        isinstance(node, ast.ClassDef)
        and node.name not in bases
        and len(node.bases) == 1
        and isinstance(node.bases[0], ast.Name)
        and len(node.body) == 1
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    )


@lru_cache(maxsize=16)
def merged(text: str) -> str:
    """The module's source with each of them as another name of its base; lines stay."""
    tree = ast.parse(text)
    bases = {
        base.id
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    lines = text.splitlines()
    for node in tree.body:
        if _is_leaf(node, bases):
            assert isinstance(node, ast.ClassDef)
            assert isinstance(node.bases[0], ast.Name)
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [
                f"{node.name} = {node.bases[0].id}",
                *[""] * (node.end_lineno - node.lineno),
            ]
    return "\n".join(lines) + "\n"
