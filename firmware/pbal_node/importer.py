"""Finds the application's modules quickly while it loads. Freed afterwards.

A look-up by name in a folder of flash reads much of that folder, some 13 kB; the interpreter makes
three or four for each module (folder, .py, .mpy, open), and tries three folders for each import of
a module of its own. That is most of a start: bench.boot counts it.
"""

import os
import sys

import machine
import vfs

_AT = "/-"  # short: every module keeps its path
_OWN = ("asyncio", "binascii", "hashlib", "json", "os", "select", "struct", "sys", "time")


class Importer:
    """A file system in which our packages are found between `begin` and `end`, with one look-up for
    each module. A .mpy counts before a .py of the same name; the __init__ of a package in
    pbal_node is not looked for, as it has nothing in it.
    """

    def __init__(self) -> None:
        self._root = ""
        self._paths: list = []
        self._stem = ""  # what was looked for last
        self._end = ""  # .mpy or .py, "" when there is no such file
        self._file = None  # that file, until it is asked for

    def begin(self) -> None:
        """Changes nothing where nothing is gained: in an image with frozen modules. Where it
        fails the start only takes longer.
        """
        folder = getattr(sys.modules["pbal_node"], "__path__", "")
        if folder[:1] != "/":
            return
        paths = self._paths = sys.path[:]
        frozen = [p for p in paths if p == ".frozen"]
        try:
            # Their imports search folders, too: so they are imported here, once.
            sys.modules["machine"] = machine
            sys.path[:] = frozen
            for name in _OWN:
                if name not in sys.modules:
                    sys.modules[name] = __import__(name)
            self._root = folder[: folder.rfind("/")]
            vfs.mount(self, _AT)
            sys.path[:] = [_AT] + paths
            import pbal_protocol  # noqa: F401

            for name in ("pbal_node", "pbal_protocol"):
                inside = sys.modules[name].__dict__
                if inside["__path__"] == self._root + "/" + name:
                    inside["__path__"] = _AT + "/" + name
            # Packages know their folders; from a flash (/lib, /app/a) nothing else is imported. The
            # first says which application this is.
            if self._root.startswith("/app/"):
                frozen.insert(0, self._root)
            sys.path[:] = frozen if self._root.rfind("/") < 5 else paths
        except Exception as e:
            print("pbal: modules are looked for in the slow way: %r" % e)
            self.end()
            sys.path[:] = paths

    def end(self) -> None:
        """Undo `begin`."""
        if self._root:
            try:
                vfs.umount(_AT)
            except OSError:
                pass  # it was not mounted
            for module in sys.modules.values():
                path = getattr(module, "__path__", "")
                if path.startswith(_AT):
                    module.__dict__["__path__"] = self._root + path[len(_AT) :]
            sys.path[:] = self._paths
            self._root = ""
            self._file = None

    # what the interpreter calls on a file system ----------------------------------------------

    def mount(self, readonly, mkfs) -> None:
        pass

    def umount(self) -> None:
        pass

    def _find(self, stem: str) -> str:
        if stem != self._stem:
            self._stem = stem
            self._file = None
            # What the chip compiles by itself has a name with "_", and is source.
            source = stem.find("/_") > 0 and stem[-1] != "_"
            for self._end in (".py", ".mpy", "") if source else (".mpy", ".py", ""):
                if self._end:
                    try:
                        self._file = open(self._root + stem + self._end, "rb")
                        break
                    except OSError:
                        pass
        return self._end

    def stat(self, path: str):
        """OSError where there is nothing."""
        dot = path.rfind(".")
        if not (path.startswith("/pbal_node/") and path.find("/__init__.") > 0):
            if dot < 0:
                # They need no look-up, whether they are there or not: their modules get one.
                if path == "/pbal_node/bearers" or path == "/pbal_node/metering":
                    return (0x4000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
                if not self._find(path):
                    return os.stat(self._root + path)  # a package, or nothing
            elif self._find(path[:dot]) == path[dot:]:
                return (0x8000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        raise OSError(2)

    def open(self, path: str, mode: str):
        """The file that `stat` has found is open already."""
        file = self._file
        self._file = None
        if file is not None and path == self._stem + self._end:
            self._stem = ""
            return file
        return open(self._root + path, mode)
