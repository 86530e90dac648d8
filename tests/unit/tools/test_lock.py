"""The lock file: whole, of the versions tested with, without addresses; pip refuses other bytes."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from rigs import needs

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "tools" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_holds_the_versions_of_the_constraints_and_no_address(lock: ModuleType) -> None:
    text = lock.LOCK.read_text()
    assert "://" not in text
    assert "index" not in text
    wanted = {}
    for line in lock.CONSTRAINTS.read_text().splitlines():
        if "==" in line and not line.startswith("#"):
            name, version = line.split("==")
            wanted[lock.canonical(name)] = version
    found = lock.entries(text)
    assert {n: re.split(r"==|[ ;\\]", e)[1] for n, (_, e) in found.items()} == wanted
    for name, (_, entry) in found.items():
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry), name
        assert len(re.findall(r"--hash=", entry)) == len(entry.splitlines()) - 1, name


@pytest.mark.parametrize("extra", ["", "sim", "flash", "report", "study", "dev"])
def test_each_extra_brings_all_that_it_needs(lock: ModuleType, extra: str) -> None:
    """What the installed packages say they need is in the lock: nothing is installed beside it."""
    groups = {"core", extra} if extra else {"core"}
    have = set(lock.entries(lock.select(lock.LOCK.read_text(), groups, heads=True)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    open_: list[Requirement] = [Requirement(r) for r in project["dependencies"]]
    open_ += [Requirement(r) for r in project["optional-dependencies"].get(extra, [])]
    seen: set[str] = set()
    while open_:
        wanted = open_.pop()
        name = lock.canonical(wanted.name)
        if name == "pbal":
            for more in wanted.extras:
                open_ += [Requirement(r) for r in project["optional-dependencies"][more]]
            continue
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        assert name in have, f"{name} is missing for {extra or 'core'}: run tools/lock.py make"
        assert wanted.specifier.contains(metadata.version(name), prereleases=True)
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or any(
                need.marker.evaluate({"extra": e}) for e in {"", *wanted.extras}
            ):
                need.marker = None
                open_.append(need)


def test_what_compiles_is_locked_too(lock: ModuleType) -> None:
    have = lock.entries(lock.select(lock.LOCK.read_text(), {"build"}, heads=True))
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {lock.canonical(Requirement(r).name) for r in build} <= set(have)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# for: core\nattrs==26.1.0\n", "not understood"),  # no hash
        ("# for: core\nattrs>=26 \\\n    --hash=sha256:" + "0" * 64 + "\n", "not understood"),
        ("attrs==26.1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n", "not understood"),  # no group
        ("# for: core\nattrs==26.1.0 \\\n", "ends within"),
    ],
)
def test_a_damaged_lock_is_refused(lock: ModuleType, text: str, words: str) -> None:
    with pytest.raises(lock.LockError, match=words):
        lock.entries(text)


def test_the_command(lock: ModuleType) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(ROOT / "tools" / "lock.py"), *words],
            capture_output=True, text=True, timeout=needs.PATIENCE_S, check=False,
        )  # fmt: skip

    assert run().returncode == run("select").returncode == run("mend").returncode == 2
    done = run("select", "quux")
    assert done.returncode == 4
    assert "knows no extra 'quux'" in done.stderr
    done = run("select", "hq")
    assert done.returncode == 0
    assert "psycopg==" in done.stdout
    assert "numpy==" not in done.stdout
    assert run("select", "build").stdout.startswith("cython==")


def wheel(folder: Path, body: str) -> Path:
    """A package of one module."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("tiny.py", body)
        z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        z.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        z.writestr(f"{info}/RECORD", "")
    return path


def test_pip_refuses_a_file_with_another_hash(lock: ModuleType, tmp_path: Path) -> None:
    """As bootstrap.sh calls it, with a package index that is a folder."""
    import hashlib

    good = hashlib.sha256(wheel(tmp_path, "x = 1\n").read_bytes()).hexdigest()
    text = f"# groups: core\n# for: core\ntiny==1.0 \\\n    --hash=sha256:{good}\n"
    (tmp_path / "list").write_text(lock.select(text, {"core"}))

    def install() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
             "--find-links", str(tmp_path), "--target", str(tmp_path / "to"), "--require-hashes",
             "-r", str(tmp_path / "list")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert install().returncode == 0
    wheel(tmp_path, "x = 2  # not what was locked\n")
    done = install()
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_bootstrap_installs_nothing_unlocked() -> None:
    """Every call of pip looks at hashes, but the one that puts the checkout itself in."""
    text = (ROOT / "tools" / "bootstrap.sh").read_text()
    calls = re.findall(r"^[^#\n]*\bpip_install (?!ARG)[^\n]*", text, re.M)
    assert len(calls) == 4
    for call in calls:
        assert "--require-hashes" in call or call.strip() == (
            "pip_install --no-build-isolation --editable ."
        )
    assert text.count("-m pip install") == 1
    assert "--no-deps" in text
