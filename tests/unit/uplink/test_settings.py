"""The [uplink] table: what is said of a wrong one, and what check-config says of a right one."""

import subprocess
import sys

import pytest
from rigs.uplink import Pki

from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_controller.keys import KeyStore

GOOD = """
[site]
id = 7
[keys]
file = "keys.json"
passphrase_file = "keys.pass"
[bus.a]
port = "/dev/ttyUSB0"
[[home]]
address = 257
bus = "a"
"""
UPLINK = """
[uplink]
kind = "sparkplug"
host = "broker.example"
ca = "pki/ca.crt"
certificate = "pki/site.crt"
key = "pki/site.key"
"""


def write(folder, text):
    path = folder / "pbal.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path):
    config = load(write(tmp_path, GOOD + UPLINK), {})
    assert config.uplink.ca == tmp_path / "pki" / "ca.crt"
    assert config.uplink.crl is None
    assert config.uplink.allow == ("rebirth", "reading"), "no command moves anything by default"
    assert load(write(tmp_path, GOOD), {}).uplink.kind == "null"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[uplink]\nkind = "sparkplug"\n', "needs host"),
        (UPLINK.replace('ca = "pki/ca.crt"\n', ""), "needs ca"),
        (UPLINK.replace('key = "pki/site.key"\n', ""), "needs key"),
        (UPLINK + "every_s = 60\n", "uplink.every_s: is not a known key"),
        (UPLINK + 'group = "a/b"\n', "uplink.group"),
        (UPLINK + 'node = "#"\n', "uplink.node"),
        (UPLINK + "port = 0\n", "uplink.port: must be at least 1"),
        (UPLINK + 'hq_keys = ["abcd"]\n', "uplink.hq_keys"),
        (UPLINK + 'allow = ["switch"]\n', "uplink.allow"),
        (UPLINK + 'form = "xml"\n', "'packed' or 'plain'"),
        (UPLINK + "window_s = 5\n", "uplink.window_s: must be at least 10"),
        ("[transformer]\nload_loss_w = -1\n", "transformer.load_loss_w"),
    ],
)
def test_a_wrong_table_is_told_with_its_key(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, GOOD + text), {})
    assert words in str(error.value)
    assert "pbal.toml" in str(error.value)


def check(path):
    done = subprocess.run(
        [sys.executable, "-c", "from pbal_controller.cli import main; main()", "check-config",
         "--config", str(path)], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def site(tmp_path):
    """A whole site: keys, and certificates that fit."""
    secret = tmp_path / "keys.pass"
    secret.write_bytes(b"secret\n")
    secret.chmod(0o600)
    store = KeyStore.create(tmp_path / "keys.json", b"secret", 7, log2_n=10)
    store.add_many([(257, "00" * 8, bytes(range(32)))])
    Pki(tmp_path / "pki").issue("site")
    return write(tmp_path, GOOD + UPLINK)


def test_check_config_says_what_goes_where(site):
    done = check(site)
    assert done.returncode == 0, done.stderr
    assert "uplink: broker.example:8883, Sparkplug pbal/7, packed, every 300 s" in done.stdout
    assert "commands: none, there is no HQ key" in done.stdout
    assert "uplink certificate: CN=site" in done.stdout


def test_check_config_reads_the_certificates(site, tmp_path):
    (tmp_path / "pki" / "site.key").write_text("no key")
    done = check(site)
    assert done.returncode == 2
    assert "pbal.toml: uplink.key" in done.stderr
    (tmp_path / "pki" / "ca.crt").unlink()
    Pki(tmp_path / "pki2").issue("site")
    for name in ("site.crt", "site.key"):
        (tmp_path / "pki" / name).write_bytes((tmp_path / "pki2" / name).read_bytes())
    done = check(site)
    assert done.returncode == 2
    assert "uplink.ca" in done.stderr
    assert "No such file" in done.stderr
