"""Configuration: merging, overriding, and complaints that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbal_controller.config import load
from pbal_controller.errors import ConfigError

GOOD = """
[site]
id = 7
[bus.a]
port = "/dev/ttyUSB0"
[[home]]
address = 257
bus = "a"
"""


def write(folder: Path, text: str, name: str = "pbal.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), {})
    assert config.planner.every_s == 60
    assert config.bus["a"].parity == "E"
    assert config.http.host == "127.0.0.1"


def test_conf_d_is_merged_in_name_order(tmp_path: Path) -> None:
    main = write(tmp_path, GOOD)
    write(tmp_path, "[planner]\nevery_s = 5\n[site]\nname = 'x'\n", "conf.d/10.toml")
    write(tmp_path, "[planner]\nevery_s = 6\n[[home]]\naddress=258\nbus='a'\n", "conf.d/20.toml")
    config = load(main, {})
    assert config.planner.every_s == 6
    assert config.site.id == 7
    assert config.site.name == "x"
    assert [home.address for home in config.home] == [257, 258]


def test_environment_overrides(tmp_path: Path) -> None:
    env = {
        "PBAL_HTTP__PORT": "9000",
        "PBAL_BUS__A__PORT": "/dev/ttyX",
        "PBAL_PLANNER__CORE__PRICE": "12.5",
        "PBAL_CRASH_AT": "sent",
        "OTHER": "1",
    }
    config = load(write(tmp_path, GOOD), env)
    assert config.http.port == 9000
    assert config.bus["a"].port == "/dev/ttyX"
    assert config.planner.core["price"] == 12.5


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = GOOD + '[journal]\npath = "j.db"\n[keys]\nfile = "/abs/k.json"\n'
    config = load(write(tmp_path, text), {})
    assert config.journal.path == tmp_path / "j.db"
    assert config.keys.file == Path("/abs/k.json")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[bus.a]\nport='x'\n", ["pbal.toml", "site", "missing"]),
        (
            GOOD + "[planner]\nevry_s = 3\n",
            ["planner.evry_s", 'did you mean "every_s"?'],
        ),
        (GOOD.replace('bus = "a"', 'bus = "b"'), ["257", '"b"', "[bus.b]"]),
        (GOOD + "[[home]]\naddress = 257\nbus = 'a'\n", ["two homes", "257"]),
        (GOOD + "[[home]]\naddress = 513\nbus = 'a'\n", ["unit 1"]),
        (GOOD.replace("257", "256"), ["home[0]", "unit 0"]),
        (GOOD + "[http]\nport = 70000\n", ["http.port", "70000"]),
        (GOOD + "[transformer.meter]\nkind = 'sdm630'\n", ["transformer.meter", "port"]),
        (GOOD + "[transformer.meter]\nkind='sdm630'\nbus='q'\n", ["q", "not declared"]),
        ("[site\n", ["not valid TOML", "line 1"]),
        (GOOD + "[http]\nhost = 7\n", ["http.host", "text in quotes", "7"]),
        (GOOD + "[http]\nport = 'x'\n", ["http.port", "whole number"]),
        (GOOD + "[planner]\nmax_moving_share = 2\n", ["max_moving_share", "at most 1"]),
        (GOOD + "[planner]\nenabled = 'maybe'\n", ["planner.enabled", "true or false"]),
        (GOOD + "[log]\nformat = 'xml'\n", ["log.format", "'json' or 'text'"]),
        (GOOD.replace('bus = "a"', "bus = 4"), ["home[0].bus (address 257)", "quotes"]),
        (
            "site = 3\nbus = 4\nhome = 5\n",
            ["site: must be a table", "each with a name", "[[home]]"],
        ),
        (GOOD.replace("address", "adress"), ["home[0].adress", 'did you mean "address"?']),
        (GOOD.replace("[[home]]", "[[homes]]"), ["homes: is not", 'did you mean "home"?']),
        (GOOD + "[zebra]\n", ["zebra: is not a known key; correct its spelling or remove it"]),
        (GOOD.replace("id = 7", "id = true"), ["site.id: must be a number, not true or false"]),
        (GOOD + "[journal]\nkeep_days = true\n", ["journal.keep_days", "(it is true)"]),
        (GOOD + "fuse_a = false\n", ["home[0].fuse_a (address 257)", "(it is false)"]),
        (
            GOOD + "[bearer.x]\nkind = 'lora'\nregion = 'IN866'\n[bearer.y]\nkind = 'null'\n",
            ["bearer.x: no radio plan 'IN866'"],
        ),
        (
            GOOD + "[bearer.x]\nkind = 'udp'\nprot = 5\nhost = 4\n",
            ['bearer.x.prot: is not a known key; did you mean "port"?', "bearer.x.host: "],
        ),
    ],
)
def test_complaints_name_file_key_and_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {})
    for part in parts:
        assert part in str(caught.value)


def test_the_complaint_names_the_file_that_said_it(tmp_path: Path) -> None:
    main = write(tmp_path, GOOD)
    write(tmp_path, "[http]\nport = 'x'\n", "conf.d/10-web.toml")
    with pytest.raises(ConfigError, match=r"10-web\.toml: http\.port"):
        load(main, {})


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_an_editor_may_begin_the_file_with_a_mark(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path, "")
    path.write_bytes((mark + GOOD).replace("\n", "\r\n").encode())
    assert load(path, {}).site.id == 7


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD.encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (b"a = 1\n# M\xfchlweg\n", r"it is no UTF-8 text \(line 2\); save it as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_says_how_to_save_it(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = write(tmp_path, "")
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words):
        load(path, {})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        load(tmp_path / "none.toml", {})


def test_all_problems_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, GOOD + "[http]\nport=-1\n[log]\nlevel='loud'\n"), {})
    assert len(str(caught.value).splitlines()) == 2
