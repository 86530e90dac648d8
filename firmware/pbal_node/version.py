"""The firmware's version, as Hello and Read Device Identification tell it."""

VERSION = "0.1.0"
VERSION_CODE = 0x000100  # major << 16 | minor << 8 | patch
