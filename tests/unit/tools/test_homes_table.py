"""The spreadsheet of homes and the names in it: one reader, one rule, wherever they go."""

import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_controller.config import files as config_files
from pbal_controller.errors import ConfigError
from pbal_controller.naming import check_name, one_line, shown
from pbal_tools import homestable, label, sitefile
from pbal_tools.errors import InputError
from pbal_tools.provision import work
from pbal_tools.site.importer import import_csv

BUSES = {"east": "/dev/ttyUSB3"}
ONE_FOR_ALL = (
    "\ufeffAddress ;Name;Bus;Feeder;Phase;Bearer;Fixed;EUI;Board\r\n"
    "007;Dr. Öz;;F2;3;rs485;X;24-A1-60-FF-FE-00-00-0A;esp32-devkitc\r\n"
    '258.0;"Hill St. 4;\r\nback house";east;;b;;N;;\r\n'
    ";;;;;;;;\r\n"
    "0x0103;;;;;;;;\r\n"
)


def table(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode())
    return path


def test_one_spreadsheet_serves_every_command(tmp_path: Path) -> None:
    path = table(tmp_path, ONE_FOR_ALL)
    rows = homestable.read(path)
    assert [(r.address, r.line, r.fixed, r.phase) for r in rows] == [
        (7, 2, True, 3),
        (258, 3, False, 2),
        (259, 6, None, None),
    ]
    assert [r.name for r in rows] == ["Dr. Öz", "Hill St. 4; back house", ""]
    site = import_csv(path, 9, "x", BUSES)
    assert [(h.address, h.name, h.fixed, h.phase) for h in site.home] == [
        (7, "Dr. Öz", True, "C"),
        (258, "Hill St. 4; back house", False, "B"),
        (259, "", False, ""),
    ]
    assert site.home[0].eui == "24a160fffe00000a"
    assert sitefile.validate(tomllib.loads(sitefile.dump(site)), "x") == site
    assert work.read_csv(path) == [
        work.Wanted(7, "Dr. Öz", True, 3, "24a160fffe00000a"),
        work.Wanted(258, "Hill St. 4; back house", False, 2, ""),
        work.Wanted(259, None, None, None, ""),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("address,name\n3,Inn, old\n", "line 2: 3 cells, but 2 columns"),
        ("address\tname\n3\tInn\n", "separated by tabs"),
        ("address,name\n3,Inn\x08\n", r"line 2: name has the character U\+0008"),
        ("address,name\n3,A\n4,B\x7f\n", r"line 3: name has the character U\+007F"),
        ("address,name\n3,a\u202eb\n", r"U\+202E"),
        ("address,name\n3,a\ufffeb\n", r"U\+FFFE"),
        ("address,feeder\n3,F\x1b[2J\n", r"feeder has the character U\+001B"),
        ("address,name\n3," + "n" * 65 + "\n", "name has 65 characters, at most 64"),
        ('address,name\n3,"Inn\n4,Mill\n', "quotes"),
        ('address,name\n3,"Inn" old\n', "quotes"),
        ("address,name,Name\n3,a,b\n", "'name' is there twice"),
        ("address,colour\n3,red\n", r"unknown columns \['colour'\]"),
        ("name\nInn\n", "no column 'address'"),
        ("address,fixed\n3,perhaps\n", "not yes or no"),
        ("address,phase\n3,4\n", "not A, B or C"),
        ("address,eui\n3,24a160fffe00000\n", "16 hex digits"),
        ("address,name\n3,Inn\n03.0,Mill\n", "line 3: address 3 is also in line 2"),
        ("address\n\n", "names no home"),
        ("", "no column 'address'"),
        ("address\n" + "9" * 60 + "\n", "is no node address"),
        ("address\n" + "9" * 5000 + "\n", "address has 5000 characters"),
        ("address\n248\n", "is no node address"),
        ("address\n256\n", "is no node address"),
        ("address\n-3\n", "is no node address"),
        ("address\n3.5\n", "is no node address"),
        ("address\n1e1\n", "is no node address"),
        ("address\n٣\n", "is no node address"),
    ],
)
def test_what_is_refused_by_both_readers(tmp_path: Path, text: str, words: str) -> None:
    path = table(tmp_path, text)
    for read in (lambda: import_csv(path, 9, "x", BUSES), lambda: work.read_csv(path)):
        with pytest.raises(InputError, match=words):
            read()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"address,name\n3,\x81\0\n")
    with pytest.raises(InputError, match="no text"):
        homestable.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        homestable.read(tmp_path)
    with pytest.raises(InputError, match="no file"):
        homestable.read(tmp_path / "none.csv")


BAD = ["a\x00", "\x7f", "a\x9bb", "x\u2028y", "\ud800", "\ufdd0", "a\nb", "tab\tbed", "\u200b"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_comes_in_nowhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which is not seen"):
        check_name(name)
    home = {"address": 3, "bus": "east"}
    good = {"site": {"id": 9}, "bus": {"east": {"port": "p"}}, "home": [home]}
    sitefile.validate(good, "x")
    for bad in (
        good | {"site": {"id": 9, "name": name}},
        good | {"home": [home | {"name": name}]},
        good | {"home": [home | {"board": name}]},
        good | {"feeder": [{"name": name}]},
        good | {"bus": {name: {"port": "p"}}, "home": []},
    ):
        with pytest.raises(InputError, match=r"which is not seen|unicode string"):
            sitefile.validate(bad, "x")
    if name.isprintable() or "\ud800" in name:
        return
    escaped = "".join(rf"\u{ord(c):04x}" for c in name)
    text = (
        '[site]\nid = 9\n[bus.east]\nport = "p"\n[[home]]\naddress = 3\nbus = "east"\n'
        f'name = "{escaped}"\n'
    )
    (tmp_path / "pbal.toml").write_text(text)
    with pytest.raises(ConfigError, match="which is not seen"):
        config_files.load(tmp_path / "pbal.toml", {})
    with pytest.raises(InputError, match="which is not seen"):
        work.check_text(name)


@pytest.mark.parametrize(
    "name", ["", "Zoë", "山田", "می‌خواهم", "O'Neil & <Sons>", "№ 7 \U0001f3e0"]
)
def test_names_of_the_world_come_in(name: str) -> None:
    assert check_name(name) == name
    assert shown(name) == name


@given(st.text())
def test_whatever_a_node_is_called_is_fit_to_be_shown(name: str) -> None:
    """Names that come over the wire, and labels of nodes that were named long ago."""
    safe = shown(name)
    check_name(safe[:64])
    assert one_line(safe) == safe or "\ufffd" in safe
    made = label.svg(label.Label("24a160fffe000001", 7, 3, name, name))
    ET.fromstring(made.encode("utf-8"))


def test_fuses_come_from_the_spreadsheet_into_the_controllers_file(tmp_path: Path) -> None:
    site = import_csv(table(tmp_path, 'address;fuse_a\n1;"35,5"\n2;\n'), 9, "x", {"a": "/dev/x"})
    assert [home.fuse_a for home in site.home] == [35.5, 63.0]
    told = tomllib.loads(sitefile.controller_toml(site, "keys.json"))["home"]
    assert [home.get("fuse_a") for home in told] == [35.5, None]
    with pytest.raises(InputError, match="line 2: fuse_a is 'big'"):
        homestable.read(table(tmp_path, "address,fuse_a\n1,big\n"))
    with pytest.raises(InputError, match="fuse_a"):
        import_csv(table(tmp_path, "address,fuse_a\n1,0\n"), 9, "x", {"a": "/dev/x"})


def test_what_spreadsheets_write_besides_utf8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Excel's plain CSV is in the system's old code page: it is read, and said to be."""
    text = "address;name\n1;Hof\n2;M\u00fchlstra\u00dfe 3\n"
    file = tmp_path / "homes.csv"
    file.write_bytes(text.encode("cp1252"))
    assert [row.name for row in homestable.read(file)] == ["Hof", "M\u00fchlstra\u00dfe 3"]
    told = capsys.readouterr().err
    assert "Windows-1252" in told
    assert "Line 3 reads: 2;M\u00fchlstra\u00dfe 3" in told
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes(text.encode(encoding))
        assert homestable.read(file)[1].name == "M\u00fchlstra\u00dfe 3"
    assert capsys.readouterr().err == ""
    for data, words in ((b"address\n\x81\n", "line 2: neither"), (b"PK\x03\x04\0\xff", "no text")):
        file.write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            homestable.read(file)
        assert "CSV UTF-8" in caught.value.remedy
