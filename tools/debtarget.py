"""The computer that a package is for, where it is another one than this: a Raspberry Pi.

A `Target` knows what differs: the cross compiler, which wheels of the package index fit, and what
comes from Debian because the index has no wheel of it. Debian's packages for it (headers, an
interpreter for bytecode) are fetched by apt with lists of its own, and unpacked into a folder:
nothing is installed on this computer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = "python3 python3-venv python3-dev gcc dpkg-dev"
# (machine of an ELF file, its class): the System V ABI's e_machine, e_ident[EI_CLASS].
_AARCH64, _ARM = (183, 2), (40, 1)
_OLDEST_GLIBC = 17  # 2.17, of manylinux2014


class BuildError(Exception):
    """What is missing or failed, and what to do."""


def run(*words: str | Path, cwd: Path | None = None, **more: str) -> str:
    """A program's output; `more` is added to its environment.

    Raises BuildError with the end of its messages.
    """
    try:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, cwd=cwd,
            env=os.environ | more,
        )  # fmt: skip
    except FileNotFoundError:
        raise BuildError(f"{words[0]} is missing: apt install {TOOLS}") from None
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BuildError(f"{' '.join(str(word) for word in words[:6])} ... failed:\n{end}")
    return done.stdout


@dataclass(frozen=True)
class Kind:
    """One architecture. `debian`: packages that the index has no wheel of, and Debian's instead.

    `left_out`: what only functions need that nobody uses at a transformer.
    """

    machine: str
    triplet: str
    emulator: str
    elf: tuple[int, int]
    debian: dict[str, str]
    left_out: tuple[str, ...] = ()


KINDS = {
    "arm64": Kind("aarch64", "aarch64-linux-gnu", "qemu-aarch64-static", _AARCH64, {}),
    # scipy: `pbal study`. sysv-ipc: Blinka's measuring of pulses, which no radio needs.
    "armhf": Kind(
        "armv7l", "arm-linux-gnueabihf", "qemu-arm-static", _ARM,
        {"numpy": "python3-numpy", "cffi": "python3-cffi-backend"}, ("scipy", "sysv-ipc"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """An architecture of a Debian release, with its packages unpacked in `folder`."""

    architecture: str
    release: str
    folder: Path

    @property
    def kind(self) -> Kind:
        """What its architecture is."""
        return KINDS[self.architecture]

    @property
    def root(self) -> Path:
        """Its interpreter and libraries, unpacked and not set up."""
        return self.folder / "root"

    @property
    def headers(self) -> Path:
        """Python's headers alone: those of its C library are the cross compiler's."""
        return self.folder / "headers" / "usr" / "include"

    @property
    def python(self) -> tuple[int, int]:
        """The version of its Python."""
        found = re.fullmatch(r"python(\d+)\.(\d+)", (self.root / "usr/bin/python3").readlink().name)
        assert found is not None, "Debian's python3 is a link to a version"
        return int(found[1]), int(found[2])

    @property
    def short(self) -> str:
        """Its Python's name, such as python3.13."""
        return "python{}.{}".format(*self.python)

    @property
    def tag(self) -> str:
        """Its Python in the names of wheels, such as cp313."""
        return "cp{}{}".format(*self.python)

    @property
    def platforms(self) -> list[str]:
        """The platforms in the names of wheels that run there, by its C library's version."""
        (libc,) = (self.folder / "apt").glob("cache/archives/libc6_2.*.deb")
        found = re.match(r"libc6_2\.(\d+)", libc.name)
        assert found is not None
        newest = range(int(found[1]), _OLDEST_GLIBC - 1, -1)
        machine = self.kind.machine
        many = [f"manylinux_2_{minor}_{machine}" for minor in newest]
        return [*many, f"manylinux2014_{machine}", f"linux_{machine}"]

    def pip_words(self) -> list[str]:
        """What tells pip which wheels fit."""
        words = ["--only-binary", ":all:", "--implementation", "cp", "--python-version",
                 "{}.{}".format(*self.python)]  # fmt: skip
        for platform in self.platforms:
            words += ["--platform", platform]
        return words

    def compiling(self) -> dict[str, str]:
        """What tells setuptools to compile for it."""
        compiler = f"{self.kind.triplet}-gcc"
        if shutil.which(compiler) is None or not Path(f"/usr/{self.kind.triplet}/include").is_dir():
            raise BuildError(
                f"{compiler} or its C library is missing: apt install gcc-{self.kind.triplet} "
                f"libc6-dev-{self.architecture}-cross"
            )
        suffix = f".cpython-{'{}{}'.format(*self.python)}-{self.kind.triplet}.so"
        return {
            "CC": compiler, "SETUPTOOLS_EXT_SUFFIX": suffix,
            # Before this computer's own headers and libraries; flags as of Debian's Python.
            "CFLAGS": "-DNDEBUG -fwrapv -fstack-protector-strong "
            f"-I{self.headers / self.short} -I{self.headers}",
            "LDSHARED": f"{compiler} -shared -L/usr/{self.kind.triplet}/lib",
            "_PYTHON_HOST_PLATFORM": f"linux-{self.kind.machine}",
        }  # fmt: skip

    def emulated(self, *words: str | Path) -> str:
        """What its Python says to these words, on this computer. Raises BuildError."""
        if shutil.which(self.kind.emulator) is None:
            raise BuildError(f"{self.kind.emulator} is missing: apt install qemu-user-static")
        # Where Debian's set-up of its BLAS would have put a link.
        blas = self.root / "usr/lib" / self.kind.triplet
        paths = ":".join(str(blas / name) for name in ("blas", "lapack"))
        return run(self.kind.emulator, "-L", self.root, "-E", f"LD_LIBRARY_PATH={paths}",
                   self.root / "usr/bin" / self.short, *words)  # fmt: skip

    def check(self, tree: Path) -> int:
        """Whether all compiled files of a tree are for this architecture; how many they are.

        Raises BuildError, which names the first that is not.
        """
        count = 0
        for path in sorted(tree.rglob("*.so*")):
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                head = file.read(20)
            found = int.from_bytes(head[18:20], "little"), head[4] if len(head) == 20 else 0
            if head[:4] != b"\x7fELF" or found != self.kind.elf:
                raise BuildError(f"{path}: no library for {self.architecture}")
            count += 1
        return count


def here() -> tuple[str, str]:
    """This computer's architecture and release. Raises BuildError."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\w+)", text, re.MULTILINE)
    if found is None:
        raise BuildError("/etc/os-release names no release: name one with --release")
    return run("dpkg", "--print-architecture").strip(), found[1]


def sources(release: str) -> str:
    """This computer's Debian, of this release, as apt's list. Raises BuildError.

    Without updates: nothing of it goes into the package.
    """
    _, own = here()
    said = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    places = {
        f"deb [signed-by={keyring}] {site} {release} main"
        for site, suite, component in (line.split() for line in said.splitlines() if line)
        if (suite, component) == (own, "main")
    }
    if not places:
        raise BuildError("apt knows no place of Debian here: apt-get update, and try again")
    return "\n".join([*sorted(places), ""])


def fetched(architecture: str, release: str, cache: Path) -> Target:
    """The target with its packages, fetched where they are not there yet. Raises BuildError."""
    kind = KINDS[architecture]
    folder = cache / f"target-{architecture}-{release}"
    made = Target(architecture, release, folder)
    if not folder.is_dir():
        work = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(work, ignore_errors=True)
        _unpack(work, _fetch(work / "apt", architecture, release, tuple(kind.debian.values())))
        work.rename(folder)
    numpy = made.root / "usr/lib/python3/dist-packages/numpy/version.py"
    if "numpy" in kind.debian and '"2.' not in numpy.read_text(encoding="utf-8"):
        raise BuildError(
            f"{release} has no numpy 2 for {architecture}, and the package index none at all: "
            "name a later release, such as --release trixie"
        )
    return made


def _fetch(apt: Path, architecture: str, release: str, more: Sequence[str]) -> list[Path]:
    """Packages with all they need, as files."""
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(sources(release), encoding="utf-8")
    options = {
        "Dir::State::Lists": apt / "lists", "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache", "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-", "APT::Architecture": architecture,
        "APT::Architectures": architecture, "APT::Sandbox::User": "root",
        "Acquire::Languages": "none", "Debug::NoLocking": "1",
    }  # fmt: skip
    words: list[str | Path] = ["apt-get", "-qq"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    run(*words, "update")
    run(*words, "install", "--yes", "--download-only", "--no-install-recommends", "python3",
        "libpython3-dev", "libstdc++6", *more)  # fmt: skip
    shutil.rmtree(apt / "lists")
    return sorted((apt / "cache/archives").glob("*.deb"))


def _unpack(folder: Path, packages: Sequence[Path]) -> None:
    root = folder / "root"
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        name = package.name.partition("_")[0]
        if re.fullmatch(r"libpython3\.\d+-dev", name):
            run("dpkg-deb", "-x", package, folder / "headers")
        elif not name.endswith("-dev"):
            run("dpkg-deb", "-x", package, root)
