"""What the standard library raises for a zip archive that is damaged, or is none."""

import struct
import zipfile
import zlib

# NotImplementedError is a RuntimeError: a version or a patch of the format that it does not know.
ARCHIVE_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, EOFError, LookupError,
    OverflowError,
)  # fmt: skip
