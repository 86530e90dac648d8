"""The directory in which releases are published, and why some of its files are refused."""

from __future__ import annotations

import logging
from pathlib import Path

from pbal_controller.config import UpdateConfig
from pbal_controller.errors import ReleaseError
from pbal_controller.updates.release import SUFFIX, Release, load

log = logging.getLogger(__name__)


class ReleaseFolder:
    """`update.directory`; with none configured it has no releases. It reads files: use a thread.

    `refused` says why, by file name.
    """

    def __init__(self, config: UpdateConfig) -> None:
        self.refused: dict[str, str] = {}
        self._directory: Path | None = config.directory
        self._keys = [bytes.fromhex(key) for key in config.keys]
        self._seen: dict[str, tuple[int, int]] = {}

    def new(self) -> list[tuple[str, Release]]:
        """What is new or changed since the last look: (file name, release)."""
        found: list[tuple[str, Release]] = []
        if self._directory is None:
            return found
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size)
                if self._seen.get(path.name) == mark:
                    continue
                self._seen[path.name] = mark
                found.append((path.name, self._usable(load(path))))
                self.refused.pop(path.name, None)
            except (OSError, ReleaseError) as error:
                self.refused[path.name] = str(error)
                log.error("release refused", extra={"file": path.name, "why": str(error)})
        return found

    def take(self, file: str, digest: str) -> Release | None:
        """The release of this digest (hex) from the file that had it; None: it is refused."""
        if self._directory is None:
            return None
        try:
            path = self._directory / file
            release = self._usable(load(path))
            if release.digest.hex() != digest:
                raise ReleaseError(f"{path}: is another release than it was")
        except ReleaseError as error:
            self.refused[file] = str(error)
            return None
        return release

    def _usable(self, release: Release) -> Release:
        if not release.signature:
            raise ReleaseError("not signed; sign it with `pbal release sign`")
        if self._keys and not any(release.signed_by(key) for key in self._keys):
            raise ReleaseError("signed with a key that is not in update.keys")
        return release
