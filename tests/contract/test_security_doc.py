"""docs/security.md names files, tests and settings of the source: each of them exists."""

import re

from rigs.needs import ROOT

ROOMS = ("protocol", "firmware", "pi_controller", "tools", "sim", "hq", "tests")
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([^`\n]+)`", TEXT))


def source_words() -> set[str]:
    files = (p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
    return {word for p in files for word in re.findall(r"\w+", p.read_text(encoding="utf-8"))}


def test_files_exist() -> None:
    named = {name for name in NAMES if re.fullmatch(r"[\w-]+\.(py|service|lock)", name)}
    there = {p.name for room in ROOMS for p in (ROOT / room).rglob("*")}
    there |= {p.name for p in ROOT.iterdir()}
    assert len(named) > 15
    assert named <= there, named - there


def test_tests_and_settings_exist() -> None:
    there = source_words()
    named = {name for name in NAMES if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name)}
    assert len(named) > 10
    assert named <= there, named - there


def test_unit_settings_exist() -> None:
    unit = (ROOT / "pi_controller" / "systemd" / "pbal-controller.service").read_text()
    named = {name for name in NAMES if re.fullmatch(r"[A-Z][A-Za-z]+=\w+", name)}
    assert named
    for name in named:
        assert name in unit.splitlines()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
