"""The JSON Schema and docs/uplink.md say what the declarations say."""

import json
from pathlib import Path

import pytest
from rigs.needs import ROOT

from pbal_tools import uplinkdoc
from pbal_uplink import MESSAGES, Event, Summary, schema


def test_the_generated_files_are_up_to_date():
    assert uplinkdoc.stale(ROOT) == [], "run python -m pbal_tools.uplinkdoc"


def test_an_old_file_is_noticed(tmp_path: Path, capsys):
    for name, text in uplinkdoc.outputs().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert uplinkdoc.main(["--check", "--root", str(tmp_path)]) == 0
    page = tmp_path / "docs" / "uplink.md"
    page.write_text(
        page.read_text(encoding="utf-8").replace("0.01 V", "0.1 V", 1), encoding="utf-8"
    )
    assert uplinkdoc.main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/uplink.md is out of date" in capsys.readouterr().err
    assert uplinkdoc.main(["--root", str(tmp_path)]) == 0
    assert uplinkdoc.stale(tmp_path) == []


def test_the_page_has_every_field():
    page = (ROOT / "docs" / "uplink.md").read_text(encoding="utf-8")
    for cls in MESSAGES.values():
        section = page.split(f"### {cls.ID} {cls.NAME}\n")[1].split("\n## ")[0]
        for field in cls.DECLARED:
            assert f" {field.name} " in section


@pytest.mark.parametrize("cls", MESSAGES.values(), ids=lambda cls: cls.NAME)
def test_every_field_has_words_and_a_property(cls):
    made = schema.schema(cls)
    assert list(made["properties"]) == [field.name for field in cls.DECLARED]
    for field in cls.DECLARED:
        assert field.doc.endswith(".") or ";" in field.doc, field.name
        assert len(field.doc) > 10
    assert len(cls.__doc__) > 40


def check(value, of):
    """A small judge of what the schemas use, so that the test needs no validator."""
    kinds = of["type"] if isinstance(of["type"], list) else [of["type"]]
    if value is None:
        return "null" in kinds
    if isinstance(value, str):
        return "string" in kinds and len(value) <= of.get("maxLength", 99)
    return of["minimum"] <= value <= of["maximum"] and ("number" in kinds or isinstance(value, int))


@pytest.mark.parametrize(
    "made",
    [Summary(length_s=300, va_min_v=231.25), Event(kind=2, detail="why", arg0=-5)],
    ids=["summary", "event"],
)
def test_a_messages_json_fits_its_schema(made):
    of = schema.schema(type(made))
    whole = json.loads(json.dumps(made.as_dict()))
    assert set(whole) == set(of["required"]) == set(of["properties"])
    assert all(check(whole[name], of["properties"][name]) for name in whole)
    name = of["required"][1]
    assert not check(of["properties"][name]["maximum"] + 1, of["properties"][name])
