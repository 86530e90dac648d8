"""`pbal release` as a person uses it: keys, releases, and every way to get it wrong."""

import stat
import zipfile
from pathlib import Path

import pytest
from rigs import quick
from rigs.flash import Ran

PASS = "a long enough passphrase"


def pbal(*words: object, cwd: Path, passphrase: str | None = PASS) -> Ran:
    assert quick.shared is not None
    env = quick.BARE | ({} if passphrase is None else {"PBAL_RELEASE_PASSPHRASE": passphrase})
    return Ran(*quick.shared.run(["release", *map(str, words)], env, cwd, 100))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a signed release."""
    folder = tmp_path_factory.mktemp("release")
    assert pbal("keygen", "k.pem", cwd=folder).code == 0
    done = pbal("build", "--version", "0.2.0", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert done.json["boards"] == [1]
    assert pbal("sign", "pbal-0.2.0.pbal", "--key", "k.pem", cwd=folder).code == 0
    return folder


def test_the_key_is_private_and_encrypted(made: Path) -> None:
    key = made / "k.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "ENCRYPTED" in key.read_text()
    assert len(bytes.fromhex((made / "k.pem.pub").read_text())) == 32
    again = pbal("keygen", "k.pem", cwd=made)
    assert again.code == 3 or again.code == 2
    assert "exists" in again.err


def test_a_release_holds_what_flash_installs_and_is_the_same_twice(made: Path) -> None:
    from pbal_build import build_files

    want = {
        path.removeprefix("/lib/"): data
        for path, data in build_files("esp32-devkitc").items()
        if path.startswith("/lib/")
    }
    with zipfile.ZipFile(made / "pbal-0.2.0.pbal") as archive:
        have = {
            name.removeprefix("files/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("files/")
        }
    differing = {path for path in want | have if want.get(path) != have.get(path)}
    assert differing == {"pbal_node/version.mpy"}
    pbal("build", "--version", "0.2.0", "-o", "again.pbal", cwd=made)
    pbal("sign", "again.pbal", "-k", "k.pem", cwd=made)
    assert (made / "again.pbal").read_bytes() == (made / "pbal-0.2.0.pbal").read_bytes()


def test_verify_and_publish(made: Path, tmp_path: Path) -> None:
    good = pbal("verify", "pbal-0.2.0.pbal", "-k", "k.pem.pub", "--json", cwd=made)
    assert good.code == 0
    assert good.json["verified"] is True
    other = pbal("verify", "pbal-0.2.0.pbal", "-k", "00" * 31 + "01", cwd=made)
    assert other.code != 0
    assert "not signed with this key" in other.err
    done = pbal("publish", "pbal-0.2.0.pbal", "--to", tmp_path, cwd=made)
    assert done.code == 0, done.err
    assert len(list(tmp_path.glob("pbal-0.2.0-*.pbal"))) == 1
    shown = pbal("show", "pbal-0.2.0.pbal", cwd=made)
    assert "pbal_node/app.mpy" in shown.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("build", "--version", "2"), "is not a version"),
        (("build", "--version", "0.2.0", "--board", "toaster"), "toaster"),
        (("show", "nothing.pbal"), "cannot be read"),
        (("sign", "pbal-0.2.0.pbal", "--key", "none.pem"), "cannot be read"),
        (("verify", "pbal-0.2.0.pbal", "--key", "abc"), "not a public release key"),
        (("publish", "pbal-0.2.0.pbal", "--to", "nowhere"), "no folder"),
    ],
)
def test_mistakes_are_one_clear_line(made: Path, words: tuple[str, ...], says: str) -> None:
    done = pbal(*words, cwd=made)
    assert done.code not in (0, 1), done.out + done.err
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_wrong_passphrase_and_nobody_to_ask(made: Path) -> None:
    wrong = pbal("sign", "pbal-0.2.0.pbal", "-k", "k.pem", cwd=made, passphrase="something else")
    assert "passphrase is wrong" in wrong.err
    nobody = pbal("sign", "pbal-0.2.0.pbal", "-k", "k.pem", cwd=made, passphrase=None)
    assert "nobody to ask" in nobody.err


def test_a_damaged_or_unsigned_release_is_refused(made: Path, tmp_path: Path) -> None:
    data = bytearray((made / "pbal-0.2.0.pbal").read_bytes())
    refused = 0
    for at in range(40, len(data), len(data) // 25):
        bad = bytearray(data)
        bad[at] ^= 0x40
        (tmp_path / "bad.pbal").write_bytes(bad)
        done = pbal_verify(tmp_path / "bad.pbal", made / "k.pem.pub")
        refused += not done
    assert refused >= 23  # a bit of a date or an attribute changes nothing that counts
    (tmp_path / "cut.pbal").write_bytes(data[: len(data) // 2])
    assert "not a release" in pbal("show", tmp_path / "cut.pbal", cwd=made).err
    pbal("build", "--version", "0.3.0", "-o", tmp_path / "raw.pbal", cwd=made)
    done = pbal("publish", tmp_path / "raw.pbal", "--to", tmp_path, cwd=made)
    assert "is not signed" in done.err


def pbal_verify(path: Path, key: Path) -> bool:
    """As the command does it, without starting a process for each bit."""
    from pbal_controller.errors import ReleaseError
    from pbal_controller.updates import load

    try:
        return load(path).signed_by(bytes.fromhex(key.read_text()))
    except ReleaseError:
        return False
