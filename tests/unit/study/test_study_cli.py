"""`pbal study` from the outside: files it writes, what it says, how it fails."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rigs import needs
from typer.testing import CliRunner

from pbal_study.errors import InputError
from pbal_study.input.homes import read_homes
from pbal_study.input.profiles import read_profiles
from pbal_tools.study.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs.require_module("dss", "study")
    needs.require_module("matplotlib", "study")
    out = tmp_path_factory.mktemp("study") / "new" / "demo"
    done = runner.invoke(app, ["--demo", "--days", "0.3", "--rank-days", "0.1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "On this street pbal would" in " ".join(done.output.split())
    return out


def test_the_demo_leaves_every_file(demo: Path) -> None:
    assert {p.name for p in demo.iterdir()} == {
        "report.html",
        "study.json",
        "summary.csv",
        "duration.csv",
        "homes.csv",
        "demo_feeder.dss",
        "demo_profiles.csv.gz",
    }


def test_a_part_of_a_day_is_not_told_as_none(demo: Path) -> None:
    text = (demo / "report.html").read_text()
    assert "measured on the first 0.1 days, every home metered" in text
    assert "(the first 0.1 days)" in text


def test_json_and_csv_agree(demo: Path) -> None:
    data = json.loads((demo / "study.json").read_text())
    assert list(data["controllers"]) == ["as_built", "best_static", "pbal", "hindsight"]
    assert data["period"]["days"] == pytest.approx(0.3)
    assert data["engine_difference_a"] < 0.01
    with (demo / "summary.csv").open() as file:
        rows = {(r["controller"], r["figure"]): r["value"] for r in csv.DictReader(file)}
    own = data["controllers"]["pbal"]
    assert float(rows["pbal", "neutral_a.mean"]) == own["neutral_a"]["mean"]
    built = data["controllers"]["as_built"]["neutral_a"]["mean"]
    assert own["neutral_a"]["cut"] == pytest.approx(1 - own["neutral_a"]["mean"] / built)
    with (demo / "homes.csv").open() as file:
        homes = list(csv.DictReader(file))
    assert len(homes) == 30
    assert sorted(int(h["relay_rank"]) for h in homes) == list(range(1, 31))
    total = sum(float(h["pbal_switchings_per_day"]) for h in homes)
    assert total == pytest.approx(own["switchings"]["per_day"], abs=0.05)
    with (demo / "duration.csv").open() as file:
        curve = [float(r["pbal_neutral_a"]) for r in csv.DictReader(file)]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == pytest.approx(own["neutral_a"]["max"], rel=1e-3)


def test_the_page_stands_alone(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", page)
    assert "@import" not in page
    # Not even the names of XML vocabularies: a page without an address can fetch nothing.
    assert "://" not in page
    assert page.count("<svg") == 12
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r"url\(#([^)]+)\)", page), *re.findall(r'href="#([^"]+)"', page)} <= set(
        ids
    )
    for words in ("PVUR", "insulation life used", "% of rated", "kWh, ", "hot-spot temperature"):
        assert words in page
    assert "<title>pbal study: demo_feeder.dss</title>" in page
    for words in ("Side by side", "Honest limits", "Assumptions", "EN 50160", "IEC 60076-7"):
        assert words in page


def test_the_document_shows_what_works(demo: Path, tmp_path: Path) -> None:
    """Every option that docs/study.md names exists, its example files are read, and its commands
    run, on the demonstration's files under the names used there."""
    text = (needs.ROOT / "docs" / "study.md").read_text()
    known = {o for p in typer.main.get_command(app).params for o in p.opts}
    assert set(re.findall(r"(--[a-z][a-z-]+)", text)) <= known
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    for name, start in (("homes.csv", "home,"), ("p.csv", "time,")):
        (tmp_path / name).write_text(next(b for b in blocks if b.startswith(start)))
    assert [row.name for row in read_homes(tmp_path / "homes.csv")] == ["No 12", "No 14"]
    assert read_profiles(tmp_path / "p.csv").watts[1, 1] == -1200
    shape = "New loadshape.s npts=24 interval=1 mult=[" + "1 2 5 1 " * 6 + "]\nNew Load."
    feeder = (demo / "demo_feeder.dss").read_text().replace("New Load.", shape, 1)
    (tmp_path / "Master.dss").write_text(feeder.replace("Model=1", "Model=1 daily=s"))
    shutil.copy(demo / "demo_profiles.csv.gz", tmp_path / "year.csv.gz")
    commands = [c.partition("#")[0].split() for c in blocks[0].splitlines()]
    assert len(commands) == 4
    for words in commands:
        assert words[:2] == ["pbal", "study"]
        if "--demo" in words or "--homes" in words:
            continue  # these run in the other tests
        args = [str(tmp_path / w) if "." in w and w[0].isalpha() else w for w in words[2:]]
        args[args.index("--out") + 1] = str(tmp_path / "out")
        done = runner.invoke(app, [*args, "--days", "0.1", "--rank-days", "0"])
        assert done.exit_code == 0, done.output


def test_its_own_files_can_be_studied_again(demo: Path, tmp_path: Path) -> None:
    args = ["--feeder", str(demo / "demo_feeder.dss"), "--rank-days", "0", "--json"]
    args += ["--profiles", str(demo / "demo_profiles.csv.gz"), "--controllers", "best_static"]
    done = runner.invoke(app, args)
    assert done.exit_code == 0, done.output
    again = json.loads(done.stdout)["controllers"]
    before = json.loads((demo / "study.json").read_text())["controllers"]
    assert list(again) == ["as_built", "best_static"]
    assert again["best_static"]["losses"] == before["best_static"]["losses"]


def test_a_list_of_homes_without_a_feeder(demo: Path, tmp_path: Path) -> None:
    homes = tmp_path / "homes.csv"
    homes.write_text("home,phase\n" + "".join(f"{k},{'AAB'[k % 3]}\n" for k in range(9)))
    args = ["--homes", str(homes), "--profiles", str(demo / "demo_profiles.csv.gz"), "--json"]
    args += ["--participation", "0.5", "--ev", "0.3", "--pv", "0.2", "--failure-rate", "0.05"]
    args += ["--delay", "60", "--rank-days", "0", "--out", str(tmp_path / "out")]
    done = runner.invoke(app, args)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert len(data["relays"]) == 4
    assert len(data["cars"]) == 3
    assert len(data["roofs"]) == 2
    assert "losses" not in data["controllers"]["pbal"]
    assert "transformer" not in data["controllers"]["pbal"]
    assert "no losses" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "No profiles"),
        (["--demo", "--feeder", "x.dss"], "brings its own"),
        (["--profiles", "p.csv"], "Neither a feeder"),
        (["--demo", "--controllers", "magic"], "Unknown controller 'magic'"),
        (["--demo", "--objective", "fame"], "--objective is 'fame'"),
        (["--demo", "--others", "x"], "--others is 'x'"),
        (["--profiles", "none.csv", "--feeder", "none.dss"], "No such profile file"),
        (["--demo", "--out", "FILE"], "is not a folder"),
    ],
)
def test_mistakes_are_said_in_words(tmp_path: Path, args: list[str], says: str) -> None:
    needs.require_module("dss", "study")
    (tmp_path / "file").write_text("")
    args = [str(tmp_path / "file") if a == "FILE" else a for a in args]
    done = runner.invoke(app, args)
    assert isinstance(done.exception, InputError)
    assert says in done.exception.message
    assert done.exception.remedy


@pytest.mark.parametrize("step", [60, 900, 3600])
def test_profiles_of_any_step_and_no_relay_at_all(tmp_path: Path, step: int) -> None:
    rows = "".join(f"{k * step},{200 + k % 7 * 300},{500 + k % 3 * 900}\n" for k in range(120))
    (tmp_path / "p.csv").write_text("time,a,b\n" + rows)
    (tmp_path / "h.csv").write_text("home,phase\na,A\nb,A\n")
    args = ["--homes", str(tmp_path / "h.csv"), "--profiles", str(tmp_path / "p.csv"), "--json"]
    args += ["--main-ohm", "0.1", "--kva", "10", "--participation", "0", "--out", str(tmp_path)]
    done = runner.invoke(app, args)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["controllers"]["pbal"]["neutral_a"]["cut"] == pytest.approx(0, abs=1e-6)
    assert data["controllers"]["pbal"]["switchings"]["total"] == 0
    assert data["controllers"]["best_static"]["losses"]["cut"] > 0.1
    page = (tmp_path / "report.html").read_text()
    assert (
        page.index("Check first")
        < page.index("taken as seconds after 1970")
        < page.index("class='lead'")
    )


def test_what_should_be_doubted_is_on_the_screen(tmp_path: Path) -> None:
    """A doubt that stands in the JSON alone is read by nobody."""
    rows = "".join(f"{k * 3600},{200 + k % 7 * 300},{500 + k % 3 * 900}\n" for k in range(24))
    (tmp_path / "p.csv").write_text("time,a,b\n" + rows)
    (tmp_path / "h.csv").write_text("home,phase\na,A\nb,A\n")
    args = ["--homes", str(tmp_path / "h.csv"), "--profiles", str(tmp_path / "p.csv")]
    done = runner.invoke(app, [*args, "--controllers", "as_built"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert text.index("- Beware: the times 0, 3600") < text.index("- No feeder model")


def test_less_than_an_hour_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time,a\n0,100\n60,200\n")
    (tmp_path / "h.csv").write_text("home,phase\na,A\n")
    args = ["--homes", str(tmp_path / "h.csv"), "--profiles", str(tmp_path / "p.csv")]
    done = runner.invoke(app, args)
    assert isinstance(done.exception, InputError)
    assert "needs an hour" in done.exception.message


def test_a_share_is_between_0_and_1() -> None:
    done = runner.invoke(app, ["--demo", "--participation", "50"])
    assert done.exit_code == 2
    assert "0.3 means 30" in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("option", "value"),
    [("--kva", "nan"), ("--tariff", "inf"), ("--days", "nan"), ("--rank-days", "inf"),
     ("--delay", "99999999999"), ("--daily-cap", "99999999999999999999"), ("--seed", "-1")],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(option: str, value: str) -> None:
    done = runner.invoke(app, ["--demo", option, value])
    assert done.exit_code == 2
    assert option in done.output


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    done = runner.invoke(app, ["--profiles", "none", "--feeder", "x", "--out", str(tmp_path / "o")])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "o").exists()


def test_the_command_ends_with_code_3_and_no_traceback(tmp_path: Path) -> None:
    bad = tmp_path / "p.csv"
    bad.write_text("time,a\n0,100\n60,2 kW\n")
    homes = tmp_path / "h.csv"
    homes.write_text("home,phase\na,A\n")
    start = [sys.executable, "-c", "from pbal_tools.cli import main; main()"]
    done = subprocess.run(
        [*start, "study", "--homes", str(homes), "--profiles", str(bad)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 3
    assert "row 3: a is '2 kW', not a number of watts." in done.stderr
    assert "Traceback" not in done.stderr
