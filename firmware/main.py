"""Starts the node. Runs after boot.py, which has put the outputs off and left a way in.

Updates never touch this file, nor /lib, from which it takes what chooses the application.
"""

import micropython

# MicroPython switches it on again for each file. An interrupt before this line ends at the prompt,
# where boot.py's timer watches.
micropython.kbd_intr(-1)
del micropython

import gc  # noqa: E402

# Loading leaves garbage between what stays; collected late, it leaves a heap full of holes. Much
# less than this takes seconds, a collection being 12 ms.
gc.threshold(16384)

from pbal_node.start import application  # noqa: E402

main = application()
del application
gc.collect()
gc.threshold(-1)
main()
