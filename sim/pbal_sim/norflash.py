"""The flash chip beside an ESP32, as what programs it sees.

NOR flash erases whole sectors to ones, and programming only makes zeros of ones: data that is
written without an erase is the old and the new data, bit by bit, as on real hardware.
"""

from pathlib import Path


class Flash:
    """A NOR flash of `size` bytes, all ones at first, kept in a file if `path` is given.

    `data` is what it holds. What other programs do to the file is seen by `reload`, what is done
    here is in the file after `sync`.
    """

    sector = 4096

    def __init__(self, size: int = 4 << 20, path: Path | None = None) -> None:
        self.path = path
        self.data = bytearray(b"\xff") * size
        if path is not None:
            if path.exists():
                kept = path.read_bytes()
                self.data[: len(kept)] = kept
            else:
                self.sync()

    def erase(self, offset: int, size: int) -> None:
        """Erases whole sectors that cover the span."""
        start = offset - offset % self.sector
        end = min(-(-(offset + size) // self.sector) * self.sector, len(self.data))
        self.data[start:end] = b"\xff" * (end - start)

    def program(self, offset: int, chunk: bytes) -> None:
        """Programs bytes; a bit once cleared stays so until erased."""
        old = self.data[offset : offset + len(chunk)]
        new = int.from_bytes(old, "little") & int.from_bytes(chunk, "little")
        self.data[offset : offset + len(chunk)] = new.to_bytes(len(chunk), "little")

    def sync(self) -> None:
        """Writes the contents to the file in place, for programs that have it open."""
        if self.path is not None:
            mode = "r+b" if self.path.exists() else "wb"
            with self.path.open(mode) as file:
                file.write(self.data)

    def reload(self) -> None:
        """Reads what another program wrote into the file."""
        if self.path is not None:
            self.data[:] = self.path.read_bytes()
