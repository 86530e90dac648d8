"""Hostile JSON and TOML through every door: a clear error, no traceback; only valid JSON out."""

import ast
import json
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbal_controller.config import files as config_files
from pbal_controller.documents import (
    DocumentError,
    dump_json,
    load_json,
    load_toml,
    read_json,
    read_toml,
    toml_value,
)
from pbal_controller.errors import BearerError, ConfigError, KeyStoreError
from pbal_controller.keys import file as keyfile
from pbal_controller.meters import FileMeter
from pbal_tools import sitefile
from pbal_tools.board import model as board
from pbal_tools.commission.questions import Asker
from pbal_tools.commission.state import FILE, State
from pbal_tools.errors import InputError, PeerError
from pbal_tools.flash import device, image

ROOT = Path(__file__).resolve().parents[3]
NINES = "9" * 5000
HOSTILE_JSON = {
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep table": '{"v":' * 50_000 + "1" + "}" * 50_000,
    "not so deep": "[" * 40 + "]" * 40,
    "digits": f'{{"v": {NINES}}}',
    "wide number": '{"v": 18446744073709551616}',
    "infinity": '{"v": -Infinity}',
    "nan": '{"v": NaN}',
    "beyond a double": '{"v": 1e999}',
    "half a pair": '{"v": "\\ud83d"}',
    "half a pair as a key": '{"\\udc00": 1}',
    "cut": '{"v": [1',
    "zeros": "\0" * 64,
}
HOSTILE_TOML = {
    "deep list": "v = " + "[" * 50_000,
    "deep table": "v = " + "{a=" * 20_000,
    "dotted": ".".join("a" * 500) + " = 1",
    "table names": "[" + ".".join("a" * 500) + "]",
    "digits": f"v = {NINES}",
    "wide number": "v = 18446744073709551616",
    "hex": "v = 0x" + "f" * 5000,
    "infinity": "v = inf",
    "nan": "v = nan",
    "del": 'v = "a\x7f"',
    "zeros": "\0" * 64,
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json(name: str, tmp_path: Path) -> None:
    text = HOSTILE_JSON[name]
    with pytest.raises(DocumentError) as told:
        load_json(text)
    assert len(str(told.value)) < 300
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DocumentError):
        read_json(path)


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_hostile_toml(name: str, tmp_path: Path) -> None:
    text = HOSTILE_TOML[name]
    with pytest.raises(DocumentError) as told:
        load_toml(text)
    assert len(str(told.value)) < 300
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(DocumentError):
        read_toml(path)


def test_bytes_that_are_no_text_and_too_many_of_them(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'"\xff"')
    with pytest.raises(DocumentError, match="UTF-8"):
        read_json(path)
    path.write_bytes(b" " * 1001 + b"1")
    assert read_json(path) == 1
    with pytest.raises(DocumentError, match="more than 1000 bytes"):
        read_json(path, 1000)
    with pytest.raises(DocumentError, match="more than 10"):
        load_toml("a = 1 # long enough", 10)


def test_what_is_allowed_comes_through() -> None:
    data = {"a": [1, -2.5, None, True, "Zoë \U0001f600"], "b": {"c": [2**63, -(2**63)]}}
    assert load_json(json.dumps(data)) == data
    deep = "[" * 31 + "1" + "]" * 31
    assert load_json(deep) == json.loads(deep)
    assert load_toml('a = 1\n[b]\nc = "\\u007F"') == {"a": 1, "b": {"c": "\x7f"}}


def site_file(path: Path) -> None:
    sitefile.load(path)


def board_file(path: Path) -> None:
    board.load(str(path))


def state_file(path: Path) -> None:
    path.rename(path.parent / FILE)
    State.read(path.parent)


DOORS = {
    "configuration": (config_files.load, "toml", ConfigError),
    "site": (site_file, "toml", InputError),
    "board": (board_file, "toml", InputError),
    "answers.toml": (Asker.load, "toml", InputError),
    "answers.json": (Asker.load, "json", InputError),
    "key store": (keyfile.read, "json", KeyStoreError),
    "meter": (lambda path: FileMeter(path)._read(), "json", BearerError),
    "record": (state_file, "json", InputError),
    "pins": (image.load_pins, "json", InputError),
    "a node": (lambda path: device.answer(path.read_text()), "json", PeerError),
}
THROUGH = [
    (door, name)
    for door, (_, kind, _) in DOORS.items()
    for name in (HOSTILE_JSON if kind == "json" else HOSTILE_TOML)
]


@pytest.mark.parametrize(("door", "name"), THROUGH)
def test_through_every_door(door: str, name: str, tmp_path: Path) -> None:
    enter, kind, error = DOORS[door]
    path = tmp_path / f"x.{kind}"
    path.write_text((HOSTILE_JSON if kind == "json" else HOSTILE_TOML)[name])
    with pytest.raises(error) as told:
        enter(path)  # type: ignore[operator]
    assert len(str(told.value)) < 500


def test_a_variable_that_is_no_toml_is_text(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[site]\nid = 1\n")
    for text in ("[" * 50_000, NINES):
        with pytest.raises(ConfigError) as told:
            config_files.load(tmp_path / "c.toml", {"PBAL_HTTP__PORT": text})
        assert "http.port" in str(told.value)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_LIKE)
def test_whatever_is_written_is_json(data: object) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = dump_json(data)
    json.loads(text, parse_constant=refuse)
    assert dump_json({"a": (math.inf, 1.5), "b": math.nan}) == '{"a": [null, 1.5], "b": null}'


@example("\x7f")  # the one control character that TOML refuses and JSON takes
@given(st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans())
def test_whatever_is_written_is_toml(value: object) -> None:
    if isinstance(value, float) and math.isinf(value):
        with pytest.raises(ValueError, match="JSON compliant"):
            toml_value(value)
        return
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


def test_there_is_no_other_door() -> None:
    """Neither the controller nor the tools parse or write JSON or TOML by another way."""
    seen = 0
    for room in ("pi_controller/pbal_controller", "tools/pbal_tools"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name == "documents.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    seen += 1
                    name = f"{node.value.id}.{node.attr}"
                    assert name not in (
                        "json.load", "json.loads", "json.dump", "json.dumps", "tomllib.load",
                        "tomllib.loads", "web.json_response",
                    ) or path.name == "http.py", f"{path}: {name}"  # fmt: skip
    assert seen > 1000
