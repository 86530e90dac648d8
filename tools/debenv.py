"""The environment that a Debian package brings: wheels by the lock, laid out where they will be.

Versions and hashes are those of requirements.lock, nothing else is taken. What was downloaded and
compiled is kept under the caller's cache, under names that change with the lock and the source.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from debtarget import Target, run

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
#: What the environment holds in addition to every installation of pbal.
EXTRAS = ("pi",)
_SCRIPT = """\
#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" -I "$0" "$@"
' '''
"""


def locked(folder: Path, name: str, *groups: str) -> Path:
    """The lock's entries of these groups as a file for pip."""
    path = folder / f"{name}.txt"
    text = run(sys.executable, ROOT / "tools" / "lock.py", "select", *groups)
    path.write_text(text, encoding="utf-8")
    return path


def builder(cache: Path) -> Path:
    """An environment with the locked tools that compile; returns its Python."""
    stamp = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    home = cache / "builder"
    if (home / "stamp").is_file() and (home / "stamp").read_text() == stamp:
        return home / "bin" / "python"
    shutil.rmtree(home, ignore_errors=True)
    run(PYTHON, "-m", "venv", home)
    python = home / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps")
    run(*pip, "-r", locked(home, "build", "build"))
    (home / "stamp").write_text(stamp)
    return python


def library_wheels(cache: Path, python: Path, extras: Sequence[str] = EXTRAS) -> Path:
    """Wheels of all that pbal needs with these extras; compiled here where there is none."""
    lock = locked(cache, "core", "core", *extras)
    name = hashlib.sha256(lock.read_bytes() + run(python, "-VV").encode()).hexdigest()[:16]
    wheels = cache / f"wheels-{name}"
    if not wheels.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as work:
            run(python, "-m", "pip", "wheel", "--quiet", "--require-hashes", "--no-deps",
                "--no-build-isolation", "-r", lock, "-w", work)  # fmt: skip
            Path(work).chmod(0o755)
            shutil.copytree(work, f"{wheels}.new", dirs_exist_ok=True)
        Path(f"{wheels}.new").rename(wheels)
    return wheels


def fitting_wheels(cache: Path, python: Path, to: Target, extras: Sequence[str] = EXTRAS) -> Path:
    """The same for another architecture: the index's wheels; Debian has what lacks one."""
    lock = locked(cache, "core", "core", *extras)
    text = lock.read_text(encoding="utf-8")
    lacking = (*to.kind.debian, *to.kind.left_out)
    wanted = [
        entry for entry in re.split(r"(?<!\\)\n", text)
        if entry.strip() and entry.partition("==")[0] not in lacking
    ]  # fmt: skip
    name = hashlib.sha256("\n".join([*wanted, *to.pip_words()]).encode()).hexdigest()[:16]
    wheels = cache / f"wheels-{to.architecture}-{name}"
    if not wheels.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as work:
            listed = Path(work) / "lock.txt"
            listed.write_text("\n".join([*wanted, ""]), encoding="utf-8")
            run(python, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
                *to.pip_words(), "-r", listed, "-d", Path(work) / "wheels")  # fmt: skip
            (Path(work) / "wheels").rename(wheels)
    return wheels


def own_wheel(cache: Path, python: Path, to: Target | None) -> Path:
    """The wheel of pbal itself, from a copy of the source: a checkout may hold old build files."""
    compiling = {} if to is None else to.compiling()
    with tempfile.TemporaryDirectory(dir=cache) as work:
        source = Path(work) / "source"
        shutil.copytree(
            ROOT, source,
            ignore=shutil.ignore_patterns(
                ".*", "build", "dist", "tests", "docs", "bench", "__pycache__", "*.egg-info",
                "*.so", "_core.c", "_gains.c", "_loads.c", "_outlook.c", "_paths.c",
                "node_modules",
            ),
        )  # fmt: skip
        digest = hashlib.sha256((run(python, "-VV") + str(compiling)).encode())
        for path in sorted(source.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(source)}\0{path.stat().st_mode}\0".encode())
                digest.update(path.read_bytes())
        kept = cache / f"own-{digest.hexdigest()[:16]}"
        if not kept.is_dir():
            out = Path(work) / "wheel"
            run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                source, "-w", out, **compiling)  # fmt: skip
            if to is not None:
                # setuptools names the Python that it ran on.
                (made,) = out.iterdir()
                named = "-".join(made.name.split("-")[:2])
                made.rename(out / f"{named}-{to.tag}-{to.tag}-linux_{to.kind.machine}.whl")
            out.rename(kept)
    return next(kept.glob("pbal-*.whl"))


def wheels(
    cache: Path, to: Target | None = None, extras: Sequence[str] = EXTRAS
) -> tuple[Path, Path]:
    """The folder of the libraries' wheels, and pbal's own wheel. Raises BuildError.

    `to`: for another computer; None: for this one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    python = builder(cache)
    own = own_wheel(cache, python, to)
    if to is None:
        return library_wheels(cache, python, extras), own
    return fitting_wheels(cache, python, to, extras), own


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version}"


def environment(
    cache: Path,
    to: Target | None = None,
    extras: Sequence[str] = EXTRAS,
    kind: str = "environment",
    home: str = "/opt/pbal",
) -> Path:
    """The environment for a package: movable, with its bytecode, without pip.

    `kind`: the name under which it is kept. `home`: where it will be, for its bytecode.
    """
    libraries, own = wheels(cache, to, extras)
    place = kind if to is None else f"{kind}-{to.architecture}-{to.release}"
    wanted = "".join(f"{_requirement(w)}\n" for w in [*sorted(libraries.glob("*.whl")), own])
    digest = hashlib.sha256(wanted.encode() + own.read_bytes() + Path(__file__).read_bytes())
    kept = cache / f"{place}-{digest.hexdigest()[:16]}"
    if not kept.is_dir():
        for old in cache.glob(f"{place}-{'[0-9a-f]' * 16}"):
            shutil.rmtree(old)
        work = cache / f"{place}.new"
        shutil.rmtree(work, ignore_errors=True)
        (cache / "wanted.txt").write_text(wanted, encoding="utf-8")
        if to is None:
            _fill(work, cache, libraries, own)
        else:
            _fill_for(work, cache, to, libraries, own)
        _finish(work, to, home)
        (work / ".pbal-build").write_text(f"{digest.hexdigest()}\n")
        work.rename(kept)
    return kept


def _fill(home: Path, cache: Path, libraries: Path, own: Path) -> None:
    run(PYTHON, "-m", "venv", "--without-pip", "--symlinks", home)
    run(builder(cache), "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet",
        "--no-index", "--no-deps", "--no-compile", "--find-links", libraries,
        "--find-links", own.parent, "-r", cache / "wanted.txt")  # fmt: skip
    # The line with the command that made it names this computer's folders.
    config = (home / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    kept = [line for line in config if not line.startswith("command")]
    (home / "pyvenv.cfg").write_text("\n".join([*kept, ""]), encoding="utf-8")


def _fill_for(home: Path, cache: Path, to: Target, libraries: Path, own: Path) -> None:
    """As venv and pip would on the target, whose Python does not run here."""
    site = home / "lib" / to.short / "site-packages"
    (home / "bin").mkdir(parents=True)
    for name, target_name in (("python3", PYTHON), ("python", "python3"), (to.short, "python3")):
        (home / "bin" / name).symlink_to(target_name)
    debians = str(bool(to.kind.debian)).lower()
    (home / "pyvenv.cfg").write_text(
        f"home = {Path(PYTHON).parent}\ninclude-system-site-packages = {debians}\n"
        f"version = {'{}.{}'.format(*to.python)}\n",
        encoding="utf-8",
    )
    run(builder(cache), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
        "--no-compile", *to.pip_words(), "--find-links", libraries, "--find-links", own.parent,
        "-r", cache / "wanted.txt", "--target", site)  # fmt: skip
    for program in (site / "bin").iterdir():
        shutil.move(program, home / "bin" / program.name)
    (site / "bin").rmdir()


def _finish(home: Path, to: Target | None, place: str) -> None:
    for path in (home / "bin").iterdir():
        if path.name.startswith("pbal"):
            body = path.read_text(encoding="utf-8").split("\n", 1)[1]
            path.write_text(_SCRIPT + body, encoding="utf-8")
        elif not path.name.startswith("python"):
            path.unlink()
    site = next(home.glob("lib/python3*/site-packages"))
    # Libraries' own tests: a third of the size.
    for folder in [*site.glob("numpy/**/tests"), *site.glob("scipy/**/tests")]:
        shutil.rmtree(folder)
    # The service cannot write here: without bytecode each start would compile all of it.
    words = ("-m", "compileall", "-q", "-s", home, "-p", place,
             "--invalidation-mode", "unchecked-hash", site)  # fmt: skip
    if to is None or to.short == short_python():
        run(PYTHON, *words, "-j", "2")
    else:
        to.emulated(*words)  # one process: QEMU has no semaphores that processes share
    if to is not None:
        to.check(home)
    shutil.rmtree(home / "include", ignore_errors=True)


def short_python() -> str:
    """The name of this computer's Python, such as python3.11."""
    return run(PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])").strip()
