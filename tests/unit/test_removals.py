"""The tables of tests/removals fit the source as it is; bench.removals runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import removals
from bench.removals import Removal

ROOT = removals.ROOT
MP = ROOT / "tests" / "unit" / "node" / "mp"
TABLES = removals.load()
ALL = [removal for table in TABLES.values() for removal in table]


def scenarios_of(file: Path) -> str:
    """A file of mp/, and those of scenarios that it runs."""
    text = file.read_text(encoding="utf-8")
    used = re.findall(r"^import (scenarios_\w+)", text, re.MULTILINE)
    return text + "".join((MP / f"{name}.py").read_text(encoding="utf-8") for name in used)


def test_each_still_stands_where_it_says_and_has_its_test() -> None:
    for removal in ALL:
        removal.applied((ROOT / removal.file).read_text(encoding="utf-8"))
        path, _, rest = removal.test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        name, _, case = rest.partition("[")
        assert not name or f"def {name}(" in text, removal.test
        if removal.by:
            assert f"def {removal.by}(" in scenarios_of(MP / case.rstrip("]")), removal.by
    assert len({(r.file, r.text, r.becomes) for r in ALL}) == len(ALL)


def test_the_page_tells_how_many_there_are() -> None:
    page = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    told = {name: int(n) for name, n in re.findall(r"`(\w+)\.toml` \((\d+)\)", page)}
    assert told == {name: len(table) for name, table in TABLES.items()}


def test_what_is_not_there_once_is_refused() -> None:
    removal = Removal("a rule", "x.py", "a = 1", "a = 2", "tests/none.py")
    assert removal.applied("a = 1\nb = 1\n") == "a = 2\nb = 1\n"
    for source in ("b = 1\n", "a = 1\na = 1\n"):
        with pytest.raises(ValueError, match=r"times in x\.py, not once"):
            removal.applied(source)
    with pytest.raises(SyntaxError):
        Removal("a rule", "x.py", "= 1", "= (", "tests/none.py").applied("a = 1\n")


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (0, "1 passed", "NOTICED BY NO TEST"),
        (1, 'File "mp_x.py", line 3, in the_scenario', ""),
        (1, "the_scenario\n in another_one", "NOTICED, but not by the_scenario"),
        (2, "in the_scenario", "NOT TESTED"),
        (4, "not found", "NOT TESTED"),
    ],
)
def test_only_a_test_that_fails_as_named_is_a_notice(code: int, said: str, why: str) -> None:
    removal = Removal("a rule", "x.py", "a", "b", "tests/none.py", by="the_scenario")
    found = removals.judge(removal, code, said)
    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_a_copy_runs_its_own_source_and_is_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is noticed, one that no test can notice, and a test that is red anyhow."""
    copy = removals.Copy(tmp_path)
    (copy.root / "tests" / "test_of_this.py").write_text(
        "from pbal_controller import secrecy\n"
        "def test_it():\n"
        "    assert 'for its user alone' in secrecy.private_umask.__doc__\n"
        "def test_red():\n"
        "    assert False\n"
    )
    file, test = "pi_controller/pbal_controller/secrecy.py", "tests/test_of_this.py::test_it"
    before = (copy.root / file).read_bytes()
    text = "Files of this process are for its user alone"
    played = [
        Removal("seen", file, text, "Files are for all", test),
        Removal("not seen", file, text, text + " ", test),
        Removal("red anyhow", file, text, "", "tests/test_of_this.py::test_red"),
    ]
    assert removals.play(copy, played) == 2
    told = capsys.readouterr().out
    assert "noticed  seen" in told
    assert "NOTICED BY NO TEST  not seen" in told
    assert "NOT TESTED  red anyhow" in told
    assert (copy.root / file).read_bytes() == before == (ROOT / file).read_bytes()
