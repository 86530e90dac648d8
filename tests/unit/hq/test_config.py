"""The configuration: file, variables, complaints; and the command around it."""

import json
import subprocess
import sys

import pytest

from pbal_hq.config import load
from pbal_hq.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "hq.toml"
    path.write_text(text)
    return path


def test_defaults_need_no_file():
    assert load(environ={}).store.raw_days == 90


def test_a_variable_overrides_the_file(tmp_path):
    path = written(tmp_path, "[store]\nraw_days = 30\nhourly_days = 99\n")
    config = load(path, {"PBAL_HQ_STORE__RAW_DAYS": "31", "PBAL_HQ_CONFIG": "x", "PBAL_X": "1"})
    assert (config.store.raw_days, config.store.hourly_days) == (31, 99)


def test_paths_are_relative_to_the_file(tmp_path):
    path = written(tmp_path, 'data = "d"\n[broker]\nca = "pki/ca.crt"\n')
    config = load(path, {})
    assert config.data == tmp_path / "d"
    assert config.broker.ca == tmp_path / "pki" / "ca.crt"


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        (
            "[store]\nraw_day = 3\n",
            {},
            r"store.raw_day: is not a known key; did you mean .raw_days.\?",
        ),
        ("[store]\nraw_days = true\n", {}, r"hq.toml: store.raw_days: must be a number, not true"),
        ("\ufeff[store]\nraw_days = 0\n", {}, r"hq.toml: store.raw_days: must be at least 2"),
        ("[store]\nraw_days = 0\n", {}, r"hq.toml: store.raw_days: must be at least 2 \(it is 0\)"),
        ("[store\n", {}, "not valid TOML"),
        ("", {"PBAL_HQ_STORE__RAW_DAYS": "many"}, "environment .*store.raw_days"),
        (
            '[database]\nurl = "mysql://u:Secret@h"\n',
            {},
            "hq.toml: database: `url` is no connection string",
        ),
        ("[portal]\nport = 99999\n", {}, r"hq.toml: portal.port: .*65535 \(it is 99999\)$"),
        ("", {"PBAL_HQ_STORE": "1", "PBAL_HQ_STORE__RAW_DAYS": "1"}, "as a value already"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, environ, why):
    with pytest.raises(ConfigError, match=why) as refused:
        load(written(tmp_path, text), environ)
    assert "Secret" not in str(refused.value)
    assert "\n" not in str(refused.value), "one mistake is one line"


def test_a_wrong_file_is_exit_code_2(tmp_path):
    words = ["check-config", "--config", str(written(tmp_path, "x = 1\n"))]
    done = subprocess.run(
        [sys.executable, "-c", "from pbal_hq.cli import main; main()", *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "x: is not a known key" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_password_is_shown(tmp_path, run):
    path = written(tmp_path, '[database]\nurl = "postgresql://me:hush@h/d"\n')
    for more in ([], ["--json"]):
        done = run("check-config", "-c", path, *more)
        assert "hush" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["database"]["url"] == "user=me password=*** dbname=d host=h"


def test_no_database_is_exit_code_4(tmp_path, run):
    path = written(tmp_path, f'[database]\nurl = "host={tmp_path} dbname=x"\n')
    done = run("db", "migrate", "-c", path, code=4)
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
