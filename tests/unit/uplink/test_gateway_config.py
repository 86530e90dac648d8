"""The tables of a link between sites: what is wrong is said in one line, with the remedy."""

import pytest
from typer.testing import CliRunner

from pbal_controller.cli import app
from pbal_controller.config import load
from pbal_controller.errors import ConfigError, KeyStoreError
from pbal_controller.keys import KeyStore, check_keys
from pbal_tools.doctor import site
from pbal_tools.doctor import uplink as doctor
from pbal_tools.doctor.system import Machine

LINK = '[radio.link]\nregion = "EU868"\nsf = 9\n'
SITE = f"""[site]
id = 1008
[bus.a]
port = "/dev/ttyUSB0"
[[home]]
address = 1
bus = "a"
{LINK}
[uplink]
kind = "lora"
radio = "link"
"""
SPARKPLUG = """[uplink]
kind = "sparkplug"
host = "hq.example"
ca = "ca.pem"
certificate = "c.pem"
key = "k.pem"
"""
GATEWAY = f"""role = "gateway"
[site]
id = 1007
{LINK}
{SPARKPLUG}
[gateway]
radio = "link"
[[gateway.site]]
site = 1008
[[gateway.site]]
site = 1009
node = "hill"
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "pbal.toml"
        path.write_text(text)
        return path

    return write


def test_a_links_radio_carries_no_home(file):
    site = load(file(SITE))
    assert (site.link_radios, site.link_sites) == (("link",), (1008,))
    assert list(site.bearers()) == ["a"]
    assert not site.sends_beacons
    gateway = load(file(GATEWAY))
    assert gateway.bearers() == {}
    assert gateway.link_sites == (1008, 1009)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SITE.replace('radio = "link"\n', ""), "needs radio"),
        (SITE.replace('radio = "link"\n', 'radio = "other"\n'), 'uplink.radio "other" is not'),
        (SITE + "window_s = 90\n", "multiple of 60"),
        (SITE + 'acknowledged_by = "broker"\n', "acknowledged by the host"),
        (SITE.replace('bus = "a"', 'paths = [{ bearer = "link" }]'), "radio of its own"),
        (SITE.replace('kind = "lora"', 'kind = "lorawan"'), r"\[uplink.lorawan\]"),
        ('role = "gateway"\n' + SITE, "belong together"),
        (GATEWAY.replace('role = "gateway"\n', ""), "belong together"),
        (GATEWAY.replace("site = 1009", "site = 1008"), "two gateway.site tables have site 1008"),
        (GATEWAY.replace('node = "hill"', 'node = "1008"'), "have node 1008"),
        (GATEWAY.replace("site = 1009", "site = 1007"), "is this site itself"),
        (GATEWAY.replace('radio = "link"', 'radio = "sky"'), 'gateway.radio "sky" is not declared'),
        (GATEWAY.replace(SPARKPLUG, ""), "publishes for the sites behind it"),
        (
            GATEWAY + "".join(f"[[gateway.site]]\nsite = {n}\n" for n in range(1, 20)),
            "at most 20",
        ),
    ],
)
def test_what_does_not_fit_is_said(file, text, words):
    with pytest.raises(ConfigError, match=words):
        load(file(text))


def store(tmp_path, site):
    (tmp_path / "pass").touch(mode=0o600)
    (tmp_path / "pass").write_text("a passphrase")
    made = KeyStore.create(tmp_path / f"{site}.json", b"a passphrase", site, log2_n=10)
    return made, f'[keys]\nfile = "{site}.json"\npassphrase_file = "pass"\n'


def test_a_links_key_goes_from_the_gateway_to_the_site(file, tmp_path):
    there, there_table = store(tmp_path, 1007)
    here, here_table = store(tmp_path, 1008)
    here.add(1, "a4cf12fffe000011")
    run = CliRunner().invoke
    stick = tmp_path / "1008.link"
    path = file(GATEWAY + there_table)
    with pytest.raises(KeyStoreError, match="keys link 1008 --new"):
        check_keys(load(path), None)
    done = run(app, ["keys", "link", "1008", "--new", str(stick), "-c", str(path)])
    assert done.exit_code == 0, done.output
    assert stick.stat().st_mode & 0o077 == 0
    again = run(app, ["keys", "link", "1008", "--new", str(stick), "-c", str(path)])
    assert "exists already" in str(again.exception)
    strange = run(app, ["keys", "link", "5", "--new", str(tmp_path / "5"), "-c", str(path)])
    assert "has no link here" in str(strange.exception)

    path = file(SITE + here_table)
    done = run(app, ["keys", "link", "1008", "--take", str(stick), "-c", str(path)])
    assert done.exit_code == 0, done.output
    there.reload()
    here.reload()
    assert there.link(1008) == here.link(1008)
    assert here.link(1008).hex() not in done.output
    assert check_keys(load(path), None) == "1 node"
    stick.write_text("pbal-link 1009 " + "00" * 32)
    other = run(app, ["keys", "link", "1008", "--take", str(stick), "-c", str(path)])
    assert "is for site 1009" in str(other.exception)
    stick.write_text("nothing")
    other = run(app, ["keys", "link", "1008", "--take", str(stick), "-c", str(path)])
    assert "no file that" in str(other.exception)


def test_doctor_looks_at_the_links_radio(file, tmp_path):
    settings = load(file(SITE))
    machine = Machine(root=tmp_path)
    (found,) = doctor.radios(machine, settings)
    assert (found.level, "dtparam=spi=on" in found.remedy) == ("error", True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "spidev0.1").touch()
    (found,) = doctor.radios(machine, settings)
    assert found.level == "ok"
    assert list(doctor.certificates(machine, settings)) == list(doctor.broker(settings)) == []


LORAWAN = (
    SITE.replace('kind = "lora"\nradio = "link"', 'kind = "lorawan"\nacknowledged_by = "broker"')
    + """[uplink.lorawan]
modem = "rak3172"
port = "/dev/ttyUSB9"
region = "EU868"
join_eui = "70b3d57ed0000001"
app_key_file = "app.key"
"""
)


def test_doctor_looks_at_a_lorawan_modem(file, tmp_path):
    settings = load(file(LORAWAN))
    levels = lambda: [f.level for f in doctor.lorawan(settings)]  # noqa: E731
    assert levels() == ["error"]
    (tmp_path / "app.key").touch(mode=0o600)
    (tmp_path / "app.key").write_text("0" * 32)
    assert levels() == ["ok"]
    ports = [f for f in site.serial_ports(Machine(root=tmp_path), settings) if "modem" in f.words]
    assert [f.level for f in ports] == ["error"]
    with pytest.raises(ConfigError, match="acknowledged_by"):
        load(file(LORAWAN.replace('acknowledged_by = "broker"', "")))
