"""A node's heap on the 64-bit interpreter, from what was measured on an emulated ESP32.

Stock MicroPython on the chip has 163 kB for objects; the application takes 108 kB of them. The same
application takes 157 kB on the 64-bit interpreter, whose machine words are twice as long: 1.45
times as much. So 232 KiB stand for the chip's heap, and with at most 197 KiB of them in use the
chip keeps 24 kB free.
"""

HEAP = "232k"
HEAP_BYTES = 232 * 1024
USED_BYTES = 197 * 1024  # after a collection, at most
UPDATE_BYTES = 217 * 1024  # while it takes an update, at most: 10 kB are left on the chip
# A bridge with a radio has external RAM; the twin gives it so much (streetoptions.BRIDGE_HEAP).
BRIDGE_BYTES = 264 * 1024
