#!/usr/bin/env python3
"""The controller as a Debian package: one command, for this computer or for a Raspberry Pi.

    tools/deb.py [--arch ARCHITECTURE] [--release RELEASE] [--out FOLDER] [--version VERSION]

tools/deb_hq.py makes HQ's, by the same code.

Writes FOLDER/pbal-controller_VERSION_ARCHITECTURE.deb (default folder: dist; default version: that
of pyproject.toml). The package brings an environment of its own with the versions of
requirements.lock: their hashes are checked, nothing else is taken. Its Python is Debian's, of the
release (default: this computer's).

For arm64 and armhf the core is cross-compiled, and the wheels are those of the package index for
that architecture. Of numpy and cffi there are none for armhf: they are Debian's there, of trixie
or later. Bytecode for a Python that differs from this computer's is made by the target's own
Python in QEMU.

What was downloaded and compiled is kept under build/deb and used again, also without a network,
until the lock or the source changes.

Needs Debian packages: python3 python3-venv python3-dev gcc dpkg-dev; for another architecture
gcc-aarch64-linux-gnu libc6-dev-arm64-cross, or gcc-arm-linux-gnueabihf libc6-dev-armhf-cross, and
for another Python qemu-user-static.
Exit codes: 0 written, 2 wrong use, 4 something is missing or failed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
import tomllib
import zipapp
from collections.abc import Callable, Sequence
from pathlib import Path

from debtarget import KINDS, BuildError, Target, fetched, here, run

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = ROOT / "pi_controller" / "debian"
UNITS = ROOT / "pi_controller" / "systemd"
CACHE = ROOT / "build" / "deb"
NAME = "pbal-controller"
PYTHON = "/usr/bin/python3"
PAYLOAD = Path("usr/lib/pbal/dist")
#: What the environment holds in addition to every installation of pbal.
EXTRAS = ("pi",)
_SCRIPT = """\
#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" -I "$0" "$@"
' '''
"""
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~]*(-[A-Za-z0-9.+~]+)?")


def project_version() -> str:
    """The version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


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
                "*.so", "_core.c", "_outlook.c", "_paths.c", "node_modules",
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


def lay_out(root: Path, version: str, to: Target | None = None) -> None:
    """Everything beside the environment: units, slots, configuration, documents."""
    lib = root / "usr/lib/pbal"
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(
            ROOT / "pi_controller" / "pbal_slots", Path(work) / "pbal_slots",
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        zipapp.create_archive(
            work, lib / "pbal-slots", f"{PYTHON} -I", main="pbal_slots.cli:main", compressed=True
        )
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted(UNITS.glob("*.service")):
        shutil.copy(unit, units)
    for source, target in (
        (DEBIAN / "50-site.toml", root / "etc/pbal/conf.d"),
        (DEBIAN / "default", root / "etc/default"),
    ):
        target.mkdir(parents=True)
        name = NAME if source.name == "default" else source.name
        shutil.copyfile(source, target / name)
    documents = root / "usr/share/doc" / NAME
    shutil.copytree(DEBIAN / "examples", documents / "examples")
    shutil.copyfile(ROOT / "LICENSE", documents / "copyright")
    shutil.copyfile(ROOT / "CHANGELOG.md", documents / "CHANGELOG.md")
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    for name in ("pbal", "pbal-controller"):
        (programs / name).symlink_to(f"/opt/pbal/bin/{name}")
    sbin = root / "usr/sbin"
    sbin.mkdir(parents=True)
    (sbin / "pbal-slots").symlink_to("../lib/pbal/pbal-slots")
    write_control(root, DEBIAN, version, to)


def write_control(root: Path, source: Path, version: str, to: Target | None = None) -> None:
    """DEBIAN/ of a laid out tree, from the files in `source` with their @FIELDS@ filled in."""
    control = root / "DEBIAN"
    control.mkdir()
    own = run("dpkg", "--print-architecture").strip()
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir()) // 1024
    fields = {
        "VERSION": version, "ARCHITECTURE": own if to is None else to.architecture,
        "PYTHON": short_python() if to is None else to.short, "SIZE": str(size),
        "MORE": "" if to is None else "".join(f", {name}" for name in to.kind.debian.values()),
    }  # fmt: skip
    for path in sorted(source.iterdir()):
        if path.name in ("control", "conffiles", "preinst", "postinst", "prerm", "postrm"):
            text = path.read_text(encoding="utf-8")
            for key, value in fields.items():
                text = text.replace(f"@{key}@", value)
            (control / path.name).write_text(text, encoding="utf-8")
            (control / path.name).chmod(0o644 if path.name.startswith("con") else 0o755)


def modes(root: Path) -> None:
    """Readable by all and writable by root alone, whatever the umask of this shell."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            keep = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if keep else 0o644)


def check(version: str) -> None:
    """Whether a package can be made at all. Raises BuildError."""
    if not _VERSION.fullmatch(version):
        raise BuildError(f"{version!r} is no version of a Debian package, such as 0.2.0 or 0.2.0~1")
    for needed in ("dpkg-deb", "dpkg", PYTHON):
        if shutil.which(needed) is None:
            raise BuildError(f"{needed} is missing: apt install python3 dpkg")


def build(out: Path, version: str, cache: Path, architecture: str = "", release: str = "") -> Path:
    """Write the package; returns its path. Raises BuildError.

    Empty: this computer's architecture, this computer's release.
    """
    own = here()
    wanted = architecture or own[0], release or own[1]
    if wanted != own and wanted[0] not in KINDS:
        raise BuildError(
            f"for {' of '.join(wanted)} there is no cross build: run it on such a computer"
        )

    def fill(root: Path) -> None:
        to = None if wanted == own else fetched(*wanted, cache)
        shutil.copytree(environment(cache, to), root / PAYLOAD, symlinks=True)
        lay_out(root, version, to)

    return package(NAME, out, version, cache, fill)


def package(name: str, out: Path, version: str, cache: Path, fill: Callable[[Path], None]) -> Path:
    """Write the package of the tree that `fill` lays out. Raises BuildError."""
    check(version)
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        root = Path(work) / name
        fill(root)
        modes(root)
        return pack(root, out)


def pack(root: Path, out: Path) -> Path:
    """A laid out tree as a package in `out`; returns its path. Raises BuildError."""
    said = run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", root, out)
    found = re.search(r"in '([^']+\.deb)'", said)
    if found is None:
        raise BuildError(f"dpkg-deb did not say what it wrote:\n{said}")
    return Path(found[1])


def parser(prog: str, what: str) -> argparse.ArgumentParser:
    """What every package's command takes."""
    made = argparse.ArgumentParser(
        prog=f"tools/{prog}.py", description=f"{what} as a Debian package."
    )
    made.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    made.add_argument("--version", default=project_version(), help="default: pyproject.toml's")
    return made


def ended(prog: str, make: Callable[[], Path]) -> int:
    """Make the package and say where it is; the command's exit code."""
    try:
        print(make())
    except (BuildError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 4
    return 0


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    options = parser("deb", "The controller")
    options.add_argument("--arch", default="", help="arm64 or armhf; default: this computer's")
    options.add_argument("--release", default="", help="of Debian; default: this computer's")
    args = options.parse_args(words)
    return ended("deb", lambda: build(args.out, args.version, CACHE, args.arch, args.release))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
