"""`pbal-controller minutes`: a home's minutes for who has the key store, and for nobody else."""

import csv
import io
import time
from pathlib import Path

import pytest

from pbal_controller.errors import ConfigError, KeyStoreError
from pbal_controller.journal import Journal, Vault
from pbal_controller.keys import KeyStore
from pbal_controller.minutes import minutes


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's configuration, keys and a journal with three minutes; the passphrase beside."""
    main = tmp_path / "pbal.toml"
    main.write_text(
        f"[site]\nid = 7\n[keys]\nfile = '{tmp_path}/keys.json'\n[bus.a]\nport = '/nowhere'\n"
        f"[journal]\npath = '{tmp_path}/journal.db'\n[[home]]\naddress = 257\nbus = 'a'\n"
    )
    for name, secret in (("keys.pass", b"secret\n"), ("wrong.pass", b"guess\n")):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(secret)
    store = KeyStore.create(tmp_path / "keys.json", b"secret", 7, log2_n=12)
    now_s = int(time.time()) // 60 * 60
    journal = Journal(tmp_path / "journal.db", vault=Vault(store.vault_key()))
    for hours in (0, 1, 30):
        journal.add_minutes(
            [(257, now_s - 3600 * hours, 60, 812.5, 1500, 3.5, 229.0, 231.25, 2, 77_000, hours)]
        )
    journal.close()
    return main


def test_a_day_of_a_home(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    minutes(257, 24.0, site, site.with_name("keys.pass"))
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["e_export_wh"] for row in rows] == ["1", "0"], "oldest first, of a day"
    assert (rows[0]["p_mean_w"], rows[0]["v_max_v"], rows[0]["phase"]) == ("812.50", "231.25", "2")
    assert rows[1]["minute"].endswith("Z")
    minutes(257, 48.0, site, site.with_name("keys.pass"))
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_who_may_not(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no home 300"):
        minutes(300, 24.0, site, site.with_name("keys.pass"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(KeyStoreError, match="does not open it"):
        minutes(257, 24.0, site, site.with_name("wrong.pass"))
