"""Starts the node. Runs after boot.py, which has put the outputs off and left a way in.

Updates never touch this file, nor /lib, from which it takes what chooses the application.
"""

import gc

# Loading leaves garbage between what stays; collected late, it leaves a heap full of holes.
gc.threshold(4096)

from pbal_node.start import application  # noqa: E402

main = application()
del application
gc.collect()
gc.threshold(-1)
main()
