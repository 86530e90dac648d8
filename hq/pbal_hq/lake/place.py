"""Where a lake is: one folder behind fsspec, and files that are there whole or not at all.

A folder or NFS mount (`/srv/lake`, `file:///srv/lake`), HDFS through its own protocol
(`hdfs://namenode:8020/lake`, hdfs-native) or over HTTP (`webhdfs://user@namenode:9870/lake`).

The file `.pbal-lake` in it says that this is a lake: an empty mount point, whose share is not
mounted, has none, and is not written to.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit

import fsspec

from pbal_hq.errors import LakeError

MARKER = ".pbal-lake"
FORMAT = 1
_TEMPORARY = ".tmp"
_MAX_MARKER = 10_000
# Of hdfs-native. Its own 15 attempts take three minutes, which is for a cluster that may fail over.
# A single NameNode that does not answer is told at once; who asked comes again.
_ONE_NAMENODE = {
    "dfs.client.failover.max.attempts": "3",
    "dfs.client.failover.sleep.max.millis": "1000",
}


class Place:
    """A folder of files. Paths are relative to it, with "/". All methods raise LakeError.

    This base is of a local folder; the others replace `_sync` and `_rename`.
    """

    def __init__(self, url: str, fs: Any, root: str) -> None:
        self.url = url
        self.fs = fs
        self.root = root.rstrip("/")
        self.encrypted = False

    # -- what it is ---------------------------------------------------------------------------

    def init(self, *, encrypted: bool) -> None:
        """Make a lake of an empty folder. Raises LakeError where it is none."""
        with self._told(""):
            # The folder of a local lake is a mount point, often: it must be there.
            if isinstance(self, _Remote):
                self.fs.makedirs(self.root, exist_ok=True)
            elif not self.fs.isdir(self.root):
                raise LakeError(
                    f"{self.url}: there is no such folder; make it, or mount the share there"
                )
            if self.names(""):
                raise LakeError(f"{self.url}: the folder is not empty; name one that is")
        text = json.dumps({"format": FORMAT, "lake": uuid.uuid4().hex, "encrypted": encrypted})
        self.publish(MARKER, lambda file: file.write(text.encode()))

    def known(self) -> bool:
        """Whether the folder is a lake."""
        with self._told(""):
            return bool(self.fs.exists(self.full(MARKER)))

    def check(self) -> None:
        """Raises LakeError where the folder is no lake, or one of a later version."""
        with self._told(""):
            if not self.fs.exists(self.root):
                raise LakeError(
                    f"{self.url}: there is no such folder; is it spelled right, is it mounted?"
                )
        if not self.known():
            raise LakeError(
                f"{self.url}: no lake is here (no file {MARKER}). Is the share mounted? "
                "A new lake: pbal-hq lake init"
            )
        try:
            with self.open(MARKER) as file:
                said = json.loads(file.read(_MAX_MARKER))
            later, self.encrypted = said["format"] > FORMAT, bool(said["encrypted"])
        except (ValueError, KeyError, TypeError):
            raise LakeError(f"{self.url}/{MARKER} is damaged; restore it from a backup") from None
        if later:
            raise LakeError(f"{self.url}: this lake is of a later version of pbal-hq; update it")

    # -- files ----------------------------------------------------------------------------------

    def full(self, path: str) -> str:
        """The path as `fs` knows it."""
        return f"{self.root}/{path}" if path else self.root or "/"

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where there is no such folder. Hidden ones are not
        given."""
        with self._told(folder):
            try:
                self.fs.invalidate_cache()
                found = self.fs.ls(self.full(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (PurePosixPath(str(each)).name for each in found)
        return sorted(name for name in names if not name.startswith("."))

    def open(self, path: str) -> BinaryIO:
        """To read. Raises FileNotFoundError, too: it may just have been replaced."""
        with self._told(path, FileNotFoundError):
            opened: BinaryIO = self.fs.open(self.full(path), "rb")
            return opened

    def publish(self, path: str, write: Callable[[BinaryIO], object]) -> None:
        """A file in the place of the one before: whole and durable, or not at all.

        `write` gets a file of another name, which is renamed when it is complete.
        """
        temporary = self.full(f"{_TEMPORARY}/{uuid.uuid4().hex}")
        with self._told(path):
            self.fs.makedirs(self.full(_TEMPORARY), exist_ok=True)
            self.fs.makedirs(self.fs._parent(self.full(path)), exist_ok=True)
            try:
                with self.fs.open(temporary, "wb") as file:
                    write(file)
                    self._sync(file)
                self._rename(temporary, self.full(path))
            except BaseException:
                with contextlib.suppress(Exception):
                    self.fs.rm_file(temporary)
                raise

    def sweep(self) -> None:
        """Delete what a killed writer left. Only for who holds the lake's lock."""
        with self._told(""):
            try:
                left = self.fs.ls(self.full(_TEMPORARY), detail=False)
            except FileNotFoundError:
                return
            for name in left:
                self.fs.rm_file(name)

    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all in it."""
        with self._told(path), contextlib.suppress(FileNotFoundError):
            self.fs.rm(self.full(path), recursive=True)

    def _sync(self, file: Any) -> None:
        file.flush()
        os.fsync(file.fileno())

    def _rename(self, here: str, there: str) -> None:
        os.replace(here, there)
        folder = os.open(os.path.dirname(there), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _told(self, path: str, *passed: type[Exception]) -> Iterator[None]:
        """What goes wrong, as LakeError."""
        where = f"{self.url}/{path}" if path else self.url
        try:
            yield
        except LakeError:
            raise
        except OSError as error:  # those of requests, too
            if isinstance(error, passed):
                raise
            raise LakeError(_remedy(where, error)) from error
        except (RuntimeError, ValueError) as error:  # hdfs-native; fsspec's webhdfs
            raise LakeError(f"{where}: {error}") from error


class _Remote(Place):
    """HDFS keeps a file that was closed."""

    def _sync(self, file: Any) -> None:
        pass


class _Native(_Remote):
    def _rename(self, here: str, there: str) -> None:
        self.fs.mv(here, there, overwrite=True)


class _Web(_Remote):
    def _rename(self, here: str, there: str) -> None:
        # fsspec's mv does not replace what is there, and does not look at the answer.
        self.fs._call(
            "RENAME", method="put", path=here, destination=there, renameoptions="OVERWRITE"
        )


def _remedy(where: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}: the disk is full; nothing is lost: what is not written waits on HQ's bus"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}: {error.strerror}; it needs to be writable for the user that runs HQ"
    if error.errno in (errno.ESTALE, errno.EIO):
        return f"{where}: {error.strerror}; is the share still mounted?"
    return f"{where}: {error.strerror or error or type(error).__name__}"


def place(url: str) -> Place:
    """The place of a URL that the configuration has checked. Connects to nobody yet."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Place(url, fsspec.filesystem("file", auto_mkdir=False), parts.path)
    return _hdfs(url, parts)


def _hdfs(url: str, parts: SplitResult) -> Place:
    told: dict[str, Any] = {"host": parts.hostname, "port": parts.port, "skip_instance_cache": True}
    if parts.scheme == "webhdfs":
        fs = fsspec.filesystem("webhdfs", user=parts.username, use_listings_cache=False, **told)
        return _Web(url, fs, parts.path)
    if parts.username:
        os.environ.setdefault("HADOOP_USER_NAME", parts.username)
    # A URL without a port names a cluster of several, which hdfs-site.xml describes.
    patience = _ONE_NAMENODE if parts.port else {}
    return _Native(url, fsspec.filesystem("hdfs", **told, **patience), parts.path)
