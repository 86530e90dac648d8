"""The known answers, on both interpreters, and proof that the runner can fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rigs.needs import ROOT

VECTORS = ROOT / "protocol" / "vectors"
FILES = sorted(path.name for path in VECTORS.glob("*.json"))


def counts(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


def check(done, interpreter: str) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    result = counts(done.stdout)
    assert result["interpreter"] == interpreter
    for name in FILES:
        file = json.loads((VECTORS / name).read_text())
        total = len(file["vectors"]) + len(file.get("refused", []))
        assert result["files"][name] == [total, 0]
        assert total > 0


def test_cpython_passes_every_vector():
    check(
        subprocess.run([sys.executable, VECTORS / "run.py"], capture_output=True, text=True),
        "cpython",
    )


def test_micropython_passes_every_vector(micropython):
    check(micropython(VECTORS / "run.py"), "micropython")


@pytest.mark.parametrize("name", FILES)
def test_the_runner_sees_one_wrong_digit(name, tmp_path, micropython):
    file = json.loads((VECTORS / name).read_text())
    field = {
        "ccm": "sealed",
        "hkdf": "okm",
        "records": "hex",
        "frames": "frame",
        "proofs": "proof",
        "ed25519": "signature",
        "compact": "hex",
    }.get(file["kind"], "response")
    vector = file["vectors"][0]
    numbers = {"crc": "crc", "airtime": "us", "turns": "us"}
    if file["kind"] in numbers:
        vector[numbers[file["kind"]]] ^= 1
    elif file["kind"] == "budget":
        vector["steps"][0][3] ^= 1
    elif file["kind"] == "pdu":
        # A wrong byte count: the frame no longer ends where its length says.
        vector["response"] = vector["response"][:3] + "4" + vector["response"][4:]
    else:
        digit = vector[field][-1]
        vector[field] = vector[field][:-1] + ("0" if digit != "0" else "1")
    (tmp_path / name).write_text(json.dumps(file))
    host = subprocess.run(
        [sys.executable, VECTORS / "run.py", tmp_path], capture_output=True, text=True
    )
    for done in (host, micropython(VECTORS / "run.py", tmp_path)):
        assert done.returncode == 1, done.stdout + done.stderr
        assert counts(done.stdout)["files"][name][1] == 1


def test_every_file_says_where_it_comes_from():
    assert len(FILES) >= 9
    for name in FILES:
        assert len(json.loads((VECTORS / name).read_text())["provenance"]) > 30


def test_own_vectors_are_what_make_py_writes():
    done = subprocess.run(
        [sys.executable, VECTORS / "make.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_an_empty_directory_does_not_pass(tmp_path: Path):
    done = subprocess.run([sys.executable, VECTORS / "run.py", tmp_path], capture_output=True)
    assert done.returncode == 1
