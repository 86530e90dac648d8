"""Restoring a backup: checked as a whole first, then each file put into its place."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pbal_controller.config import Config, load
from pbal_controller.errors import ConfigError, ControllerError
from pbal_controller.journal import Journal, add_audit, clock_is_set, lift_numbers
from pbal_controller.keys import read_keys_site, user
from pbal_controller.standing import ADOPT, Reason
from pbal_controller.standing import store as standing_store

from ..errors import CheckFailed, InputError, PeerError, RefusedError
from .content import JOURNAL, KEYS, MAIN
from .sealing import Header


def checked(files: dict[str, Path], header: Header, name: str, folder: Path) -> Config:
    """The configuration of the backup. Raises CheckFailed or PeerError: a part is not whole."""
    for needed in (MAIN, KEYS):
        if needed not in files:
            raise PeerError(f"{name} lacks {needed}.", "Take another backup.")
    if JOURNAL in files:
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{files[JOURNAL]}?mode=ro&immutable=1", uri=True)
            ) as db:
                (told,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as exc:
            told = str(exc)
        if told != "ok":
            raise CheckFailed(
                f"{name}: the journal in it is damaged: {told}.",
                "It was damaged when it was backed up: take an older backup.",
            )
    try:
        site = read_keys_site(files[KEYS])
    except ControllerError as exc:
        raise CheckFailed(f"{name}: the key store in it: {exc}.", "Take another one.") from None
    tree = folder / "tree"
    (tree / "conf.d").mkdir(parents=True)
    for one, path in files.items():
        if one.startswith("config/"):
            shutil.copyfile(path, tree / one.removeprefix("config/"))
    try:
        config = load(tree / "pbal.toml", {})
    except ConfigError as exc:
        raise CheckFailed(f"{name}: its configuration: {exc}.", "Correct it there.") from None
    if not site == config.site.id == header.site:
        raise CheckFailed(
            f"{name}: its parts are of sites {header.site}, {config.site.id} and {site}.",
            "Take another backup.",
        )
    return config


def effective(config_file: Path, header: Header, folder: Path) -> Config:
    """The configuration that will apply: the one here, else the backup's as if it were there.

    Raises InputError: the one here is wrong; RefusedError: it is of another site.
    """
    if config_file.exists():
        try:
            config = load(config_file)
        except ConfigError as exc:
            raise InputError(
                f"The configuration here: {exc}.",
                "Correct it, or move it away to use the backup's.",
            ) from None
        if config.site.id != header.site:
            raise RefusedError(
                f"The backup is of site {header.site}, {config_file} of site {config.site.id}.",
                "Take that site's backup. If this computer becomes that site's, move its "
                "configuration, keys and journal away first.",
            )
        return config
    # Relative paths are relative to the place where it will be.
    config = load(folder / "tree" / "pbal.toml", {})
    base, stands = folder / "tree", config_file.parent.absolute()

    def moved(path: Path) -> Path:
        return stands / path.relative_to(base) if path.is_relative_to(base) else path

    return config.model_copy(
        update={
            "keys": config.keys.model_copy(update={"file": moved(config.keys.file)}),
            "journal": config.journal.model_copy(update={"path": moved(config.journal.path)}),
            "uplink": config.uplink.model_copy(
                update={
                    key: moved(path)
                    for key in ("ca", "crl", "certificate", "key")
                    if (path := getattr(config.uplink, key, None)) is not None
                }
            ),
        }
    )


@contextlib.contextmanager
def alone(journal: Path) -> Iterator[None]:
    """Keeps controllers from the journal meanwhile. Raises RefusedError: one uses it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{journal}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"A controller uses {journal}.", "sudo systemctl stop pbal-controller"
            ) from None
        _like_its_folder(Path(f"{journal}.lock"))
        yield
    finally:
        os.close(lock)


def prepared(journal: Path, header: Header, now_s: float) -> None:
    """A journal that was restored: numbers above all that its original used; it stands down.

    Raises RefusedError: the clock is not set, so it is not known which numbers were used.
    """
    if not clock_is_set(now_s) or now_s < header.made_s - 86400:
        raise RefusedError(
            "The clock of this computer is not set: frame counters follow it.",
            "Set it (timedatectl), then restore.",
        )
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(header.made_s))
    opened = Journal(journal, lambda: now_s)
    try:
        lift_numbers(opened, now_s)
        add_audit(opened, now_s, "restored from a backup", str(header.site), user(), made)
        standing_store.stand_down(
            opened,
            Reason.RESTORED,
            f"the journal was restored from a backup of {made}: quarantines and moves since then "
            f"are forgotten. Look at homes that were moved or put in quarantine since, and that "
            f"no other controller runs, {ADOPT}",
        )
    finally:
        opened.close()


def place(source: Path, target: Path, stamp: str, mode: int = 0o600) -> Path | None:
    """Puts a file into its place, on the disk; what was there is kept beside it and returned."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.restoring")
    with source.open("rb") as old, open(new, "wb", opener=_private) as file:
        shutil.copyfileobj(old, file)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    _like_its_folder(new)
    kept = None
    if target.exists():
        kept = target.with_name(f"{target.name}.before-{stamp}")
        os.replace(target, kept)
    os.replace(new, target)
    return kept


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _like_its_folder(path: Path) -> None:
    """Restored by root, the controller's user must still be able to use it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
