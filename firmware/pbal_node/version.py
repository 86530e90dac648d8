"""The firmware's version, as Hello and Read Device Identification tell it."""

VERSION = "0.1.0"
VERSION_CODE = 0x000100  # major << 16 | minor << 8 | patch
BUILD_S = 1735689600  # site time cannot be before this (S4); a release writes its own build time
