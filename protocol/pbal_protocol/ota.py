"""The format of an application release: shared by its maker, the controller and the node.

The manifest is text, one line per fact, so that a node reads it line by line:

    pbal-app 1
    version 0.2.0
    boards 1 3
    files 45 98765
    downgrade                     (only where it may replace a newer version)
    minimum 0.1.4                 (once this release is proven, no lower version runs again)
    <SHA-256> <size> <path>       (one line per file, in the order of the stream)

A node receives one stream: the manifest, then the files' contents one after another.
What is signed is `signed(digest)` with the SHA-256 of the manifest, so that a signature is
checked before a byte of the stream is accepted, and with one block of SHA-512.
"""

from pbal_protocol.errors import BadValue

MAGIC = "pbal-app 1"
MANIFEST_MAX = 16384
FOLDERS = ("pbal_protocol/", "pbal_node/")


def signed(digest: bytes) -> bytes:
    """The message under the signature of the manifest with this SHA-256."""
    return b"pbal-app-v1:" + digest


def version_code(text: str) -> int:
    """1.2.3 as one number, in the order of versions. Raises BadValue."""
    parts = text.split(".")
    if len(parts) != 3:
        raise BadValue("version")
    code = 0
    for part in parts:
        n = number(part)
        if n > 255:
            raise BadValue("version")
        code = code << 8 | n
    return code


class Head:
    """What a manifest says before its files: version (code), boards, files, size, downgrade,
    minimum (code, 0 for none).
    """

    def __init__(self) -> None:
        self.version = -1
        self.boards: list[int] = []
        self.files = -1
        self.size = -1
        self.downgrade = False
        self.minimum = 0
        self._started = False

    def line(self, line: str) -> bool:
        """Take one line (without its end); False when it is the first line of a file.

        Raises BadValue for what is not a manifest.
        """
        words = line.split(" ")
        if not self._started:
            if line != MAGIC:
                raise BadValue("not a manifest")
            self._started = True
        elif words[0] == "version" and len(words) == 2:
            self.version = version_code(words[1])
        elif words[0] == "boards" and len(words) > 1:
            self.boards = [number(word) for word in words[1:]]
        elif words[0] == "files" and len(words) == 3:
            self.files = number(words[1])
            self.size = number(words[2])
        elif words[0] == "minimum" and len(words) == 2:
            self.minimum = version_code(words[1])
        elif line == "downgrade":
            self.downgrade = True
        elif self.version < 0 or not self.boards or self.files < 1:
            raise BadValue("manifest")
        else:
            return False
        return True


def number(text: str) -> int:
    """A whole number without a sign. Raises BadValue."""
    if not 1 <= len(text) <= 9:
        raise BadValue("manifest number")
    for c in text:
        if not "0" <= c <= "9":
            raise BadValue("manifest number")
    return int(text)


def entry(line: str) -> "tuple[str, int, str]":
    """(SHA-256 in hex, size, path) of a file's line. Raises BadValue.

    A path stays inside the slot: small letters, digits and _ below one of our packages.
    """
    words = line.split(" ")
    if len(words) != 3 or len(words[0]) != 64:
        raise BadValue("manifest line")
    path = words[2]
    if not path.startswith(FOLDERS) or len(path) > 64 or ".." in path or "//" in path:
        raise BadValue("manifest path")
    for c in path:
        if not ("a" <= c <= "z" or "0" <= c <= "9" or c in "_/."):
            raise BadValue("manifest path")
    return words[0], number(words[1]), path
