"""Short names of parameters in the compiled modules.

MicroPython keeps the name of every parameter, because a caller may give it by keyword. One that no
call gives by keyword, and that is no other name anywhere, is used by its own module alone.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .names import Plan, short_names
from .trees import Nodes, children


class Words:
    """What one module's words are used for."""

    def __init__(self, nodes: Nodes) -> None:
        self.parameters: set[str] = set()
        self.variables: set[str] = set()  # of functions and of the module
        self.others: set[str] = set()  # attributes, keywords, imports, definitions, globals
        for node, _ in nodes:
            seen = _SEEN.get(type(node))
            if seen is not None:
                seen(self, node)

    def _bound_outside_functions(self, body: list[ast.stmt]) -> None:
        waiting: list[ast.AST] = [*body]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _OWN_NAMES):
                continue
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.others.add(node.id)
            waiting += children(node)

    def _module(self, node: ast.Module) -> None:
        self._bound_outside_functions(node.body)

    def _arg(self, node: ast.arg) -> None:
        self.parameters.add(node.arg)

    def _name(self, node: ast.Name) -> None:
        self.variables.add(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        self.others.add(node.attr)

    def _keyword(self, node: ast.keyword) -> None:
        self.others.add(node.arg or "")

    def _alias(self, node: ast.alias) -> None:
        self.others.update(node.name.split("."))
        self.others.add(node.asname or "")

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.others.update((node.module or "").split("."))

    def _global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.others.update(node.names)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.others.add(node.name)

    def _class(self, node: ast.ClassDef) -> None:
        self.others.add(node.name)
        self._bound_outside_functions(node.body)

    def _formatted(self, node: ast.JoinedStr) -> None:
        # Which tokens a formatted string has depends on Python's version.
        self.others.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


_OWN_NAMES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_SEEN: dict[type[ast.AST], Callable[[Words, Any], None]] = {
    ast.Module: Words._module,
    ast.arg: Words._arg,
    ast.Name: Words._name,
    ast.Attribute: Words._attribute,
    ast.keyword: Words._keyword,
    ast.alias: Words._alias,
    ast.ImportFrom: Words._import_from,
    ast.Global: Words._global,
    ast.Nonlocal: Words._global,
    ast.FunctionDef: Words._function,
    ast.AsyncFunctionDef: Words._function,
    ast.ClassDef: Words._class,
    ast.JoinedStr: Words._formatted,
}


def plan(found: Mapping[str, Words], private: Plan, as_it_is: Iterable[str] = ()) -> Plan:
    """What the parameters of each module become, beside its private names.

    `found`: by dotted name of the module. `private`: what `names.plan` found for them.
    `as_it_is`: modules that are not renamed.
    """
    kept = set(dir(builtins)).union(*(names.others for names in found.values()))
    for module in as_it_is:
        kept |= found[module].parameters
    written = kept.union(*(names.variables | names.parameters for names in found.values()))
    result: Plan = {}
    for module, table in private.items():
        words = sorted(word for word in found[module].parameters - kept if word[0] != "_")
        taken = written.union(table.values())
        free = (name for name in short_names() if name not in taken)
        result[module] = dict(zip(words, free, strict=False))
    for module in as_it_is:
        result[module] = {}
    return result
