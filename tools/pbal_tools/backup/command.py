"""The command line of `pbal backup`."""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller import __version__
from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_host import counted

from ..errors import InputError
from ..keystore import passphrase
from ..output import JsonFlag, check_writable, emit
from . import content, restore
from .sealing import Header, Opener, Sealer

app = typer.Typer(no_args_is_help=True, help="A site in one encrypted file.")

File = Annotated[Path, typer.Argument(help="The backup.")]
Secret = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Of the backup, mode 600. Default: asked for."),
]
ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="PBAL_CONFIG", help="Of the controller."),
]
DEFAULT_CONFIG = Path("/etc/pbal/pbal.toml")
# On the disk: /tmp may be in memory, and a journal is large.
_ROOM = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None


@app.command()
def create(
    file: File,
    config: ConfigFile = DEFAULT_CONFIG,
    passphrase_file: Secret = None,
    json_output: JsonFlag = False,
) -> None:
    """Back up configuration, keys, journal and uplink certificates, also while it runs.

    Example:  sudo pbal backup create /mnt/usb/mill-lane.pbal

    The file is encrypted with its passphrase; without it nobody can restore it.
    """
    if file.exists():
        raise InputError(f"{file} exists already.", "Name a new file.")
    check_writable(file)
    try:
        settings = load(config)
    except ConfigError as exc:
        raise InputError(str(exc), "pbal-controller check-config") from None
    secret = passphrase(passphrase_file, new=True)
    made_s = int(time.time())
    new = file.with_name(f".{file.name}.part")
    try:
        with content.gathered(settings, config) as items:
            with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
                sealer = Sealer(out, secret, settings.site.id, made_s, __version__)
                content.write(sealer, items)  # type: ignore[arg-type]
                sealer.finish()
                out.flush()
                os.fsync(out.fileno())
            os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)
    # What was written is read back, so that a faulty USB stick is found now.
    files, _ = _look(file, secret)
    data = {"file": str(file), "site": settings.site.id, "made_s": made_s, "parts": files,
            "bytes": file.stat().st_size}  # fmt: skip
    emit(data, json_output, lambda d: print(
        f"{file}: site {d['site']}, {counted(len(files), 'part')}, {d['bytes']} bytes, read back"
    ))  # fmt: skip


@app.command()
def verify(file: File, passphrase_file: Secret = None, json_output: JsonFlag = False) -> None:
    """Read a backup whole: its encryption, every part's hash, the journal, the key store.

    Example:  pbal backup verify /mnt/usb/mill-lane.pbal
    """
    parts, header = _look(file, passphrase(passphrase_file))
    data = _facts(file, header) | {"parts": parts}
    emit(data, json_output, _render)


@app.command("restore")
def restore_(
    file: File,
    config: ConfigFile = DEFAULT_CONFIG,
    passphrase_file: Secret = None,
    without_journal: Annotated[
        bool, typer.Option("--without-journal", help="Configuration and keys only.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Put a backup back; the controller must be stopped. What is there is kept beside it.

    Example:  sudo pbal backup restore /mnt/usb/mill-lane.pbal

    A configuration that is there stays; it must be of the same site. The restored controller
    stands down until pbal-controller adopt.
    """
    secret = passphrase(passphrase_file)
    with (
        _opened(file) as raw,
        _room() as name,
    ):
        folder = Path(name)
        stream = Opener(raw, str(file), secret)
        header = stream.header
        files = content.unpack(stream, str(file), folder)  # type: ignore[arg-type]
        restore.checked(files, header, str(file), folder)
        settings = restore.effective(config, header, folder)
        targets: dict[str, Path] = {content.KEYS: settings.keys.file}
        if not config.exists():
            base = config.parent
            targets |= {
                one: base / one.removeprefix("config/")
                for one in files
                if one.startswith("config/")
            }
        for one in files:
            if one.startswith("uplink/"):
                path = getattr(settings.uplink, one.removeprefix("uplink/"), None)
                if path is not None:
                    targets[one] = path
        journal = settings.journal.path
        stamp = time.strftime("%Y%m%d-%H%M%S")
        kept: list[Path | None] = []
        with restore.alone(journal):
            if content.JOURNAL in files and not without_journal:
                restore.prepared(files[content.JOURNAL], header, time.time())
                for end in ("-wal", "-shm"):
                    old = Path(f"{journal}{end}")
                    if old.exists():  # it belongs to the journal that is replaced
                        kept.append(old.rename(f"{journal}.before-{stamp}{end}"))
                targets[content.JOURNAL] = journal
            for one, target in sorted(targets.items()):
                mode = 0o644 if one.startswith("config/") else 0o600
                kept.append(restore.place(files[one], target, stamp, mode))
    data = _facts(file, header) | {
        "restored": {one: str(target) for one, target in sorted(targets.items())},
        "kept": [str(path) for path in kept if path is not None],
    }

    def render(found: dict[str, Any]) -> None:
        for one, target in found["restored"].items():
            print(f"{one:<18} -> {target}")
        for path in found["kept"]:
            print(f"what was there: {path}")
        print(
            "Now: sudo systemctl start pbal-controller, read why it stands down, look at the "
            "homes, pbal-controller adopt. Nodes that were revoked or given keys since the backup: "
            "do that again."
        )

    emit(data, json_output, render)


def _room() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pbal-backup-", dir=_ROOM)


def _opened(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as exc:
        raise InputError(f"{file} cannot be read: {exc.strerror}.", "Check the path.") from None


def _look(file: Path, secret: bytes) -> tuple[list[str], Header]:
    with (
        _opened(file) as raw,
        _room() as name,
    ):
        stream = Opener(raw, str(file), secret)
        files = content.unpack(stream, str(file), Path(name))  # type: ignore[arg-type]
        restore.checked(files, stream.header, str(file), Path(name))
        return sorted(files), stream.header


def _facts(file: Path, header: Header) -> dict[str, Any]:
    return {"file": str(file), "site": header.site, "made_s": header.made_s,
            "version": header.version}  # fmt: skip


def _render(data: dict[str, Any]) -> None:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(data["made_s"]))
    print(f"{data['file']}: whole; site {data['site']}, made {made} by pbal {data['version']}")
    for part in data["parts"]:
        print(f"  {part}")
