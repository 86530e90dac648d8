"""The database's volume encrypted by LUKS, with the commands that docs/hq-reliability.md gives.

Making a volume and trying its passphrase is done by cryptsetup alone; opening it takes the kernel's
device mapper, which containers often have not: what needs it is then left out, and said.
"""

import re
import subprocess
from pathlib import Path

import pytest
from rigs.needs import ROOT, require_tool

PASSPHRASE = b"a passphrase of the test"
MB = 1_000_000


@pytest.fixture
def cryptsetup():
    return require_tool("cryptsetup", "cryptsetup-bin")


def documented(command):
    """The words of a command in the docs, from `cryptsetup` on."""
    text = (ROOT / "docs" / "hq-reliability.md").read_text()
    found = re.search(rf"^    cryptsetup ({command} .*)$", text, re.M)
    assert found, f"docs/hq-reliability.md has no `cryptsetup {command}`"
    return found[1].split("#")[0].split()


def run(words, **how):
    return subprocess.run(words, capture_output=True, timeout=300, **how)


@pytest.fixture
def volume(tmp_path, cryptsetup):
    """A file in the disk's place, made as documented, but for less work at each passphrase."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(48 * MB)
    words = [str(disk) if word == "/dev/sdb" else word for word in documented("luksFormat")]
    assert str(disk) in words
    made = run(
        [cryptsetup, *words, "--batch-mode", "--key-file", "-", "--pbkdf-memory", "32768",
         "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1"],
        input=PASSPHRASE,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return disk


def test_the_documented_volume_is_aes_256_and_opens_by_its_passphrase_alone(volume, cryptsetup):
    dump = run([cryptsetup, "luksDump", volume], text=True).stdout
    assert re.search(r"Version:\s+2\b", dump)
    assert re.search(r"cipher:\s+aes-xts-plain64", dump)
    # XTS takes two keys of 256 bits.
    assert re.search(r"Cipher key:\s+512 bits", dump)
    assert "argon2id" in dump

    def tried(passphrase):
        words = [cryptsetup, "open", "--test-passphrase", "--key-file", "-", volume]
        return run(words, input=passphrase).returncode

    assert tried(PASSPHRASE) == 0
    assert tried(b"another") != 0


def test_what_is_written_into_it_stands_nowhere_on_the_disk(volume, cryptsetup, tmp_path):
    if not Path("/dev/mapper/control").exists():
        pytest.skip("the kernel has no device mapper here: the volume cannot be opened")
    name = f"pbal-test-{tmp_path.name}"[:60]
    opened = run([cryptsetup, "open", "--key-file", "-", volume, name], input=PASSPHRASE)
    if opened.returncode:
        pytest.skip(f"the kernel opens no volume: {opened.stderr.decode().strip()}")
    mapped = Path("/dev/mapper") / name
    try:
        words = b"Street 77, TR-0012 " * 1000
        with mapped.open("r+b") as file:
            file.write(words)
        assert mapped.read_bytes()[: len(words)] == words
    finally:
        run([cryptsetup, "close", name])
    assert b"Street 77" not in volume.read_bytes()


def test_the_rest_of_the_commands_are_ones_that_cryptsetup_knows(cryptsetup):
    said = run([cryptsetup, "--help"], text=True).stdout
    for command in ("open", "luksHeaderBackup"):
        assert documented(command)
        assert command in said
