"""The package for a Raspberry Pi, made on another computer: its parts are right, and its core runs.

The core is compiled here and runs in QEMU, under the Python of the Debian that it is for; the whole
package is the same recipe as in test_debian.py. armhf differs in names alone, which is looked at
without compiling.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import deb
import debenv
import debtarget
import pytest
from rigs import needs
from rigs.debian import CACHE, alone

#: Streets solved by the compiled core: what it decides, and how good that is.
SOLVES = """
import json, sys
sys.path[:0] = sys.argv[1:]
import numpy as np
from pbal_controller.balancing import _core, _paths
told = []
for seed in range(6):
    rng = np.random.default_rng(seed)
    n = 6 + 3 * seed
    amps = rng.gamma(0.6, 8.0, (3, n)) * np.exp(1j * rng.normal(-0.2, 0.4, (3, n)))
    phases = rng.integers(0, 3, n).astype(np.int8)
    price = np.repeat(rng.uniform(0, 60, (n, 1)), 3, axis=1)
    price[np.arange(n), phases] = 0.0
    gram = _core.build_gram(amps, np.array([0.2, 0.3, 0.5]), 1.0, None)
    x, before, after, _ = _core.solve(gram, phases, price, restarts=20, seed=3)
    told.append([[int(p) for p in x], before, after])
print(json.dumps({"machine": __import__("platform").machine(), "told": told}))
"""


@pytest.fixture
def no_target(tmp_path):
    return debtarget.Target("arm64", "bookworm", tmp_path)


def an_object(path: Path, machine: int, width: int) -> None:
    """The first bytes of an ELF file."""
    head = b"\x7fELF" + bytes([width]) + bytes(13) + machine.to_bytes(2, "little")
    path.write_bytes(head + bytes(44))


@pytest.mark.parametrize(("machine", "width"), [(62, 2), (40, 1), (183, 1)])
def test_a_library_of_another_computer_is_found(no_target, tmp_path, machine, width):
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    an_object(tmp_path / "tree" / "a.so", 183, 2)
    an_object(tmp_path / "tree" / "deep" / "b.so.1", 183, 2)
    assert no_target.check(tmp_path / "tree") == 2
    an_object(tmp_path / "tree" / "deep" / "c.so", machine, width)
    with pytest.raises(debtarget.BuildError, match=r"c\.so: no library for arm64"):
        no_target.check(tmp_path / "tree")
    (tmp_path / "tree" / "deep" / "c.so").write_bytes(b"!<arch>")
    with pytest.raises(debtarget.BuildError, match=r"c\.so"):
        no_target.check(tmp_path / "tree")


def test_what_there_is_no_recipe_for_is_said(tmp_path):
    with pytest.raises(debtarget.BuildError, match="run it on such a computer"):
        deb.build(tmp_path, "1.0", tmp_path / "cache", "riscv64")


def test_an_older_numpy_of_debian_is_refused(tmp_path):
    """armhf takes Debian's, and pbal needs numpy 2."""
    folder = tmp_path / "target-armhf-bookworm" / "root/usr/lib/python3/dist-packages/numpy"
    folder.mkdir(parents=True)
    (folder / "version.py").write_text('version = "1.24.2"')
    with pytest.raises(debtarget.BuildError, match="--release trixie"):
        debtarget.fetched("armhf", "bookworm", tmp_path)
    (folder / "version.py").write_text('version = "2.2.4"')
    assert debtarget.fetched("armhf", "bookworm", tmp_path).architecture == "armhf"


def test_only_what_the_index_lacks_is_left_out():
    """Each name is one that the controller would otherwise bring: none is left out for nothing."""
    lock = debtarget.run(
        sys.executable, debenv.ROOT / "tools/lock.py", "select", "core", *debenv.EXTRAS
    )
    names = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    for kind in debtarget.KINDS.values():
        assert {*kind.debian, *kind.left_out} <= names


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_core_for_arm64_decides_as_it_does_here():
    for name, package in (
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("qemu-aarch64-static", "qemu-user-static"),
    ):  # fmt: skip
        needs.require_tool(name, package)
    needs.require_file("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross")
    began = time.monotonic()
    with alone():
        to = debtarget.fetched("arm64", debtarget.here()[1], CACHE)
        libraries, own = debenv.wheels(CACHE, to)
    assert own.name.endswith(f"-{to.tag}-{to.tag}-linux_aarch64.whl")
    tree = CACHE / "cross-test"
    wanted = [own, next(libraries.glob("numpy-*.whl"))]
    debtarget.run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
        "--no-compile", "--upgrade", *to.pip_words(), "--target", tree, *wanted,
    )  # fmt: skip
    # The modules of the core, and numpy's.
    assert to.check(tree) > 10
    assert {path.name.split(".")[0] for path in tree.glob("pbal_controller/balancing/*.so")} == {
        "_core", "_gains", "_outlook", "_paths",
    }  # fmt: skip
    there = json.loads(to.emulated("-I", "-c", SOLVES, tree))
    here = json.loads(subprocess.check_output([sys.executable, "-c", SOLVES], text=True))
    assert there["machine"] == "aarch64" != here["machine"]
    for (x, *costs), (own_x, *own_costs) in zip(there["told"], here["told"], strict=True):
        assert x == own_x
        # arm64's compiler fuses multiplications with additions.
        assert costs == pytest.approx(own_costs, rel=1e-9, abs=1e-9)
    print(f"arm64's core: {time.monotonic() - began:.0f} s")
