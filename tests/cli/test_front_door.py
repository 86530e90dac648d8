"""The `pbal` command itself: help, laziness, exit codes."""

import errno
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rigs import needs, quick
from typer.testing import CliRunner

from pbal_tools import cli, describe, errors, output


def pbal(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [needs.require_tool("pbal"), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "TERM": "dumb"},
    )


def test_help_names_every_noun_and_loads_none() -> None:
    code = (
        "import sys\nfrom pbal_tools import cli\n"
        "try: cli.app(['--help'])\nexcept SystemExit as e: assert e.code == 0\n"
        "heavy = {'numpy', 'aiohttp', 'pymodbus', 'pydantic', 'cryptography', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for noun, row in cli.NOUNS.items():
        assert noun in done.stdout
        assert row.help.split(":")[0][:20] in done.stdout


def test_commands_start_without_the_link_to_hq_and_the_planner() -> None:
    """They take half a second and more, and only some words of these commands need them."""
    code = (
        "import sys\n"
        "import pbal_controller.cli, pbal_tools.doctor, pbal_tools.node, pbal_tools.site\n"
        "heavy = {'numpy', 'aiohttp', 'aiomqtt', 'google.protobuf'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("noun", cli.NOUNS)
def test_every_noun_loads_and_has_help(noun: str) -> None:
    result = CliRunner().invoke(cli.app, [noun, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_unknown_noun_is_a_usage_error_with_a_suggestion() -> None:
    done = pbal("sin")
    assert done.returncode == errors.ExitCode.USAGE
    assert "sim" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("sin", "--json"), errors.ExitCode.USAGE, "No such command 'sin'"),
        (("flash", "--json", "--bogus"), errors.ExitCode.USAGE, "--bogus"),
        (("site", "show", "/nowhere/site.toml", "--json"), errors.ExitCode.INPUT, "site.toml"),
        (("flash", "-p", "/dev/ttyNOPE", "--json"), errors.ExitCode.PORT_MISSING, "ttyNOPE"),
        (("node", "status", "--json"), errors.ExitCode.REFUSED, "dark"),
    ],
)
def test_json_is_json_also_when_it_fails(
    words: tuple[str, ...], code: errors.ExitCode, told: str
) -> None:
    assert quick.shared is not None
    returned, out, err = quick.shared.run(words, quick.BARE, Path("/"), 60)
    assert returned == code
    data = json.loads(out)
    assert (data["ok"], data["exit_code"]) == (False, code)
    assert told in data["error"]
    assert data["remedy"]
    assert err


def test_what_only_looks_like_json_is_a_name() -> None:
    """Nothing is printed for scripts that did not ask."""
    done = pbal("site", "show", "--", "--json")
    assert done.returncode == errors.ExitCode.INPUT
    assert done.stdout == ""


def test_version() -> None:
    wanted = tomllib.loads((needs.ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pbal("--version").stdout.strip() == f"pbal {wanted}"


def test_missing_extra_is_one_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.NOUNS, "study", cli.Noun("tests_no_such_module_here", "x"))
    with pytest.raises(errors.MissingError):
        cli.load("study")
    told = describe.describe(ModuleNotFoundError("No module named 'dss'", name="dss"))
    assert told.code == errors.ExitCode.MISSING
    assert "study" in told.remedy


def test_exit_codes_are_distinct_and_cover_the_tree() -> None:
    classes = errors.CliError.__subclasses__()
    codes = [cls.exit_code for cls in classes]
    assert len(set(codes)) == len(codes)
    assert set(codes) == set(errors.ExitCode) - {
        errors.ExitCode.OK,
        errors.ExitCode.DEFECT,
        errors.ExitCode.USAGE,
        errors.ExitCode.INTERRUPTED,
    }


class SerialLike(OSError):
    __module__ = "serial.serialutil"


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (errors.InputError("x"), errors.ExitCode.INPUT),
        (errors.RefusedError("x"), errors.ExitCode.REFUSED),
        (FileNotFoundError(errno.ENOENT, "gone", "a.toml"), errors.ExitCode.INPUT),
        (PermissionError(errno.EACCES, "no", "/dev/ttyUSB0"), errors.ExitCode.MISSING),
        (ConnectionRefusedError(), errors.ExitCode.UNREACHABLE),
        (TimeoutError(), errors.ExitCode.UNREACHABLE),
        (SerialLike("gone"), errors.ExitCode.UNREACHABLE),
        (tomllib.TOMLDecodeError("bad"), errors.ExitCode.INPUT),
        (KeyboardInterrupt(), errors.ExitCode.INTERRUPTED),
        (ZeroDivisionError("x"), errors.ExitCode.DEFECT),
    ],
)
def test_foreign_errors_map_to_codes(exc: BaseException, code: errors.ExitCode) -> None:
    assert describe.describe(exc).code == code


def test_report_prints_remedy_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.report(errors.InputError("The sky is green.", "Look again.")) == 3
    err = capsys.readouterr().err
    assert "The sky is green." in err
    assert "Look again." in err
    assert "Traceback" not in err


def test_write_json_is_whole_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        output.write_json(target, loop)
    assert target.read_text() == "old"
    output.write_json(target, {"a": 1})
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    with pytest.raises(errors.InputError):
        output.write_json(tmp_path / "no" / "out.json", {})
