"""Short private names in the compiled modules, and crash reports with the names of the source.

MicroPython keeps every distinct name that it has seen in RAM, in tables that double. A name that
begins with `_` is one module's own, so modules may share names there: `_a`, `_b`, ... in each. Line
numbers stay. Not renamed: a name that another module, a string or `from ... import` uses, and
integer constants, which leave no name in compiled code.

Modules with a class and its base are one unit: an instance has the names of both.
"""

from __future__ import annotations

import ast
import itertools
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .trees import Nodes

# Module (`pbal_node.link`) -> name in the source -> name in the compiled code.
Plan = dict[str, dict[str, str]]

_WORD = re.compile(r"\b_[A-Za-z0-9]\w*")
# A comment, a string with its prefix, a number or a word: only the last is ever a name. Python's
# own tokenizer says more, and takes ten times as long.
_TOKEN = re.compile(
    r"#[^\n]*"
    r'|[bBfFrRuU]{0,2}(?:"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
    r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')"
    r"|\d[\w.]*|\w+",
    re.DOTALL,
)
_FRAME = re.compile(r'^(\s*File "([\w.]+)", line \d+, in )(\S+)')


def _private(name: str) -> bool:
    return len(name) > 1 and name[0] == "_" and not name.startswith("__")


class Uses:
    """Where one module's private names are defined and used."""

    def __init__(self, nodes: Nodes) -> None:
        self.bound: set[str] = set()  # defined here, as a name of the module or on `self`
        self.used: set[str] = set()
        self.others: set[str] = set()  # looked up on something other than `self`
        self.fixed: set[str] = set()  # part of an import, of a string, of machine code
        self.bases: list[str] = []  # dotted names of base classes
        self.imports: dict[str, str] = {}  # name here -> dotted name
        self.consts: set[str] = set()
        for node, depth in nodes:
            seen = _SEEN.get(type(node))
            if seen is not None:
                seen(self, node)
            if (
                depth == 1
                and isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Name)
                and node.value.func.id == "const"
            ):
                self.consts.update(t.id for t in node.targets if isinstance(t, ast.Name))
        self.fixed |= self.consts

    def _see(self, name: str, *, bound: bool) -> None:
        if _private(name):
            self.used.add(name)
            if bound:
                self.bound.add(name)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.fixed.update(_WORD.findall(alias.name))
            self.imports[alias.asname or alias.name.split(".")[0]] = alias.name
            self._see(alias.asname or "", bound=True)

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.fixed.update(_WORD.findall(node.module or ""))
        for alias in node.names:
            if _private(alias.name):
                self.fixed.add(alias.name)
            self.imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            self._see(alias.asname or "", bound=True)

    def _class(self, node: ast.ClassDef) -> None:
        self._see(node.name, bound=True)
        self.bases += [ast.unparse(base) for base in node.bases]

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._see(node.name, bound=True)

    def _arg(self, node: ast.arg) -> None:
        self._see(node.arg, bound=True)

    def _keyword(self, node: ast.keyword) -> None:
        self._see(node.arg or "", bound=False)
        self.others.add(node.arg or "")

    def _name(self, node: ast.Name) -> None:
        self._see(node.id, bound=isinstance(node.ctx, ast.Store))

    def _handler(self, node: ast.ExceptHandler) -> None:
        self._see(node.name or "", bound=True)

    def _attribute(self, node: ast.Attribute) -> None:
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        self._see(node.attr, bound=own and isinstance(node.ctx, ast.Store))
        if not own:
            self.others.add(node.attr)

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.fixed.update(_WORD.findall(node.value))
        elif isinstance(node.value, bytes):
            self.fixed.update(_WORD.findall(node.value.decode("latin-1")))

    def _formatted(self, node: ast.JoinedStr) -> None:
        # Which tokens a formatted string has depends on Python's version.
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                self.fixed.add(part.id)
            elif isinstance(part, ast.Attribute):
                self.fixed.add(part.attr)


_SEEN: dict[type[ast.AST], Callable[[Uses, Any], None]] = {
    ast.Import: Uses._import,
    ast.ImportFrom: Uses._import_from,
    ast.ClassDef: Uses._class,
    ast.FunctionDef: Uses._function,
    ast.AsyncFunctionDef: Uses._function,
    ast.arg: Uses._arg,
    ast.keyword: Uses._keyword,
    ast.Name: Uses._name,
    ast.ExceptHandler: Uses._handler,
    ast.Attribute: Uses._attribute,
    ast.Constant: Uses._constant,
    ast.JoinedStr: Uses._formatted,
}


def _units(uses: Mapping[str, Uses]) -> list[list[str]]:
    """Modules that share instances, each with those of its classes' bases."""
    leader = {module: module for module in uses}

    def find(module: str) -> str:
        while leader[module] != module:
            module = leader[module]
        return module

    for module, found in uses.items():
        for base in found.bases:
            first, _, rest = base.partition(".")
            whole = found.imports.get(first, first) + ("." + rest if rest else "")
            home = whole.rpartition(".")[0]
            if home in uses:
                a, b = sorted((find(module), find(home)))
                leader[b] = a
    units: dict[str, list[str]] = defaultdict(list)
    for module in sorted(uses):
        units[find(module)].append(module)
    return list(units.values())


def short_names() -> Iterator[str]:
    letters = string.ascii_lowercase + string.ascii_uppercase
    for n in itertools.count(1):
        for chars in itertools.product(letters, repeat=n):
            yield "_" + "".join(chars)


def plan(uses: Mapping[str, Uses], as_it_is: Iterable[str] = ()) -> Plan:
    """What each module's private names become: the same for the same sources, whatever their order.

    `uses`: by dotted name of the module. `as_it_is`: modules that are not renamed.
    """
    uses = {module: uses[module] for module in sorted(uses)}
    units = _units(uses)
    kept: set[str] = set()
    bound = [set[str]().union(*(uses[m].bound for m in unit)) for unit in units]
    for i, unit in enumerate(units):
        elsewhere = set[str]().union(*(b for k, b in enumerate(bound) if k != i))
        for module in unit:
            found = uses[module]
            kept |= found.fixed - found.consts
            kept |= found.used - bound[i]  # another module's
            kept |= found.others & elsewhere  # may be another module's
    for module in as_it_is:
        kept |= uses[module].used
    taken = kept.union(*(found.used for found in uses.values()))
    result: Plan = {}
    for i, unit in enumerate(units):
        consts = set[str]().union(*(uses[m].consts for m in unit))
        names = sorted(bound[i] - kept - consts)
        free = (name for name in short_names() if name not in taken)
        table = dict(zip(names, free, strict=False))
        for module in unit:
            result[module] = table
    return result


def shorten(text: str, table: Mapping[str, str]) -> str:
    """A module's source with its names replaced; line numbers stay."""
    return _TOKEN.sub(lambda token: table.get(token[0], token[0]), text)


def readable(report: str, names: Mapping[str, Mapping[str, str]]) -> str:
    """A traceback of compiled modules with the names of the source.

    The last line names no module: it is taken to belong to the module of the frame above it.
    """
    out = []
    back: dict[str, str] = {}
    for line in report.splitlines(keepends=True):
        frame = _FRAME.match(line)
        if frame:
            back = {short: name for name, short in names.get(frame[2], {}).items()}
            line = frame[1] + back.get(frame[3], frame[3]) + line[frame.end() :]
        else:
            for short in set(_WORD.findall(line)) & back.keys():
                line = re.sub(rf"\b{short}\b", back[short], line)
        out.append(line)
    return "".join(out)
