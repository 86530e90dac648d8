"""Short names of parameters in the compiled modules.

MicroPython keeps the name of every parameter, because a caller may give it by keyword. One that no
call gives by keyword, and that is no other name anywhere, is used by its own module alone.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping

from .names import Plan, short_names


class _Names(ast.NodeVisitor):
    """What one module's words are used for."""

    def __init__(self, tree: ast.Module) -> None:
        self.parameters: set[str] = set()
        self.variables: set[str] = set()  # of functions and of the module
        self.others: set[str] = set()  # attributes, keywords, imports, definitions, globals
        self.visit(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef):
                for statement in node.body:
                    self._bound_outside_functions(statement)

    def _bound_outside_functions(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            return
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.others.add(node.id)
        for child in ast.iter_child_nodes(node):
            self._bound_outside_functions(child)

    def visit_arg(self, node: ast.arg) -> None:
        self.parameters.add(node.arg)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.variables.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.others.add(node.attr)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        self.others.add(node.arg or "")
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.others.update(node.name.split("."))
        self.others.add(node.asname or "")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.others.update((node.module or "").split("."))
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.others.update(node.names)

    visit_Nonlocal = visit_Global

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.others.add(node.name)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.others.add(node.name)
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # Which tokens a formatted string has depends on Python's version.
        self.others.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
        self.generic_visit(node)


def plan(sources: Mapping[str, str], private: Plan, as_it_is: Iterable[str] = ()) -> Plan:
    """What the parameters of each module become, beside its private names.

    `sources`: text by dotted name of the module. `private`: what `names.plan` found for them.
    `as_it_is`: modules that are not renamed.
    """
    found = {module: _Names(ast.parse(text)) for module, text in sources.items()}
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
