"""A module's source as a list of its syntax tree's nodes: parsed once, looked at several times."""

from __future__ import annotations

import ast

from .errors import BuildError

# Every node, with its depth, in the order of the source.
Nodes = list[tuple[ast.AST, int]]

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_fields: dict[type[ast.AST], tuple[str, ...]] = {}


def children(node: ast.AST) -> list[ast.AST]:
    """Its nodes, of which `nodes` makes the list."""
    kind = type(node)
    names = _fields.get(kind)
    if names is None:
        names = _fields[kind] = tuple(
            name for name in kind._fields if name not in ("ctx", "op", "ops")
        )
    found: list[ast.AST] = []
    for name in names:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    if isinstance(node, _DOCUMENTED) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            found.remove(first)
    return found


def nodes(module: str, text: str) -> Nodes:
    """All nodes of a text but docstrings, operators and contexts: nobody here asks for those.

    Raises BuildError, which names the module, for source that does not parse.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as e:
        raise BuildError(f"{module} does not compile: {e}") from e
    out: Nodes = []
    waiting: Nodes = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        out.append((node, depth))
        waiting += [(child, depth + 1) for child in reversed(children(node))]
    return out
