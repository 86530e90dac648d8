"""What is unloaded after its use: nothing of it may run later, as its names are gone by then.

An opener that outlived its module once failed at its first use, long after the start.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Functions made within one that are handed on, and yet end with it: who takes them and why.
ENDS_WITH_IT = {
    ("hardware", "allowed"),  # Config asks while it is made
}


def sources() -> dict[str, ast.Module]:
    """By dotted name, what runs on a node."""
    return {
        ".".join(file.relative_to(folder).with_suffix("").parts): ast.parse(file.read_text("utf-8"))
        for folder in (ROOT / "firmware", ROOT / "protocol")
        for package in ("pbal_node", "pbal_protocol")
        for file in (folder / package).rglob("*.py")
    }


def unloaded(modules: dict[str, ast.Module]) -> set[str]:
    """Those named in a call of `unload`, or in a table of such names."""
    found = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(ast.Name("unload"), [ast.Constant(str(a)), ast.Constant(str(b))]):
                    found.add(f"{a}.{b}")
                case ast.Assign([ast.Name("_UNLOADED")], table):
                    found.update(".".join(pair) for pair in ast.literal_eval(table))
    return found


def within(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions made by functions, that are not called at once by `boards.part`."""
    at_once = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "boards.part"
        for argument in node.args
    }
    for maker in ast.walk(tree):
        if isinstance(maker, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(maker):
                if node is maker or id(node) in at_once:
                    continue
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield node.name, node
                elif isinstance(node, ast.Lambda):
                    yield "lambda", node


def test_no_function_outlives_the_module_whose_names_it_uses() -> None:
    modules = sources()
    names = unloaded(modules)
    assert {"pbal_node.bearers.fitting", "pbal_node.build", "pbal_node.hardware"} <= names
    assert names <= set(modules), "unload() of what is not there"
    left = {
        (module.rpartition(".")[2], name, node.lineno)
        for module in names
        for name, node in within(modules[module])
    }
    assert {(module, name) for module, name, _ in left} == ENDS_WITH_IT, left
